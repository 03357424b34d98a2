"""Whether cells are of the class that they are said to be as often as their probabilities say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcell.coco.results import Result
from mmcell.coco.truth import Truth, load_truth
from mmcell.evaluation.matching import match_cells
from mmcell.evaluation.nuclei import find_overlaps_of
from mmcell.structures.cells import Cells

#: Bins of equal width, as Guo et al. 2017 take them.
BINS = 15


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2).

    Bin m of M holds the cells whose highest probability, their confidence, lies in ((m - 1) / M, m / M].

    Attributes:
        counts: Cells in each bin, (M,) int64.
        confidences: Their mean confidence, (M,) float64; NaN in an empty bin.
        accuracies: The share of them that is of the class of that probability, (M,) float64; NaN in an empty bin.
    """

    counts: NDArray[np.int64]
    confidences: NDArray[np.float64]
    accuracies: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error (equation 3): |accuracy - confidence|, weighted by cells; NaN without cells."""
        if not self.counts.sum():
            return float('nan')
        return float(np.nansum(self.counts * np.abs(self.accuracies - self.confidences)) / self.counts.sum())


def calibrate(probabilities: NDArray[np.float64], outcomes: NDArray[np.int64], bins: int = BINS) -> Calibration:
    """Compare probabilities with what turned out to be true.

    Args:
        probabilities: Of each of K outcomes, (N, K); rows sum up to 1.
        outcomes: The true one of each row, (N,), an index.
        bins: Number of bins.
    """
    confidences = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == outcomes
    edges = np.arange(bins + 1) / bins
    # Sums of rounded numbers may exceed 1 by a little.
    places = np.minimum(np.digitize(confidences, edges, right=True) - 1, bins - 1)
    counts = np.bincount(places, minlength=bins)
    sums = (np.bincount(places, values, minlength=bins) for values in (confidences, right))
    means = [np.divide(each, counts, out=np.full(bins, np.nan), where=counts > 0) for each in sums]
    return Calibration(counts, *means)


def evaluate_calibration(
    truth: str | Path | Mapping[str, Any] | Truth,
    found: Sequence[Result] | Mapping[int, Cells],
    score_thr: float,
    **how: Any,
) -> Calibration:
    """Calibration of the class probabilities of cells.

    The outcome of a cell is the class of the true cell, whatever it is, that
    :func:`mmcell.evaluation.matching.match_cells` pairs it with, and "none of these" where there is none. Missed cells
    have no probabilities and do not count.

    Args:
        truth: Annotation file or its content. Crowds are void, see :func:`mmcell.evaluation.matching.find_overlap`.
        found: Result dicts with `segmentation`, or the cells of each image by its id.
        score_thr: Cells that score less are left out.
        how: How cells are made of results, see :func:`mmcell.structures.resolve.resolve`.

    Raises:
        InputError: If the truth cannot be used or a result does not fit it.
    """
    truth = load_truth(truth)
    probabilities, outcomes = [np.zeros((0, len(truth.classes) + 1))], [np.zeros(0, dtype=np.int64)]
    for overlap in find_overlaps_of(truth, found, **how):
        overlap = overlap.above(score_thr)
        taken = match_cells(overlap).taken
        probabilities.append(overlap.pred.probabilities)
        outcomes.append(np.append(overlap.true.labels, len(truth.classes))[taken])
    return calibrate(np.concatenate(probabilities), np.concatenate(outcomes))
