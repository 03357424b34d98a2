"""COCO average precision: by hand, against pycocotools, on CoNSeP."""

import contextlib
import copy
import functools
import io
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmcell.errors import InputError
from mmcell.evaluation.coco_ap import evaluate_coco

# pycocotools adds 2e-16 to each denominator.
exactly = functools.partial(pytest.approx, rel=0, abs=1e-12)

BACKENDS = ('faster_coco_eval', 'pycocotools')

# The fixtures only hand out functions, so they may be shared between examples.
random_seeds = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=BACKENDS)
def evaluate(request):
    def run(*args, **options):
        return evaluate_coco(*args, backend=request.param, **options).as_dict()

    return run


def test_a_false_alarm_between_two_hits(evaluate, coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(20, 20)])
    numbers = evaluate(truth, [result(0, 0, 0.9), result(0, 30, 0.8), result(20, 20, 0.7)])
    # Precision 1 up to recall 0.5 (51 of the 101 steps), 2/3 from there on.
    expected = (51 + 50 * 2 / 3) / 101
    assert numbers['mAP_1000'] == exactly(expected)
    assert numbers['AP50_100/a'] == exactly(expected)


def test_a_shift_counts_up_to_its_iou(evaluate, coco, annotation, result):
    # Two of ten pixels: IoU 80 / 120, which reaches the thresholds 0.5, 0.55, 0.6 and 0.65.
    numbers = evaluate(coco([annotation(0, 0)]), [result(0, 2)])
    assert numbers['AP50_1000'] == exactly(1)
    assert numbers['AP75_1000'] == 0
    assert numbers['mAP_1000'] == exactly(0.4)


def test_dropped_and_duplicated(evaluate, coco, annotation, result):
    corners = [(0, 0), (0, 20), (20, 0), (20, 20)]
    truth = coco([annotation(*corner) for corner in corners])
    results = [result(*corner, 0.9) for corner in corners]
    assert evaluate(truth, results)['mAP_1000'] == exactly(1)
    # Recall ends at 0.75: 76 of 101 steps.
    assert evaluate(truth, results[1:])['mAP_1000'] == exactly(76 / 101)
    # The second of each pair is a false alarm. From the top 1 of 2, 2 of 4 …; at the recall steps 1/1, 2/3, 3/5, 4/7.
    doubled = [{**each, 'score': 0.9 - 0.1 * i} for i, each in enumerate(results) for _ in range(2)]
    expected = (26 * 1 + 25 * 2 / 3 + 25 * 3 / 5 + 25 * 4 / 7) / 101
    assert evaluate(truth, doubled)['mAP_1000'] == exactly(expected)


def test_limits_are_of_one_run_and_in_the_names(evaluate, coco, annotation, result):
    corners = [(0, 0), (0, 20), (20, 0)]
    truth = coco([annotation(*corner) for corner in corners])
    results = [result(*corner, 0.9 - 0.1 * i) for i, corner in enumerate(corners)]
    numbers = evaluate(truth, results, max_dets=(3, 2))
    assert numbers['AP50_3'] == exactly(1)
    assert numbers['AP50_2'] == exactly(67 / 101)  # recall ends at 2/3
    assert {name.partition('/')[0].rpartition('_')[2] for name in numbers} == {'2', '3'}


def test_classes_and_images_without_truth(evaluate, coco, annotation, result):
    truth = coco([annotation(0, 0)], images=3)
    nothing = evaluate(truth, [])
    assert (nothing['mAP_1000'], nothing['AP50_1000/a']) == (0, 0)
    assert math.isnan(nothing['mAP_1000/b'])
    # A class without truth stays out of the mean, whatever is predicted for it.
    assert evaluate(truth, [result(0, 0, 0.5), result(0, 20, 0.9, category_id=2)])['mAP_1000'] == exactly(1)
    # A better-scoring false alarm in an image without truth halves the precision.
    assert evaluate(truth, [result(0, 0, 0.5), result(0, 0, 0.9, image_id=2)])['mAP_1000'] == exactly(0.5)
    for results in ([], [result(0, 0)]):
        assert all(math.isnan(number) for number in evaluate(coco([]), results).values())


def test_crowds_neither_help_nor_harm(evaluate, coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(15, 15, 20, iscrowd=1)])
    assert evaluate(truth, [result(0, 0)])['mAP_1000'] == exactly(1)
    inside = [result(15, 15, 0.9, 5), result(25, 25, 0.8, 5)]
    assert evaluate(truth, [*inside, result(0, 0, 0.5)])['mAP_1000'] == exactly(1)


