"""Reading annotation files for evaluation."""

import copy
import json

import pytest

from mmcell.coco.truth import load_truth
from mmcell.errors import InputError


def test_sorts_copies_and_gives_new_ids(coco, annotation):
    content = coco([annotation(1, 1), annotation(9, 9, image_id=2, category_id=2)], images=2)
    content['images'].reverse()
    content['categories'].reverse()
    content['annotations'][0]['id'] = 0
    before = copy.deepcopy(content)
    truth = load_truth(content)
    assert content == before
    assert truth.image_sizes == {1: (40, 50), 2: (40, 50)}
    assert (truth.category_ids, truth.classes) == ([1, 2], ('a', 'b'))
    assert [each['id'] for each in truth.annotations] == [1, 2]
    assert load_truth(truth) is truth


def test_every_kind_of_mask_and_missing_fields(coco, annotation, tmp_path):
    expected = annotation(0, 0, 4)
    polygon = [[0, 0, 4, 0, 4, 4, 0, 4]]
    # Column by column: four pixels down, thirty-six left out, four times.
    counts = [0, 4, 36, 4, 36, 4, 36, 4, 40 * 50 - 124]
    content = coco([expected] * 3)
    content['annotations'][1]['segmentation'] = polygon
    content['annotations'][2]['segmentation'] = {'size': [40, 50], 'counts': counts}
    for each in content['annotations']:
        del each['area'], each['iscrowd']
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(content))
    for each in load_truth(path).annotations:
        counts = each['segmentation']['counts']
        assert (counts if isinstance(counts, str) else counts.decode()) == expected['segmentation']['counts']
        assert (each['area'], each['iscrowd']) == (16, 0)


def test_images_without_annotations(coco):
    content = coco([])
    del content['annotations']
    assert load_truth(content).annotations == []


def test_refuses_what_is_no_truth(coco, annotation, tmp_path):
    with pytest.raises(InputError, match='cannot be read'):
        load_truth(tmp_path / 'none.json')
    for content in ([], {}, coco([], images=0), coco([], classes=())):
        path = tmp_path / 'truth.json'
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=r'truth\.json: has no images or no categories'):
            load_truth(path)
    for stray in ({'image_id': 2}, {'category_id': 3}):
        with pytest.raises(InputError, match='annotation 1 has the unknown'):
            load_truth(coco([annotation(1, 1, **stray)]))


def test_annotations_made_in_memory_need_no_numbers(coco, annotation, tmp_path):
    """A sample of images, say, may have one of them twice; a file must give every annotation its own id."""
    content = coco([annotation(0, 0), annotation(9, 9)])
    content['annotations'][1]['id'] = 1
    assert [each['id'] for each in load_truth(content).annotations] == [1, 2]
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    with pytest.raises(InputError, match='has the id 1 of another annotation'):
        load_truth(tmp_path / 'truth.json')
