"""PQ, AJI, Dice and F1: by hand, against slow loops and against StarDist."""

import math

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from mmengine.logging import MMLogger

from mmcell.coco.cells import cells_of
from mmcell.errors import InputError
from mmcell.evaluation import nuclei
from mmcell.evaluation.matching import find_overlap as find_cell_overlap
from mmcell.evaluation.nuclei import (
    aggregated_jaccard,
    aggregated_jaccard_plus,
    detection_f1,
    dice,
    evaluate_cells,
    evaluate_thresholds,
    panoptic_quality,
    pick_threshold,
)
from mmcell.structures.cells import Cells
from tests.evaluation import dense

label_maps = st_np.arrays(np.int32, (8, 8), elements=st.sampled_from([0, 0, 1, 2, 3, 7]))


@st.composite
def similar_label_maps(draw):
    true, pred = draw(label_maps), draw(label_maps)
    same = draw(st_np.arrays(bool, true.shape, elements=st.sampled_from([True, True, False])))
    return true, np.where(same, true, pred)


def find_overlap(*label_maps):
    return find_cell_overlap(*(Cells.from_label_map(plane, [0] * len(ids(plane)), ('a',)) for plane in label_maps))


def ids(label_map):
    return [i for i in np.unique(label_map) if i]


def iou(true, i, pred, j):
    return np.sum((true == i) & (pred == j)) / np.sum((true == i) | (pred == j))


@settings(deadline=None, max_examples=150)
@given(similar_label_maps())
def test_overlap_and_aji_as_loops_over_bitmaps(maps):
    true, pred = maps
    overlap = find_overlap(true, pred)
    pairs = [(i, j) for i in ids(true) for j in ids(pred) if np.any((true == i) & (pred == j))]
    assert [(ids(true)[t], ids(pred)[p]) for t, p in overlap.pairs] == pairs
    np.testing.assert_array_equal(overlap.ious, [iou(true, i, pred, j) for i, j in pairs])
    np.testing.assert_array_equal(overlap.true.areas, [np.sum(true == i) for i in ids(true)])
    centres = [np.argwhere(pred == j).mean(axis=0)[::-1] + 0.5 for j in ids(pred)]
    np.testing.assert_allclose(overlap.pred.centres, np.reshape(centres, (-1, 2)), rtol=1e-12)
    assert dice(overlap) == (2 * np.sum((true > 0) & (pred > 0)), np.sum(true > 0) + np.sum(pred > 0))
    # Kumar et al., algorithm 1; of equal IoUs the first.
    intersection = union = 0
    used = set()
    for i in ids(true):
        best = max(ids(pred), key=lambda j: iou(true, i, pred, j), default=None)
        if best is not None and np.any((true == i) & (pred == best)):
            used.add(best)
            intersection += np.sum((true == i) & (pred == best))
            union += np.sum((true == i) | (pred == best))
        else:
            union += np.sum(true == i)
    union += sum(np.sum(pred == j) for j in ids(pred) if j not in used)
    assert aggregated_jaccard(overlap) == (intersection, union)


@settings(deadline=None, max_examples=150)
@given(similar_label_maps())
def test_pq_as_stardist(maps):
    stardist = pytest.importorskip('stardist.matching')
    overlap = find_overlap(*maps)
    # PQ pairs above 0.5, StarDist from its threshold on. It reckons in float32.
    expected = stardist.matching(*maps, thresh=0.5 + 1e-6)
    numbers = {name: n / d if d else 0 for name, (n, d) in panoptic_quality(overlap).items()}
    assert numbers['PQ'] == pytest.approx(expected.panoptic_quality, abs=1e-6)
    assert numbers['DQ'] == pytest.approx(expected.f1, abs=1e-6)
    assert numbers['SQ'] == pytest.approx(expected.mean_matched_score, abs=1e-6)
    assert panoptic_quality(overlap)['DQ'][0] == expected.tp


