"""Which predicted cell is which true one, against label maps and matrices of all pairs."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from mmcell.evaluation import matching
from mmcell.evaluation.matching import assign, find_overlap, match_cells
from mmcell.structures.cells import Cells
from mmcell.structures.rle import find_runs
from tests.evaluation import dense
from tests.structures.run_cases import bitmaps, to_runs

CLASSES = ('a', 'b', 'c')


@st.composite
def images(draw):
    """Two label maps of one image, much alike, and labels and scores of the cells of both."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    true = rng.integers(0, 6, shape).repeat(2, axis=0).repeat(2, axis=1)
    pred = np.where(rng.random(true.shape) < rng.choice([0.5, 0.8, 1]), true, rng.integers(0, 7, true.shape))
    pred = rng.permutation(7)[pred]
    sides = [(plane, rng.integers(0, len(CLASSES), len(np.unique(plane[plane > 0])))) for plane in (true, pred)]
    return *sides[0], *sides[1], rng.integers(0, 5, len(sides[1][1])) / 4


def to_cells(plane, labels, scores=None):
    return Cells.from_label_map(plane, labels, CLASSES, scores)


def assert_equal(ours, reference):
    np.testing.assert_array_equal(ours.pairs, reference.pairs)
    np.testing.assert_array_equal(ours.intersections, reference.intersections)
    for one, other in ((ours.true, reference.true), (ours.pred, reference.pred)):
        for name in ('areas', 'labels', 'scores'):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_allclose(one.centres, other.centres, rtol=1e-14)


@settings(deadline=None, max_examples=200)
@given(images(), bitmaps(count=2, side=18))
def test_overlap_as_label_maps_have_it(image, crowds):
    true, true_labels, pred, pred_labels, scores = image
    ours = find_overlap(to_cells(true, true_labels), to_cells(pred, pred_labels, scores))
    assert_equal(ours, dense.find_overlap(true, pred, true_labels, pred_labels, scores))
    fitted = np.zeros((len(crowds), *true.shape), dtype=bool)
    height, width = np.minimum(true.shape, crowds.shape[1:])
    fitted[:, :height, :width] = crowds[:, :height, :width]
    ours = find_overlap(to_cells(true, true_labels), to_cells(pred, pred_labels, scores), to_runs(fitted))
    assert_equal(ours, dense.find_overlap(true, pred, true_labels, pred_labels, scores, fitted.any(axis=0)))


@settings(deadline=None, max_examples=200)
@given(images(), st.sampled_from([0.1, 0.3, 0.5, 0.8]), st.sampled_from([0, 0.25, 0.75]))
def test_matches_as_from_the_whole_matrix_and_at_every_threshold(image, iou_thr, score):
    true, true_labels, pred, pred_labels, scores = image
    overlap = find_overlap(to_cells(true, true_labels), to_cells(pred, pred_labels, scores))
    matches = match_cells(overlap, iou_thr)
    np.testing.assert_array_equal(matches.taken, dense.taken(overlap, iou_thr))
    pairs = [(t, p) for p, t in enumerate(matches.taken) if t >= 0]
    np.testing.assert_array_equal(
        matches.ious[[p for _, p in pairs]], [dense.iou_matrix(overlap)[pair] for pair in pairs]
    )
    assert matches.right.tolist() == [
        t >= 0 and true_labels[t] == label for t, label in zip(matches.taken, pred_labels)
    ]
    expected = np.full(len(true_labels), -1.0)
    for t, p in pairs:
        expected[t] = scores[p]
    np.testing.assert_array_equal(matches.found, expected)
    # A threshold may be applied before or after.
    above = overlap.above(score)
    anew = match_cells(above, iou_thr)
    np.testing.assert_array_equal(anew.taken, matches.taken[scores >= score])
    assert anew.counts(above.pred.scores, 0) == matches.counts(scores, score)


def test_counts_by_hand():
    plane = np.zeros((10, 40), dtype=int)
    for number, x in enumerate((0, 10, 20, 30), start=1):
        plane[2:8, x : x + 6] = number
    shifted = np.roll(np.where(plane == 4, 0, plane), 1, axis=1)
    shifted[9, 39] = 9
    scores = np.array([0.9, 0.8, 0.4, 0.7])
    matches = match_cells(find_overlap(to_cells(plane, [0, 0, 0, 1]), to_cells(shifted, [0, 1, 0, 2], scores)))
    assert matches.taken.tolist() == [0, 1, 2, -1]
    assert matches.right.tolist() == [True, False, True, False]
    assert matches.found.tolist() == [0.9, 0.8, 0.4, -1]
    assert matches.ious[:3].tolist() == [5 / 7] * 3
    assert matches.counts(scores, 0) == {'hits': 2, 'wrong': 1, 'alarms': 1, 'misses': 1}
    assert matches.counts(scores, 0.5) == {'hits': 1, 'wrong': 1, 'alarms': 1, 'misses': 2}


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([1, 3, 1000]))
def test_assignment_gains_what_that_of_the_whole_matrix_does(rows, columns, seed, ties, batch):
    rng = np.random.default_rng(seed)
    gains = rng.integers(0, 4, (rows, columns)) / 4 if ties else rng.random((rows, columns))
    possible = rng.random((rows, columns)) < rng.choice([0.2, 0.6, 1])
    gains = np.where(possible, gains, 0)
    pairs = np.argwhere(possible)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, '_BATCH', batch)
        chosen = assign(pairs, gains[possible], (rows, columns))
    row, column = pairs[chosen].T
    assert len(set(row)) == len(row) and len(set(column)) == len(column)
    best = linear_sum_assignment(gains, maximize=True)
    assert gains[row, column].sum() == pytest.approx(gains[best].sum())
    if not ties:
        # Random gains have one best choice, but for pairs that gain nothing.
        expected = {pair for pair in zip(*map(np.ndarray.tolist, best)) if gains[pair]}
        assert set(zip(row.tolist(), column.tolist())) == expected


def test_many_cells_in_little_memory():
    rows, columns = np.mgrid[:1000, :1000]
    plane = np.where((rows % 5 < 4) & (columns % 5 < 4), rows // 5 * 200 + columns // 5 + 1, 0)
    labels = np.zeros(40_000, dtype=int)
    true, pred = (Cells.certain(find_runs(np.roll(plane, by, axis=0))[1], labels, CLASSES) for by in (0, 1))
    tracemalloc.start()
    overlap = find_overlap(true, pred)
    matches = match_cells(overlap)
    chosen = assign(overlap.pairs, overlap.ious, (40_000, 40_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (matches.ious == 0.6).all() and len(chosen) == 40_000
    # A matrix of all pairs would take 13 GB.
    assert peak < 100e6