def test_sizes(evaluate, coco, annotation, result):
    # The area that the annotation states decides: up to 1024, up to 9216, above.
    truth = coco([annotation(0, 0, area=1023), annotation(0, 20, area=9215), annotation(20, 0, area=9217)])
    numbers = evaluate(truth, [result(0, 0), result(0, 20)])
    assert (numbers['mAP_s_1000'], numbers['mAP_m_1000'], numbers['mAP_l_1000']) == exactly((1, 1, 0))


def test_boxes(evaluate, coco, annotation, result):
    truth, shifted = coco([annotation(0, 0)]), result(0, 2)
    assert evaluate(truth, [shifted], iou_type='bbox')['mAP_1000'] == exactly(0.4)
    shifted['bbox'] = [0, 0, 10, 10]
    assert evaluate(truth, [shifted], iou_type='bbox')['mAP_1000'] == exactly(1)
    assert evaluate(truth, [shifted])['mAP_1000'] == exactly(0.4)
    for each in (shifted, truth['annotations'][0]):
        del each['segmentation']
    assert evaluate(truth, [shifted], iou_type='bbox')['mAP_1000'] == exactly(1)


@random_seeds
@given(seed=st.integers(0, 2**32 - 1), iou_type=st.sampled_from(['segm', 'bbox']))
def test_backends_agree_and_each_limit_is_a_run_of_its_own(random_case, seed, iou_type):
    truth, results = random_case(seed)
    limits = (2, 4, 100)
    fast, slow = (evaluate_coco(truth, results, iou_type, limits, backend) for backend in BACKENDS)
    np.testing.assert_allclose(fast.precision, slow.precision, rtol=0, atol=1e-12)
    assert list(fast.as_dict()) == list(slow.as_dict())
    np.testing.assert_allclose([*fast.as_dict().values()], [*slow.as_dict().values()], rtol=0, atol=1e-12)
    for index, limit in enumerate(limits):
        alone = evaluate_coco(truth, results, iou_type, (limit,))
        np.testing.assert_array_equal(alone.precision[..., 0], fast.precision[..., index])


@random_seeds
@given(seed=st.integers(0, 2**32 - 1))
def test_numbers_at_100_are_those_that_pycocotools_prints(random_case, seed):
    truth, results = random_case(seed)
    if not results:
        return  # pycocotools cannot load no results
    ours = evaluate_coco(truth, results).as_dict()
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = copy.deepcopy(truth)
        index.createIndex()
        bare = [{key: value for key, value in each.items() if key != 'bbox'} for each in copy.deepcopy(results)]
        stock = COCOeval(index, index.loadRes(bare), 'segm')
        stock.evaluate()
        stock.accumulate()
        stock.summarize()
    names = ('mAP_100', 'AP50_100', 'AP75_100', 'mAP_s_100', 'mAP_m_100', 'mAP_l_100')
    expected = np.where(stock.stats[:6] < 0, np.nan, stock.stats[:6])
    np.testing.assert_allclose([ours[name] for name in names], expected, rtol=0, atol=1e-12)


def test_inputs_stay_as_they_are(evaluate, random_case):
    truth, results = random_case(3)
    before = copy.deepcopy((truth, results))
    evaluate(truth, results)
    assert (truth, results) == before


def test_annotation_id_0_can_be_hit(evaluate, coco, annotation, result):
    truth = coco([annotation(0, 0)])
    truth['annotations'][0]['id'] = 0
    assert evaluate(truth, [result(0, 0)])['mAP_1000'] == exactly(1)


def test_errors(coco, annotation, result):
    truth, good = coco([annotation(0, 0)]), result(0, 0)
    with pytest.raises(InputError, match='result 0 has the unknown image_id 9'):
        evaluate_coco(truth, [{**good, 'image_id': 9}])
    with pytest.raises(InputError, match='result 0 has no segmentation'):
        evaluate_coco(truth, [{key: value for key, value in good.items() if key != 'segmentation'}])
    with pytest.raises(InputError, match='use'):
        evaluate_coco(truth, [good], backend='stock')


def test_uncompressed_masks_count_the_same(evaluate, coco, annotation, result):
    good, counts = result(0, 0, side=4), [0, 4, 36, 4, 36, 4, 36, 4, 40 * 50 - 124]
    long = {**good, 'segmentation': {'size': [40, 50], 'counts': counts}}
    assert evaluate(coco([annotation(0, 0, 4)]), [long]) == evaluate(coco([annotation(0, 0, 4)]), [good])
    assert long['segmentation']['counts'] is counts


def test_truth_as_prediction_on_consep(consep, as_results):
    numbers = evaluate_coco(consep, as_results(consep['annotations'])).as_dict()
    at_1000 = {name: number for name, number in numbers.items() if '_1000' in name and not math.isnan(number)}
    assert {'mAP_1000', 'AP50_1000/epithelial', 'mAP_s_1000'} <= set(at_1000)
    assert list(at_1000.values()) == exactly([1.0] * len(at_1000))
    assert numbers['mAP_100'] < 1
