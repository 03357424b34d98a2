"""Calibration against loops that follow the paper's words."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell.coco.cells import cells_of
from mmcell.coco.truth import load_truth
from mmcell.evaluation import calibrate, evaluate_calibration


def calibrate_slowly(probabilities, outcomes, bins):
    """Counts, mean confidences and accuracies bin by bin, and the expected calibration error."""
    rows, error = [], 0.0
    for m in range(1, bins + 1):
        confidences, hits = [], []
        for row, outcome in zip(probabilities, outcomes):
            best = int(np.argmax(row))
            if (m - 1) / bins < row[best] <= m / bins or (m == bins and row[best] > 1):
                confidences.append(row[best])
                hits.append(best == outcome)
        if confidences:
            confidence, accuracy = sum(confidences) / len(confidences), sum(hits) / len(hits)
            error += len(hits) / len(outcomes) * abs(accuracy - confidence)
            rows.append((len(hits), confidence, accuracy))
        else:
            rows.append((0, math.nan, math.nan))
    return rows, error


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 6), st.integers(1, 20))
def test_equals_the_loop(seed, cells, outcomes, bins):
    rng = np.random.default_rng(seed)
    # Also at the very borders of bins.
    probabilities = np.where(rng.random() < 0.5, rng.random((cells, outcomes)), rng.integers(0, 4, (cells, outcomes)))
    probabilities = (probabilities + 1e-300) / (probabilities + 1e-300).sum(axis=1, keepdims=True)
    true = rng.integers(0, outcomes, cells)
    found = calibrate(probabilities, true, bins)
    rows, error = calibrate_slowly(probabilities, true, bins)
    assert found.counts.tolist() == [row[0] for row in rows]
    np.testing.assert_allclose(found.confidences, [row[1] for row in rows])
    np.testing.assert_allclose(found.accuracies, [row[2] for row in rows])
    assert found.error == pytest.approx(error)


def test_no_cells():
    found = calibrate(np.zeros((0, 3)), np.zeros(0, dtype=int))
    assert found.counts.tolist() == [0] * 15 and math.isnan(found.error)


def test_outcomes_are_those_of_pairs_of_any_class(dataset):
    """By hand: three cells are right, one is of another class, two or three are none."""
    found = evaluate_calibration(dataset.truth, dataset.results, 0.3)
    # Confidences 0.9, 0.95: right; 0.8, 0.7: right; 0.6: wrong class; 0.4, said to be none at 0.6: right, as none;
    # 0.5, the first class of two that are as probable: wrong.
    assert found.counts.sum() == 7
    confidences = np.array([0.9, 0.95, 0.8, 0.7, 0.6, 0.6, 0.5])
    right = np.array([1, 1, 1, 1, 0, 1, 0])
    places = np.ceil(confidences * 15 - 1e-9).astype(int) - 1
    expected = sum(abs((right - confidences)[places == place].sum()) for place in set(places.tolist())) / 7
    assert found.error == pytest.approx(expected)


def test_cells_may_be_given(dataset):
    truth = load_truth(dataset.truth)
    cells = dict(cells_of(dataset.results, truth.images, truth.categories))
    given = evaluate_calibration(truth, cells, 0.3)
    assert given.error == evaluate_calibration(truth, dataset.results, 0.3).error
    assert evaluate_calibration(truth, cells, 0.99).counts.sum() == 0
