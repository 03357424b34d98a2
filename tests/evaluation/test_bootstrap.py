"""Bootstrap intervals against evaluating each resampled set anew."""

import math

import numpy as np
import pytest

from mmcell.evaluation.bootstrap import bootstrap_cells, bootstrap_coco, to_interval
from mmcell.evaluation.coco_ap import evaluate_coco
from mmcell.evaluation.nuclei import evaluate_cells

IMAGES, SAMPLES = 5, 40


def resampled_sets(truth, results, seed):
    """Each sample as an annotation file in which images occur as often as they were drawn."""
    for draw in np.random.default_rng(seed).integers(IMAGES, size=(SAMPLES, IMAGES)):
        images, annotations, instances = [], [], []
        for new_id, index in enumerate(draw, start=1):
            old_id = truth['images'][index]['id']
            images.append({**truth['images'][index], 'id': new_id})
            annotations += [{**a, 'image_id': new_id} for a in truth['annotations'] if a['image_id'] == old_id]
            instances += [{**r, 'image_id': new_id} for r in results if r['image_id'] == old_id]
        yield {**truth, 'images': images, 'annotations': annotations}, instances


def interval(values):
    return np.percentile([value for value in values if not math.isnan(value)], (2.5, 97.5))


@pytest.mark.parametrize('case', range(4))
def test_coco_as_evaluated_anew(random_case, case):
    truth, results = random_case(case, IMAGES)
    ours = bootstrap_coco(truth, results, max_det=4, samples=SAMPLES, seed=7)
    whole = evaluate_coco(truth, results, max_dets=(4,)).as_dict()
    anew = [evaluate_coco(*each, max_dets=(4,)).as_dict() for each in resampled_sets(truth, results, 7)]
    assert list(ours) == ['mAP_4', 'AP50_4']
    for name, sampled in ours.items():
        value, low, high = to_interval(sampled)
        assert value == whole[name]
        assert low < high
        np.testing.assert_allclose((low, high), interval([each[name] for each in anew]), rtol=0, atol=1e-12)


def test_cells_as_evaluated_anew(random_case):
    truth, results = random_case(1, IMAGES)
    ours = bootstrap_cells(evaluate_cells(truth, results, 0.3), ('PQ', 'F1/a'), SAMPLES, seed=7)
    anew = [evaluate_cells(*each, 0.3) for each in resampled_sets(truth, results, 7)]
    assert list(ours) == ['PQ_pooled', 'F1_pooled/a']
    for name, sampled in zip(('PQ', 'F1/a'), ours.values()):
        _, low, high = to_interval(sampled)
        np.testing.assert_allclose((low, high), interval([each.pooled(name) for each in anew]), rtol=1e-12)


def test_equal_images_leave_no_doubt(coco, annotation, result):
    truth = coco([annotation(0, x, image_id=i) for i in (1, 2, 3) for x in (0, 20)], images=3)
    results = [result(0, 0, image_id=i) for i in (1, 2, 3)]
    for sampled in bootstrap_coco(truth, results, samples=20).values():
        value, low, high = to_interval(sampled)
        assert value == low == high == pytest.approx(51 / 101)
    (pq,) = bootstrap_cells(evaluate_cells(truth, results, 0.5), samples=20).values()
    assert to_interval(pq) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_no_truth(coco):
    scores = evaluate_cells(coco([]), [], 0.5)
    for sampled in (bootstrap_coco(coco([]), [], samples=5), bootstrap_cells(scores, samples=5)):
        assert all(math.isnan(number) for values in sampled.values() for number in to_interval(values))


def test_two_models_are_drawn_alike(random_case):
    """The interval of a difference is that of the differences of both, evaluated anew on each set of images."""
    truth, results = random_case(2, IMAGES)
    # A model that finds what the other does, but for the first image's.
    worse = [result for result in results if result['image_id'] != truth['images'][0]['id']]
    better, base = (
        bootstrap_coco(truth, each, max_det=4, samples=SAMPLES, seed=7)['AP50_4'] for each in (results, worse)
    )
    anew = [
        [evaluate_coco(*each, max_dets=(4,)).mean(4, iou=0.5) for each in resampled_sets(truth, each, 7)]
        for each in (results, worse)
    ]
    value, low, high = to_interval(better - base)
    assert value == better[0] - base[0] > 0
    np.testing.assert_allclose((low, high), interval(np.subtract(*anew)), rtol=0, atol=1e-12)