@settings(deadline=None, max_examples=100)
@given(similar_label_maps())
def test_aji_plus_pairs_as_stardist_does_from_iou_0(maps):
    stardist = pytest.importorskip('stardist.matching')
    true, pred = maps
    matched = stardist.matching(true, pred, thresh=0.0, report_matches=True)
    overlap = find_overlap(true, pred)
    intersection, union = aggregated_jaccard_plus(overlap)
    pairs = [pair for pair, score in zip(matched.matched_pairs, matched.matched_scores) if score > 0]
    rest = [true == i for i in ids(true) if i not in {i for i, _ in pairs}]
    rest += [pred == j for j in ids(pred) if j not in {j for _, j in pairs}]
    expected = sum(np.sum((true == i) | (pred == j)) for i, j in pairs) + sum(map(np.sum, rest))
    ious = sum(iou(true, i, pred, j) for i, j in pairs)
    chosen = sum(matched.matched_scores)
    assert ious == pytest.approx(chosen)
    if len(set(overlap.ious.tolist())) == len(overlap.ious):  # otherwise two pairings may be equally good
        assert (intersection, union) == (sum(np.sum((true == i) & (pred == j)) for i, j in pairs), expected)


@settings(deadline=None, max_examples=150)
@given(similar_label_maps())
def test_aji_plus_as_from_the_whole_matrix(maps):
    overlap = find_overlap(*maps)
    ious = dense.iou_matrix(overlap)
    # Of several pairings with the largest total, the two may take different ones.
    if len(set(overlap.ious.tolist())) == len(overlap.ious) or ious.shape == (1, 1):
        assert aggregated_jaccard_plus(overlap) == dense.jaccard_plus(overlap)


def paint_slowly(truth, results, max_taken):
    """Label maps of truth and results, scores by rising id, and the crowds' union, bitmap by bitmap."""
    bitmaps = [mask_utils.decode(cell['segmentation']).astype(bool) for cell in (*truth, *results)]
    true, pred, void = np.zeros((3, *bitmaps[0].shape), dtype=int) if bitmaps else np.zeros((3, 40, 50), dtype=int)
    labels = [[], []]
    for number, (cell, bitmap) in enumerate(zip(truth, bitmaps), start=1):
        if cell['iscrowd']:
            void |= bitmap
        elif (bitmap & (true == 0)).any():
            true[bitmap & (true == 0)] = number
            labels[0].append(cell['category_id'] - 1)
    order = sorted(range(len(results)), key=lambda i: -results[i]['score'])
    scores = []
    for number, i in enumerate(order, start=1):
        bitmap = bitmaps[len(truth) + i]
        free = bitmap & (pred == 0)
        if free.any() and (bitmap & ~free).sum() <= max_taken * bitmap.sum():
            pred[free] = number
            labels[1].append(results[i]['category_id'] - 1)
            scores.append(results[i]['score'])
    return true, pred, *map(np.array, (labels[0], labels[1], scores)), void.astype(bool)


# The fixtures only hand out functions, so they may be shared between examples.
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), max_taken=st.sampled_from([0.3, 0.5]), score_thr=st.sampled_from([0, 0.5]))
def test_all_numbers_as_on_label_maps(random_case, seed, max_taken, score_thr):
    """With half of a cell taken at most and all crumbs kept, as they were before cells were resolved elsewhere."""
    truth, results = random_case(seed)
    scores = evaluate_cells(truth, results, score_thr, way='score', max_taken=max_taken, parts='all')
    for i, image in enumerate(truth['images']):
        annotations = [a for a in truth['annotations'] if a['image_id'] == image['id']]
        found = [r for r in results if r['image_id'] == image['id'] and r['score'] >= score_thr]
        overlap = dense.find_overlap(*paint_slowly(annotations, found, max_taken))
        expected = nuclei._image_ratios(overlap, ('a', 'b', 'c', 'never'), nuclei.RADIUS)
        assert scores.counts[i].tolist() == [len(overlap.true), len(overlap.pred)]
        for name, ratio in expected.items():
            if name != 'AJI_plus':  # which may choose among equals
                np.testing.assert_array_equal(scores.ratios[name][i], ratio, err_msg=name)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_centres_of_huge_images_are_paired_within_the_radius(true, pred, seed):
    rng = np.random.default_rng(seed)
    true, pred = rng.random((true, 2)) * 60, rng.random((pred, 2)) * 60
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nuclei, 'MAX_DISTANCES', -1)
        pairs = nuclei._pair_centres(true, pred, 12)
    expected = dense.paired_centres(true, pred, 12)
    assert set(zip(*map(np.ndarray.tolist, pairs))) == set(zip(*map(np.ndarray.tolist, expected)))


