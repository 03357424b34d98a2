"""Which predicted cell is which true one: only cells that share pixels are looked at, never all pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from mmcell.structures.cells import Cells
from mmcell.structures.overlaps import find_overlaps
from mmcell.structures.resolve import take_once
from mmcell.structures.rle import Runs

# Pairs that are assigned together.
_BATCH = 1000


@dataclass(frozen=True)
class Table:
    """What the metrics need of the N cells of one image.

    Attributes:
        areas: Pixels, (N,) int64.
        centres: Means of the pixels' coordinates, (N, 2) float64 as x, y.
        labels: Class of each, (N,) int64.
        scores: (N,) float64; 1 for truth.
        probabilities: Of each class, and last of none of these, (N, C + 1) float64.
    """

    areas: NDArray[np.int64]
    centres: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, mask: NDArray[np.bool_]) -> Table:
        """Those where `mask`, (N,) bool, is true."""
        return Table(
            self.areas[mask], self.centres[mask], self.labels[mask], self.scores[mask], self.probabilities[mask]
        )


@dataclass(frozen=True)
class Overlap:
    """Which true and predicted cells of one image share pixels.

    Attributes:
        true: T true cells.
        pred: P predicted cells.
        pairs: (K, 2) int64, indices into `true` and `pred`, in order.
        intersections: Shared pixels of each pair, (K,) int64, at least 1.
    """

    true: Table
    pred: Table
    pairs: NDArray[np.int64]
    intersections: NDArray[np.int64]

    @property
    def unions(self) -> NDArray[np.int64]:
        """Pixels of each pair's union, (K,)."""
        return self.true.areas[self.pairs[:, 0]] + self.pred.areas[self.pairs[:, 1]] - self.intersections

    @property
    def ious(self) -> NDArray[np.float64]:
        """IoU of each pair, (K,)."""
        return self.intersections / self.unions

    def select(self, true: NDArray[np.bool_], pred: NDArray[np.bool_]) -> Overlap:
        """Only the cells where `true`, (T,) bool, and `pred`, (P,) bool, are true."""
        kept = true[self.pairs[:, 0]] & pred[self.pairs[:, 1]]
        new_true, new_pred = np.cumsum(true) - 1, np.cumsum(pred) - 1
        pairs = np.stack([new_true[self.pairs[kept, 0]], new_pred[self.pairs[kept, 1]]], axis=1)
        return Overlap(self.true.select(true), self.pred.select(pred), pairs, self.intersections[kept])

    def above(self, score: float) -> Overlap:
        """Without the predictions that score less than `score`."""
        return self.select(np.ones(len(self.true), dtype=bool), self.pred.scores >= score)


@dataclass(frozen=True)
class Matches:
    """The pairs of one image, P predictions with T true cells.

    Attributes:
        taken: Index of the true cell that each prediction takes, or -1, (P,) int64.
        ious: Mask IoU of each pair, 0 without one, (P,) float64.
        right: Whether each prediction takes a true cell of its own class, (P,) bool.
        found: Score of the prediction that takes each true cell, -1 if none does, (T,) float64.
    """

    taken: NDArray[np.int64]
    ious: NDArray[np.float64]
    right: NDArray[np.bool_]
    found: NDArray[np.float64]

    def counts(self, scores: NDArray[np.float64], score_thr: float) -> dict[str, int]:
        """Number of hits, wrong classes, false alarms and misses among predictions that score `score_thr` or more.

        Args:
            scores: Scores of the predictions, (P,).
            score_thr: The threshold.
        """
        kept = scores >= score_thr
        paired = self.taken >= 0
        return {
            'hits': int((kept & self.right).sum()),
            'wrong': int((kept & paired & ~self.right).sum()),
            'alarms': int((kept & ~paired).sum()),
            'misses': int((self.found < score_thr).sum()),
        }


def find_overlap(true: Cells, pred: Cells, crowds: Runs | None = None) -> Overlap:
    """Compare true and predicted cells of one image.

    Args:
        true: The true cells.
        pred: The predicted ones.
        crowds: Masks that are void (Kirillov et al. 2019), but for the true cells in them: predictions that lie there
            for more than half of their pixels are left out, the others lose these pixels.
    """
    if crowds is not None and len(crowds):
        pred = _outside(pred, true.masks, crowds)
    pairs = find_overlaps(true.masks, pred.masks)
    return Overlap(_measure(true), _measure(pred), np.stack([pairs.first, pairs.second], axis=1), pairs.pixels)


