"""Cells of results and annotations."""

import numpy as np
import pytest

from mmcell.coco.cells import cells_of, true_cells
from mmcell.coco.truth import load_truth
from mmcell.errors import InputError
from mmcell.structures.rle import encode_label_map


def test_cells_of_every_image_in_the_order_of_the_images(coco, annotation, result):
    content = coco([], images=3)
    results = [
        result(0, 0, 0.4, image_id=3),
        result(0, 0, 0.6, image_id=1, category_id=2),
        result(0, 0, 0.3, image_id=1),
        result(20, 20, 0.2, image_id=1),
    ]
    found = dict(cells_of(results, content['images'], content['categories'][::-1]))
    assert list(found) == [1, 2, 3]
    assert [cells.counts() for cells in found.values()] == [{'a': 1, 'b': 1}, {'a': 0, 'b': 0}, {'a': 1, 'b': 0}]
    assert found[1].classes == ('a', 'b') and found[1].size == found[2].size == (40, 50)
    np.testing.assert_allclose(found[1].probabilities, [[0.3, 0.6, 0.1], [0.2, 0, 0.8]])
    above = dict(cells_of(results, content['images'], content['categories'], 0.4))
    assert [len(cells) for cells in above.values()] == [1, 0, 1]
    voted = dict(cells_of(results, content['images'], content['categories'], 0.4, way='votes'))
    np.testing.assert_allclose(voted[1].scores, [0.9])


def test_what_a_model_hardly_outlines_is_no_cell(coco):
    content = coco([])
    pixels = np.zeros((40, 50), np.uint8)
    pixels[5:15, 5:15], pixels[20, 20:23], pixels[23, 20:23] = 1, 2, 3
    masks = encode_label_map(pixels).rles
    scores = dict(image_id=1, category_id=1, score=0.9, probabilities=[0.9, 0.0, 0.1])
    results = [
        {**scores, 'bbox': [5, 5, 10, 10], 'segmentation': masks[0]},
        {**scores, 'bbox': [15, 18, 10, 3.1], 'segmentation': masks[1]},
        {**scores, 'bbox': [15, 18, 10, 3.0], 'segmentation': masks[2]},
    ]
    (_, cells), *_ = cells_of(results, content['images'], content['categories'])
    assert sorted(cells.masks.areas) == [3, 100]  # a tenth of the box is enough
    # Of other results it is not known what their boxes mean.
    for one in results:
        del one['probabilities']
    (_, cells), *_ = cells_of(results, content['images'], content['categories'])
    assert sorted(cells.masks.areas) == [3, 3, 100]


def test_images_are_resolved_one_at_a_time(coco, result, monkeypatch):
    content, seen = coco([], images=3), []
    results = [result(0, 0, image_id=i) for i in (1, 2, 3)]
    stream = cells_of(results, content['images'], content['categories'])
    from mmcell.coco import cells as module

    resolve = module.resolve
    monkeypatch.setattr(module, 'resolve', lambda *args, **how: seen.append(1) or resolve(*args, **how))
    next(stream)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'image_id': 9}, 'unknown image_id 9'),
        ({'category_id': 9}, 'category_id 9'),
        ({'score': float('nan')}, 'score'),
        ({'segmentation': {'size': [40, 50], 'counts': 'broken'}}, 'broken mask'),
    ],
)
def test_results_that_do_not_fit_are_refused_before_the_first_image(coco, result, change, message):
    content = coco([])
    with pytest.raises(InputError, match=message):
        cells_of([{**result(0, 0), **change}], content['images'], content['categories'])
    without = {key: value for key, value in result(0, 0).items() if key != 'segmentation'}
    with pytest.raises(InputError, match='has no segmentation'):
        cells_of([without], content['images'], content['categories'])


def test_true_cells_give_shared_pixels_to_the_earlier_and_keep_crowds_apart(coco, annotation):
    truth = load_truth(
        coco(
            [
                annotation(0, 0),
                annotation(0, 5, category_id=2),
                annotation(2, 2, 3),  # lies under the first
                annotation(20, 20, 12, iscrowd=1),
            ],
            images=2,
        )
    )
    (first, cells, crowds), (second, nothing, none) = true_cells(truth)
    assert (first, second) == (1, 2) and len(nothing) == len(none) == 0
    assert cells.areas.tolist() == [100, 50] and cells.labels.tolist() == [0, 1]
    assert cells.probabilities.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert crowds.areas.tolist() == [144]


def test_true_cells_of_consep_are_the_annotated_ones(consep):
    truth = load_truth(consep)
    found = {image_id: cells for image_id, cells, _ in true_cells(truth)}
    assert sum(map(len, found.values())) == len(consep['annotations'])
    for image_id, cells in found.items():
        areas = [annotation['area'] for annotation in consep['annotations'] if annotation['image_id'] == image_id]
        assert cells.areas.tolist() == areas