def test_that_centres_are_paired_within_the_radius_only_is_said(monkeypatch, caplog):
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handlers', [caplog.handler])
    monkeypatch.setattr(nuclei, 'MAX_DISTANCES', 3)
    assert detection_f1(find_overlap(np.array([[1, 0]]), np.array([[1, 2]])), 0).tolist() == [[2, 3]]
    assert not caplog.text
    assert detection_f1(find_overlap(np.array([[1, 2]]), np.array([[1, 2]])), 0).tolist() == [[4, 4]]
    assert 'an image has 2 true and 2 predicted cells: F1 pairs them within 12 pixels only' in caplog.text


def test_shifted_dropped_and_duplicated(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(20, 20)])
    perfect = evaluate_cells(truth, [result(0, 0), result(20, 20)], 0.5).as_dict()
    names = ('PQ', 'DQ', 'SQ', 'AJI', 'AJI_plus', 'Dice', 'F1')
    assert {perfect[f'{name}_{how}'] for name in names for how in ('pooled', 'image')} == {1.0}

    # One of two shifted by 2 of 10 pixels: IoU 80 / 120.
    shifted = evaluate_cells(truth, [result(0, 2), result(20, 20)], 0.5).as_dict()
    assert shifted['PQ_pooled'] == shifted['SQ_pooled'] == pytest.approx((2 / 3 + 1) / 2)
    assert shifted['DQ_pooled'] == shifted['F1_pooled'] == 1
    assert shifted['AJI_pooled'] == shifted['AJI_plus_pooled'] == pytest.approx(180 / 220)
    assert shifted['Dice_pooled'] == pytest.approx(2 * 180 / 400)

    # By 5: IoU 50 / 150, no hit for PQ, still near for F1.
    missed = evaluate_cells(truth, [result(0, 5), result(20, 20)], 0.5).as_dict()
    assert missed['PQ_pooled'] == pytest.approx(1 / (1 + 1 / 2 + 1 / 2))
    assert missed['SQ_pooled'] == missed['F1_pooled'] == 1
    assert missed['AJI_pooled'] == pytest.approx(150 / 250)

    dropped = evaluate_cells(truth, [result(0, 0)], 0.5).as_dict()
    assert dropped['PQ_pooled'] == dropped['F1_pooled'] == pytest.approx(2 / 3)
    assert dropped['AJI_pooled'] == 100 / 200

    # The same place twice is one cell; a second detection elsewhere is a false alarm.
    doubled = evaluate_cells(truth, [result(0, 0), result(0, 0), result(20, 20)], 0.5).as_dict()
    assert doubled == pytest.approx(perfect, nan_ok=True)
    extra = evaluate_cells(truth, [result(0, 0), result(0, 30), result(20, 20)], 0.5).as_dict()
    assert extra['PQ_pooled'] == extra['F1_pooled'] == pytest.approx(2 / 2.5)
    assert extra['AJI_pooled'] == 200 / 300


def test_aji_may_use_a_prediction_twice_and_aji_plus_may_not():
    true = np.array([[1, 1, 1, 2, 2]])
    pred = np.array([[1, 1, 1, 1, 1]])
    overlap = find_overlap(true, pred)
    assert aggregated_jaccard(overlap) == (3 + 2, 5 + 5)
    assert aggregated_jaccard_plus(overlap) == (3, 5 + 2)