def match_cells(overlap: Overlap, iou_thr: float = 0.5) -> Matches:
    """Pair true and predicted cells of whatever class.

    By falling score each prediction takes the free true cell of highest IoU, if it is at least `iou_thr` (more than 0).
    So no pair depends on lower scores: the pairs above a score are those of all predictions without the ones below it,
    and a viewer may move the threshold without matching again.
    """
    true, pred = overlap.true, overlap.pred
    taken, paired, found = np.full(len(pred), -1), np.zeros(len(pred)), np.full(len(true), -1.0)
    rank = np.empty(len(pred), dtype=np.int64)
    rank[np.argsort(-pred.scores, kind='stable')] = np.arange(len(pred))
    ious = overlap.ious
    close = np.flatnonzero(ious >= iou_thr)
    close = close[np.lexsort([overlap.pairs[close, 0], -ious[close], rank[overlap.pairs[close, 1]]])]
    for (t, p), iou in zip(overlap.pairs[close].tolist(), ious[close].tolist()):
        if taken[p] < 0 and found[t] < 0:
            taken[p], paired[p], found[t] = t, iou, pred.scores[p]
    right = taken >= 0
    right[right] = true.labels[taken[right]] == pred.labels[right]
    return Matches(taken, paired, right, found)


def assign(pairs: NDArray[np.int64], gains: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Choose pairs, one to one, of the largest total gain.

    It is what ``scipy.optimize.linear_sum_assignment`` finds on a matrix in which all other pairs gain 0, but takes
    memory for the given pairs only. Where several choices have the same total, either may give any of them.

    Args:
        pairs: Possible pairs, (K, 2), no two equal.
        gains: What each gains, (K,), at least 0.
        shape: Numbers of rows and columns that `pairs` speak of.

    Returns:
        Indices of the chosen pairs, ascending.
    """
    rows, columns = shape
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], rows + pairs[:, 1])), shape=(rows + columns,) * 2)
    _, parts = connected_components(graph, directed=False)
    part = parts[pairs[:, 0]]
    order = np.argsort(part, kind='stable')
    # Pairs without a row or column in common are apart from each other. scipy takes time for rows x columns, so parts
    # are solved some hundred pairs at a time, and a larger part by itself.
    ends = np.flatnonzero(np.append(part[order[1:]] != part[order[:-1]], True)[: len(order)]) + 1
    batch = np.repeat(ends // _BATCH, np.diff(ends, prepend=0))
    chosen = [
        some[_assign(pairs[some], gains[some])]
        for some in np.split(order, np.flatnonzero(np.diff(batch)) + 1)
        if len(some)
    ]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *chosen]))


def _assign(pairs: NDArray[np.int64], gains: NDArray[np.float64]) -> NDArray[np.int64]:
    """:func:`assign` of at least one pair, at once."""
    names, row = np.unique(pairs[:, 0], return_inverse=True)
    columns, column = np.unique(pairs[:, 1], return_inverse=True)
    # Each row may also be left alone: it has a column of its own that costs as much as a pair that gains nothing.
    # scipy takes a cost of 0 for no pair, so all costs are made positive.
    alone = np.arange(len(names))
    most = gains.max() + 1
    costs = coo_array(
        (
            np.concatenate([most - gains, np.full(len(names), most)]),
            (np.concatenate([row, alone]), np.concatenate([column, len(columns) + alone])),
        ),
        shape=(len(names), len(columns) + len(names)),
    )
    taken = np.full(len(names), -1)
    rows, places = min_weight_full_bipartite_matching(costs.tocsr())
    taken[rows] = places
    return np.flatnonzero(taken[row] == column)


def _outside(pred: Cells, true: Runs, crowds: Runs) -> Cells:
    """Predictions that do not lie in crowds for the most part, without the pixels that do."""
    kept, left = take_once(Runs.cat([true, crowds]))
    void = left.select(np.flatnonzero(kept >= len(true)))
    pairs = find_overlaps(void, pred.masks)
    inside = np.bincount(pairs.second, pairs.pixels, minlength=len(pred))
    pred = pred[2 * inside <= pred.areas]
    kept, left = take_once(Runs.cat([void, pred.masks]))
    # Of each at least half is left, so all of them are kept.
    masks = left.select(np.flatnonzero(kept >= len(void)))
    return Cells(masks, pred.labels, pred.scores, pred.probabilities, pred.classes)


def _measure(cells: Cells) -> Table:
    return Table(cells.areas, cells.centres, cells.labels, cells.scores, cells.probabilities)
