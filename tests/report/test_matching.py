import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmcell.evaluation import confusion_matrix
from mmcell.io.files import read_json
from mmcell.report.cells import ImageSet
from mmcell.report.matching import match_cells


def test_by_hand(dataset):
    images = ImageSet.load(dataset.truth)
    truth, predicted = images.truth()[1], images.gather(dataset.results)[1]
    matches = match_cells(truth, predicted)
    # Ring, pieces and dot are found, the first neutrophil is taken for a macrophage; two false alarms; one miss.
    assert matches.taken.tolist() == [0, 1, 2, 3, -1, -1]
    assert matches.right.tolist() == [True, True, True, False, False, False]
    assert matches.found.tolist() == [0.9, 0.8, 0.7, 0.6, -1]
    assert matches.ious[1:3].tolist() == [1, 1]
    assert matches.counts(predicted.scores, 0.3) == {'hits': 3, 'wrong': 1, 'alarms': 1, 'misses': 1}
    assert matches.counts(predicted.scores, 0.75) == {'hits': 2, 'wrong': 0, 'alarms': 0, 'misses': 3}


def test_the_higher_score_takes_the_cell(dataset):
    images = ImageSet.load(dataset.truth)
    cell = dataset.results[0]
    predicted = images.gather([{**cell, 'score': 0.4}, {**cell, 'score': 0.6}])[1]
    matches = match_cells(images.truth()[1], predicted)
    assert matches.taken.tolist() == [-1, 0]
    assert matches.found[0] == 0.6


def discs(seed, number):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :60]
    for index in range(number):
        x, y, radius = rng.integers(0, 60), rng.integers(0, 40), rng.integers(3, 9)
        mask = coco_mask.encode(np.asfortranarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2, dtype=np.uint8))
        yield {
            'id': index + 1,
            'image_id': 1,
            'category_id': int(rng.integers(1, 4)),
            'score': round(float(rng.random()), 1),
            'segmentation': {'size': mask['size'], 'counts': mask['counts'].decode()},
        }


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 25), st.sampled_from([0, 0.3, 0.5, 0.8]))
def test_agrees_with_the_confusion_matrix_at_every_threshold(tmp_path_factory, seed, number, score_thr):
    content = {
        'images': [{'id': 1, 'file_name': 'a.png', 'height': 40, 'width': 60}],
        'categories': [{'id': number, 'name': str(number)} for number in (1, 2, 3)],
        'annotations': list(discs(seed, 15)),
    }
    path = tmp_path_factory.getbasetemp() / 'truth.json'
    path.write_text(json.dumps(content))
    results = list(discs(seed, 12))[: number // 2] + list(discs(seed + 1, number))
    images = ImageSet.load(path)
    predicted = images.gather(results)[1]
    counts = match_cells(images.truth()[1], predicted).counts(predicted.scores, score_thr)
    matrix = confusion_matrix(read_json(path), results, score_thr)
    assert counts == {
        'hits': np.trace(matrix),
        'wrong': matrix[:-1, :-1].sum() - np.trace(matrix),
        'alarms': matrix[-1].sum(),
        'misses': matrix[:, -1].sum(),
    }