def test_f1_of_classes(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(0, 20), annotation(20, 0), annotation(20, 20, category_id=2)])
    results = [
        result(0, 0),
        result(0, 20, category_id=2),  # found, wrong class
        result(28, 9, category_id=2),  # 12.04 from the third center: too far, one miss and one false alarm
        result(20, 20, category_id=2),
    ]
    scores = evaluate_cells(truth, results, 0.5)
    assert scores.pooled('F1') == 2 * 3 / (2 * 3 + 1 + 1)
    # a: one pair right, one where only the truth has it, one missed. b: one right, one wrong, one false alarm.
    assert scores.pooled('F1/a') == 2 / (2 + 2 + 1)
    assert scores.pooled('F1/b') == 2 / (2 + 2 + 1)
    results[2] = result(28, 8)  # 11.3
    assert evaluate_cells(truth, results, 0.5).pooled('F1') == 1
    assert evaluate_cells(truth, results, 0.5, radius=11).pooled('F1') == 3 / 4


def test_centres_are_paired_before_the_radius_is_applied():
    """As HoVer-Net does it: the smallest total distance, though another pairing has more near pairs."""
    true, pred = np.zeros((2, 12, 11), dtype=int)
    true[0, 0], true[0, 10] = 1, 2
    pred[0, 10], pred[11, 10] = 1, 2
    # 0 + 14.9 is less than 10 + 11, and 14.9 is too far.
    assert detection_f1(find_overlap(true, pred), 0, radius=12).tolist() == [[2, 4]]


def test_pooled_and_by_image(coco, annotation, result):
    truth = coco([annotation(0, 0), *(annotation(0, x, image_id=2) for x in (0, 20, 40))], images=3)
    results = [result(0, 0), result(0, 0, image_id=2), result(0, 0, image_id=3)]
    scores = evaluate_cells(truth, results, 0.5)
    np.testing.assert_array_equal(scores.by_image('PQ'), [1, 0.5, math.nan])
    numbers = scores.as_dict()
    # The false alarm in the image without cells counts in the pool only.
    assert numbers['PQ_pooled'] == 2 / (2 + 2 / 2 + 1 / 2)
    assert numbers['PQ_image'] == numbers['PQ_image/a'] == numbers['mPQ_image'] == 0.75
    assert math.isnan(numbers['PQ_pooled/b']) and math.isnan(numbers['PQ_image/b'])
    assert numbers['mPQ_pooled'] == numbers['PQ_pooled/a']


def test_mpq_averages_the_classes_of_each_image(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(0, 20, category_id=2), annotation(0, 0, image_id=2)], images=2)
    numbers = evaluate_cells(truth, [result(0, 0), result(0, 0, image_id=2)], 0.5).as_dict()
    assert numbers['mPQ_image'] == ((1 + 0) / 2 + 1) / 2
    assert numbers['mPQ_pooled'] == (1 + 0) / 2
    # Found, but as the wrong class: a hit for PQ of any class, a miss and a false alarm for PQ by class.
    wrong = evaluate_cells(truth, [result(0, 0, category_id=2)], 0.5).as_dict()
    assert (wrong['DQ_pooled'], wrong['DQ_pooled/a'], wrong['DQ_pooled/b']) == (0.5, 0, 0)


def test_nothing_predicted_and_no_truth(coco, annotation, result):
    nothing = evaluate_cells(coco([annotation(0, 0)]), [], 0.5).as_dict()
    names = ('PQ', 'DQ', 'SQ', 'AJI', 'AJI_plus', 'Dice', 'F1')
    assert {nothing[f'{name}_{how}'] for name in names for how in ('pooled', 'image')} == {0}
    no_truth = evaluate_cells(coco([]), [result(0, 0)], 0.5).as_dict()
    assert no_truth['PQ_pooled'] == 0 and math.isnan(no_truth['PQ_image'])
    neither = evaluate_cells(coco([]), [], 0.5).as_dict()
    assert all(math.isnan(number) for name, number in neither.items() if name != 'score_thr')


