"""Which masks share pixels: pairs only, found by runs, so that memory grows with what overlaps and not with N x M."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmcell.structures.rle import Runs

# Pairs of runs that are looked at together: some 100 MB on the way.
_CHUNK = 1 << 21


@dataclass(frozen=True)
class Pairs:
    """Pairs of masks that share pixels, ordered by the first mask, then the second.

    Attributes:
        first: Index of the one mask of each pair, (P,) int64.
        second: Index of the other, (P,) int64.
        pixels: Pixels that they share, (P,) int64, at least 1.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    pixels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    def select(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Pairs:
        """Some of the pairs, in the order of `index`."""
        return Pairs(self.first[index], self.second[index], self.pixels[index])


def find_overlaps(first: Runs, second: Runs) -> Pairs:
    """Find the pairs of masks of two sets that share pixels.

    Masks of one set may overlap each other. The cost grows with the runs and with the pairs of runs that overlap,
    whatever the size of the image.

    Args:
        first: N masks.
        second: M masks of the same size.

    Returns:
        The pairs: indices into `first` and into `second`.

    Raises:
        ValueError: If the sizes differ.
    """
    if tuple(first.size) != tuple(second.size):
        raise ValueError(f'masks of {first.size} and of {second.size} pixels have no place in common')
    one, other = _sort(first), _sort(second)
    # Of two runs that overlap, the second begins within the first or the first begins later within the second.
    sums = [_sum(*_meet(one, other, 'left'), one, other, len(second))]
    sums.append(_sum(*_meet(other, one, 'right'), one, other, len(second), swap=True))
    keys, pixels = _add_up(np.concatenate([keys for keys, _ in sums]), np.concatenate([pixels for _, pixels in sums]))
    return Pairs(*np.divmod(keys, max(1, len(second))), pixels)


def find_self_overlaps(masks: Runs) -> Pairs:
    """Find the pairs of masks of one set that share pixels; `first` < `second` in each."""
    runs = _sort(masks)
    starts, ends, _ = runs
    # Each run with those that come after it in order and begin before it ends.
    after = np.arange(1, len(starts) + 1)
    keys, pixels = _sum(after, np.searchsorted(starts, ends, side='left'), runs, runs, len(masks))
    first, second = np.divmod(keys, max(1, len(masks)))
    keys, pixels = _add_up(np.minimum(first, second) * len(masks) + np.maximum(first, second), pixels)
    return Pairs(*np.divmod(keys, max(1, len(masks))), pixels)


def find_agreeing(masks: Runs, iou_thr: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of masks of one set that agree: `first` < `second`, ordered by both, and their IoU, all (P,).

    Args:
        masks: N masks.
        iou_thr: Least IoU; masks that share no pixel are never a pair.
    """
    pairs, areas = find_self_overlaps(masks), masks.areas
    union = areas[pairs.first] + areas[pairs.second] - pairs.pixels
    agree = pairs.pixels >= iou_thr * union
    return pairs.first[agree], pairs.second[agree], (pairs.pixels / union)[agree]


def unsuppressed(count: int, better: NDArray[np.int64], worse: NDArray[np.int64]) -> NDArray[np.int64]:
    """What stays of ranked masks if each that stays removes the worse ones that agree with it, ascending.

    Args:
        count: Number of masks.
        better: Pairs that agree, ordered by this one, (P,).
        worse: The other, of a higher rank, (P,).
    """
    kept = np.ones(count, dtype=bool)
    # What happens to the better is settled when its turn comes.
    for some, other in zip(better.tolist(), worse.tolist()):
        if kept[some]:
            kept[other] = False
    return np.flatnonzero(kept)


_Sorted = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _sort(masks: Runs) -> _Sorted:
    """Starts, ends and owners of all runs, by rising start."""
    order = np.argsort(masks.starts, kind='stable')
    return masks.starts[order], masks.ends[order], masks.owners[order]


def _meet(
    runs: _Sorted, others: _Sorted, side: Literal['left', 'right']
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each run the range of the others that begin within it; 'right' leaves out those that begin where it does."""
    low = np.searchsorted(others[0], runs[0], side=side)
    return low, np.maximum(low, np.searchsorted(others[0], runs[1], side='left'))


def _sum(
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    one: _Sorted,
    other: _Sorted,
    columns: int,
    swap: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shared pixels of the pairs of masks whose runs meet, as keys ``first * columns + second`` and their sums.

    Args:
        low: First run of the other side that each run meets, (R,).
        high: One past the last, (R,).
        one: The runs of the first set.
        other: The runs of the second set.
        columns: Number of masks of the second set.
        swap: `low` and `high` belong to the runs of the second set and point into the first.
    """
    total = np.concatenate([[0], np.cumsum(high - low)])
    bounds = np.unique(np.append(np.searchsorted(total, np.arange(0, total[-1], _CHUNK)), len(low)))
    parts = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    for start, end in pairwise(bounds.tolist()):
        count = (high - low)[start:end]
        mine = np.repeat(np.arange(start, end), count)
        theirs = np.arange(len(mine)) + np.repeat(low[start:end] - (total[start:end] - total[start]), count)
        a, b = (theirs, mine) if swap else (mine, theirs)
        shared = np.minimum(one[1][a], other[1][b]) - np.maximum(one[0][a], other[0][b])
        parts.append(_add_up(one[2][a] * columns + other[2][b], shared))
    return np.concatenate([keys for keys, _ in parts]), np.concatenate([pixels for _, pixels in parts])


def _add_up(keys: NDArray[np.int64], pixels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One entry a key, rising, with the sum of its pixels."""
    order = np.argsort(keys, kind='stable')
    keys, pixels = keys[order], pixels[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    return keys[first], np.add.reduceat(pixels, first) if len(first) else pixels
