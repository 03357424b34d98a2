"""Cells from results, by runs and by bitmaps."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mmcell.structures.resolve import WAYS, resolve, take_once
from tests.structures.run_cases import bitmaps, to_bitmaps, to_runs

CLASSES = ('a', 'b', 'c')


@st.composite
def results(draw):
    """Bitmaps, scores and labels of N results, some of one object under several classes; probabilities or None."""
    masks = draw(bitmaps(count=7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = len(masks)
    probabilities = rng.dirichlet(np.ones(len(CLASSES) + 1), count) if draw(st.booleans()) else None
    return masks, rng.integers(0, 11, count) / 10, rng.integers(0, len(CLASSES), count), probabilities


def iou(one, other):
    return np.sum(one & other) / max(1, np.sum(one | other))


def by_score(scores, members):
    return sorted(members, key=lambda i: -scores[i])


def given_out(masks, order, max_taken):
    """For each mask that stays, in order, its index and what it keeps."""
    taken, kept = np.zeros(masks.shape[1:], dtype=bool), []
    for i in order:
        free = masks[i] & ~taken
        if free.any() and (masks[i] & taken).sum() <= max_taken * masks[i].sum():
            kept.append((i, free))
            taken |= masks[i]
    return kept


def largest_part(mask):
    numbers, count = ndimage.label(mask.T)
    areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    return numbers.T == areas.argmax() + 1


def slowly(masks, scores, labels, probabilities, way, max_taken, iou_thr, parts):
    """Rows of (mask, label, score, probabilities)."""
    order = by_score(scores, [i for i in range(len(masks)) if masks[i].any()])
    ranks = scores
    if way == 'objectness':
        own = probabilities[:, :-1].argmax(axis=1) == labels
        ranks = np.where(own, 1 - probabilities[:, -1], scores)
        order = by_score(ranks, order)
    if way == 'score':
        own = [i for i, _ in given_out(masks, order, max_taken)]
    else:
        own = []
        for i in order:
            if not any(iou(masks[i], masks[j]) >= iou_thr for j in own):
                own.append(i)
    groups = {i: [i] for i in own}
    for i in order:
        better = [j for j in own if order.index(j) < order.index(i) and iou(masks[i], masks[j]) >= iou_thr]
        if i not in own and better:
            groups[max(better, key=lambda j: iou(masks[i], masks[j]))].append(i)
    cells = []
    for i, members in groups.items():
        best = np.zeros(len(CLASSES))
        for j in members:
            best[labels[j]] = max(best[labels[j]], scores[j])
        shares = [ranks[j] for j in members] if any(ranks[members]) else [1.0] * len(members)
        shares = np.array(shares) / sum(shares)
        total = best.sum()
        if probabilities is None:
            row = np.append(best / max(1, total), max(0, 1 - total))
        else:
            row = shares @ probabilities[members] if way in ('objectness', 'votes', 'fused') else probabilities[i]
        mask, label, score = masks[i], labels[i], scores[i]
        if way in ('objectness', 'votes', 'fused'):
            label, score = row[:-1].argmax(), ranks[i] if way == 'objectness' else 1 - max(0, 1 - total)
        if way == 'fused':
            votes = np.tensordot(np.rint(shares * 2**40), masks[members], 1)
            mask = (votes > 0) & (2 * votes >= np.rint(shares * 2**40).sum())
            mask = mask if mask.any() else masks[i]
        cells.append((mask, label, score, row))
    cells.sort(key=lambda cell: -round(cell[2], 12))
    found = []
    ordered = np.array([cell[0] for cell in cells], dtype=bool).reshape(-1, *masks.shape[1:])
    for place, visible in given_out(ordered, range(len(cells)), max_taken):
        mask, *rest = cells[place]
        if parts == 'largest' and visible.sum() < mask.sum():
            visible = largest_part(visible)
        found.append((visible, *rest))
    return found


@settings(deadline=None, max_examples=500)
@given(
    results(),
    st.sampled_from(WAYS),
    st.sampled_from([0, 0.3, 0.5, 1]),
    st.sampled_from([0.1, 0.5, 1]),
    st.sampled_from(['largest', 'all']),
)
def test_as_bitmap_by_bitmap(case, way, max_taken, iou_thr, parts):
    masks, scores, labels, probabilities = case
    assume(way != 'objectness' or probabilities is not None)
    cells = resolve(
        to_runs(masks),
        scores,
        labels,
        CLASSES,
        probabilities,
        way=way,
        max_taken=max_taken,
        iou_thr=iou_thr,
        parts=parts,
    )
    expected = slowly(masks, scores, labels, probabilities, way, max_taken, iou_thr, parts)
    found = to_bitmaps(cells.masks)
    assert len(cells) == len(expected)
    for i, (mask, label, score, row) in enumerate(expected):
        np.testing.assert_array_equal(found[i], mask)
        assert cells.labels[i] == label
        assert cells.scores[i] == pytest.approx(score)
        np.testing.assert_allclose(cells.probabilities[i], row, atol=1e-12)


@settings(deadline=None, max_examples=200)
@given(results(), st.sampled_from(WAYS), st.sampled_from([0, 0.3, 1]))
def test_what_holds_of_all_cells(case, way, max_taken):
    masks, scores, labels, probabilities = case
    assume(way != 'objectness' or probabilities is not None)
    cells = resolve(to_runs(masks), scores, labels, CLASSES, probabilities, way=way, max_taken=max_taken)
    found = to_bitmaps(cells.masks)
    assert found.sum(axis=0).max(initial=0) <= 1
    assert found.any(axis=(1, 2)).all()
    assert (np.diff(cells.scores) <= 1e-12).all()
    np.testing.assert_allclose(cells.probabilities.sum(axis=1), 1)
    assert cells.probabilities.min(initial=0) >= 0
    if probabilities is None:
        best = cells.probabilities[np.arange(len(cells)), cells.labels]
        assert (best == cells.probabilities[:, :-1].max(axis=1, initial=0)).all()


@settings(deadline=None, max_examples=200)
@given(results(), st.sampled_from([0, 0.3, 0.5]), st.sampled_from([0.2, 0.5, 0.8]))
def test_cells_above_a_score_are_those_of_the_results_above_it(case, max_taken, score):
    masks, scores, labels, _ = case
    above = scores >= score
    cells = resolve(to_runs(masks), scores, labels, CLASSES, way='score', max_taken=max_taken).above(score)
    anew = resolve(to_runs(masks[above]), scores[above], labels[above], CLASSES, way='score', max_taken=max_taken)
    assert cells.masks.encode() == anew.masks.encode()
    assert cells.labels.tolist() == anew.labels.tolist() and cells.scores.tolist() == anew.scores.tolist()


@settings(deadline=None, max_examples=200)
@given(bitmaps(count=6), st.sampled_from([0, 0.25, 0.5, 1]), st.sampled_from([1, 10, 1 << 20]))
def test_pixels_are_given_out_once(masks, max_taken, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmcell.structures.resolve._CHUNK', chunk)
        kept, left = take_once(to_runs(masks), max_taken)
    expected = given_out(masks, range(len(masks)), max_taken)
    assert kept.tolist() == [i for i, _ in expected]
    assert left.encode() == to_runs(np.array([mask for _, mask in expected]).reshape(-1, *masks.shape[1:])).encode()


def one_object(scores, labels, probabilities=None, **how):
    mask = np.zeros((len(scores), 6, 6), dtype=bool)
    mask[:, 1:4, 1:4] = True
    return resolve(to_runs(mask), scores, labels, CLASSES, probabilities, **how)


@pytest.mark.parametrize('way', [way for way in WAYS if way != 'objectness'])
def test_an_object_under_two_classes_is_one_cell_with_both_probabilities(way):
    cells = one_object([0.3, 0.6], [0, 2], way=way)
    assert len(cells) == 1 and cells.counts() == {'a': 0, 'b': 0, 'c': 1}
    np.testing.assert_allclose(cells.probabilities, [[0.3, 0, 0.6, 0.1]])
    np.testing.assert_allclose(cells.scores, [0.9 if way in ('votes', 'fused') else 0.6])


def test_sums_that_differ_in_the_last_bits_are_equals():
    masks = np.zeros((3, 2, 10), dtype=bool)
    masks[0, :, 0:6] = True
    masks[1:, :, 4:10] = True
    cells = resolve(to_runs(masks), [0.6, 0.4, 0.2], [0, 0, 1], CLASSES, way='fused', max_taken=0.5)
    assert 0.4 + 0.2 > 0.6 and cells.boxes.tolist() == [[0, 0, 6, 2], [6, 0, 10, 2]]


def test_scores_of_several_softmaxes_that_exceed_1_are_divided_by_their_sum():
    cells = one_object([0.8, 0.8], [0, 1], way='score')
    assert cells.probabilities.tolist() == [[0.5, 0.5, 0, 0]] and cells.scores.tolist() == [0.8]


def test_given_probabilities_vote():
    rows = [[0.5, 0.4, 0, 0.1], [0, 0.9, 0, 0.1]]
    assert one_object([0.5, 0.5], [0, 1], rows, way='score').counts() == {'a': 1, 'b': 0, 'c': 0}
    cells = one_object([0.5, 0.5], [0, 1], rows, way='votes')
    assert cells.counts() == {'a': 0, 'b': 1, 'c': 0}
    np.testing.assert_allclose(cells.probabilities, [[0.25, 0.65, 0, 0.1]])


def test_what_is_most_probably_a_cell_of_any_class_comes_first():
    masks = np.zeros((4, 6, 20), dtype=bool)
    masks[:2, 1:4, 0:10] = True  # one box under two classes
    masks[2, 1:4, 0:8] = True
    masks[3, 1:4, 12:14] = True
    rows = [[0.5, 0.4, 0, 0.1], [0.5, 0.4, 0, 0.1], [0, 0.1, 0.6, 0.3], [0, 0, 0.2, 0.8]]
    cells = resolve(to_runs(masks), [0.5, 0.4, 0.6, 0.2], [0, 1, 2, 2], CLASSES, rows)
    assert cells.areas.tolist() == [30, 6] and cells.labels.tolist() == [0, 2]
    np.testing.assert_allclose(cells.scores, [0.9, 0.2])
    expected = np.average(rows[:3], axis=0, weights=[0.9, 0.4, 0.7])
    np.testing.assert_allclose(cells.probabilities, [expected, rows[3]])


def test_a_box_whose_own_class_is_gone_is_worth_its_score():
    """NMS of its class has found it worse than another: what is left of it, under another class, is no cell."""
    masks = np.zeros((2, 6, 10), dtype=bool)
    masks[0, 1:4, 0:6], masks[1, 4:6, 8:] = True, True
    cells = resolve(to_runs(masks), [0.9, 0.1], [0, 1], CLASSES, [[0.9, 0.05, 0, 0.05], [0.6, 0.1, 0, 0.3]])
    np.testing.assert_allclose(cells.scores, [0.95, 0.1])


@pytest.mark.parametrize(('probabilities', 'way'), [(None, 'fused'), ([[0.6, 0.2, 0.1, 0.1]] * 2, 'objectness')])
def test_the_default_takes_probabilities_where_there_are_some(probabilities, way):
    found = [one_object([0.3, 0.6], [0, 2], probabilities, **how) for how in ({}, {'way': way})]
    assert found[0].scores.tolist() == found[1].scores.tolist()
    assert found[0].probabilities.tolist() == found[1].probabilities.tolist()


def test_a_trimmed_cell_loses_its_crumbs_and_an_untouched_one_keeps_its_pieces():
    masks = np.zeros((3, 7, 20), dtype=bool)
    masks[0, :, 2] = True
    masks[1, 1:4, 0:12] = True  # the bar cuts off what lies left of it
    masks[2, 5, [5, 9]] = True
    cells = resolve(to_runs(masks), [0.9, 0.8, 0.7], [0, 0, 0], CLASSES)
    assert cells.boxes.tolist() == [[2, 0, 3, 7], [3, 1, 12, 4], [5, 5, 10, 6]]
    assert cells.areas.tolist() == [7, 27, 2]
    whole = resolve(to_runs(masks), [0.9, 0.8, 0.7], [0, 0, 0], CLASSES, parts='all')
    assert whole.areas.tolist() == [7, 33, 2]


def test_arguments_that_do_not_fit():
    masks = to_runs(np.ones((1, 2, 2), dtype=bool))
    with pytest.raises(ValueError, match='way must be one of objectness'):
        resolve(masks, [1], [0], CLASSES, way='best')
    with pytest.raises(ValueError, match="way 'objectness' needs probabilities"):
        resolve(masks, [1], [0], CLASSES, way='objectness')
    with pytest.raises(ValueError, match='1 masks, but scores'):
        resolve(masks, [1, 1], [0], CLASSES)
    with pytest.raises(ValueError, match=r'probabilities must be \(1, 4\)'):
        resolve(masks, [1], [0], CLASSES, [[1, 0, 0]])