def test_crowds_are_void(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(0, 8, 20, iscrowd=1)])
    for results in ([result(0, 0)], [result(0, 0), result(2, 15)]):
        assert evaluate_cells(truth, results, 0.5).as_dict()['PQ_pooled'] == 1
    # A prediction that reaches into the crowd is measured outside of it.
    assert evaluate_cells(truth, [result(0, 2)], 0.5).pooled('PQ') == 0.8
    # Just half in the crowd is not mostly in it.
    assert evaluate_cells(truth, [result(0, 0), result(0, 23)], 0.5).pooled('PQ') == pytest.approx(1 / 1.5)


# The fixtures only hand out functions, so they may be shared between examples.
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_picked_threshold_is_the_best_of_separate_evaluations(random_case, seed):
    truth, results = random_case(seed)
    grid = (0.25, 0.5, 0.55, 0.75)
    each = [evaluate_cells(truth, results, threshold).pooled('PQ') for threshold in grid]
    best = [threshold for threshold, pq in zip(grid, np.nan_to_num(each)) if pq == np.nan_to_num(each).max()]
    assert pick_threshold(truth, results, grid) == best[len(best) // 2]


def test_auto_threshold_is_stored(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(20, 20)])
    results = [result(0, 0, 0.9), result(20, 20, 0.42), result(0, 30, 0.32)]
    scores = evaluate_cells(truth, results, 'auto')
    assert scores.as_dict()['score_thr'] == pick_threshold(truth, results) == 0.4  # 0.35 is as good
    assert scores.as_dict() == pytest.approx(evaluate_cells(truth, results, 0.4).as_dict(), nan_ok=True)
    each = [scores.as_dict() for scores in evaluate_thresholds(truth, results, (0.4, 0.95))]
    assert each[0] == pytest.approx(scores.as_dict(), nan_ok=True) and each[1]['PQ_pooled'] == 0


def test_the_error_of_the_count(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(0, 20), annotation(0, 0, image_id=2)], images=3)
    results = [result(0, 0), *(result(0, x, image_id=2) for x in (0, 20)), result(0, 0, image_id=3)]
    scores = evaluate_cells(truth, results, 0.5)
    np.testing.assert_array_equal(scores.counts, [[2, 1], [1, 2], [0, 1]])
    # One of two is missing, one is there twice; an image without cells has no share.
    np.testing.assert_array_equal(scores.count_errors, [-0.5, 1, math.nan])
    assert scores.as_dict()['count_error'] == 0.75 and scores.as_dict()['count_bias'] == 0.25


def test_an_object_under_two_classes_counts_once(coco, annotation, result):
    truth = coco([annotation(0, 0, category_id=2)])
    results = [result(0, 0, 0.6), result(0, 0, 0.7, category_id=2)]
    numbers = evaluate_cells(truth, results, 0.5).as_dict()
    assert numbers['PQ_pooled/b'] == numbers['F1_pooled'] == 1 and numbers['count_error'] == 0


def test_cells_may_be_given_instead_of_results(random_case):
    truth, results = random_case(3)
    found = dict(cells_of(results, truth['images'], truth['categories'], way='votes'))
    ours = evaluate_cells(truth, found, 0.4).as_dict()
    assert ours == pytest.approx(evaluate_cells(truth, results, 0.4, way='votes').as_dict(), nan_ok=True)


def test_errors(coco, annotation, result):
    truth, good = coco([annotation(0, 0)]), result(0, 0)
    with pytest.raises(InputError, match='result 0 has the unknown image_id 9'):
        evaluate_cells(truth, [{**good, 'image_id': 9}], 0.5)
    with pytest.raises(InputError, match='result 0 has no segmentation'):
        evaluate_cells(truth, [{key: value for key, value in good.items() if key != 'segmentation'}], 0.5)
    with pytest.raises(InputError, match='result 0 has a broken mask of image 1'):
        evaluate_cells(truth, [{**good, 'segmentation': {'size': [40, 50], 'counts': 'broken'}}], 0.5)


def test_truth_as_prediction_on_consep(consep, as_results):
    numbers = evaluate_cells(consep, as_results(consep['annotations']), 'auto').as_dict()
    assert {numbers.pop('count_error'), numbers.pop('count_bias')} == {0}
    del numbers['score_thr']
    assert set(numbers.values()) == {1.0}
