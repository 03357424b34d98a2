"""Move masks between an image and its tiles, run by run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmcell.structures.rle import Runs

#: Owner, column, top and bottom of each piece of a run, all (K,).
Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

# Pixels that are listed at once.
_CHUNK = 2**22


def place(runs: Runs, corner: tuple[int, int], size: tuple[int, int]) -> Runs:
    """Move masks into another frame: a tile's into the image, or, with a negative corner, the image's into a tile.

    Args:
        runs: N masks.
        corner: Where their upper left corner comes to lie in the new frame, x and y in pixels.
        size: Height and width of the new frame; what falls outside is cut off.
    """
    x, y = corner
    frame = np.array([-x, -y, size[1] - x, size[0] - y])
    owners, columns, tops, bottoms = _cut(runs, np.broadcast_to(frame, (len(runs), 4)))
    return join_columns(owners, columns + x, tops + y, bottoms + y, len(runs), size)


def clip(runs: Runs, windows: ArrayLike) -> Runs:
    """Cut each mask down to its own window of the image.

    Args:
        runs: N masks.
        windows: Integer x1, y1, x2, y2 in pixels, (N, 4), or (4,) for all of them.
    """
    pieces = _cut(runs, np.broadcast_to(np.asarray(windows, dtype=np.int64), (len(runs), 4)))
    return join_columns(*pieces, len(runs), runs.size)


def split_columns(runs: Runs) -> Columns:
    """Split runs at the columns of the image: owners, columns, tops and bottoms, all (K,), in the order of the runs."""
    height = runs.size[0]
    left, right = runs.starts // height, (runs.ends - 1) // height
    spans = right - left + 1
    run = np.repeat(np.arange(len(spans)), spans)
    columns = left[run] + np.arange(len(run)) - (np.cumsum(spans) - spans)[run]
    tops = np.maximum(runs.starts[run] - columns * height, 0)
    return runs.owners[run], columns, tops, np.minimum(runs.ends[run] - columns * height, height)


def centroids(runs: Runs) -> NDArray[np.float64]:
    """Mean x and y of the pixels of each mask, (N, 2); pixel 0 counts as 0, and a mask without pixels has NaN."""
    owners, columns, tops, bottoms = split_columns(runs)
    lengths = bottoms - tops
    sums = np.zeros((len(runs), 2), dtype=np.int64)
    np.add.at(sums, owners, np.stack([columns * lengths, (tops + bottoms - 1) * lengths // 2], axis=1))
    with np.errstate(invalid='ignore'):
        return sums / runs.areas[:, None]


def box_bitmaps(runs: Runs) -> Iterator[NDArray[np.bool_]]:
    """The mask of each of N cells inside its box, (h, w), one after the other."""
    # In parts, so that memory does not grow with the pixels of all masks.
    parts = np.cumsum(runs.areas) // _CHUNK
    for index in np.split(np.arange(len(runs)), np.flatnonzero(np.diff(parts)) + 1):
        part = runs.select(index)
        columns, rows = np.divmod(part.pixels, part.size[0])
        ends = np.cumsum(part.areas)
        for (x, y, w, h), end, area in zip(part.boxes.tolist(), ends.tolist(), part.areas.tolist()):
            bitmap = np.zeros((h, w), dtype=bool)
            bitmap[rows[end - area : end] - y, columns[end - area : end] - x] = True
            yield bitmap


def _cut(runs: Runs, windows: NDArray[np.int64]) -> Columns:
    """Split runs at the columns and cut them to windows, (N, 4): owners, columns, tops and bottoms, all (K,)."""
    owners, columns, tops, bottoms = split_columns(runs)
    x1, y1, x2, y2 = windows[owners].T
    tops, bottoms = np.maximum(tops, y1), np.minimum(bottoms, y2)
    inside = (columns >= x1) & (columns < x2) & (tops < bottoms)
    return owners[inside], columns[inside], tops[inside], bottoms[inside]


def join_columns(
    owners: NDArray[np.int64],
    columns: NDArray[np.int64],
    tops: NDArray[np.int64],
    bottoms: NDArray[np.int64],
    count: int,
    size: tuple[int, int],
) -> Runs:
    """The inverse of :func:`split_columns`: what goes on at the top of the next column is one run again."""
    starts, ends = columns * size[0] + tops, columns * size[0] + bottoms
    apart = (starts[1:] != ends[:-1]) | (owners[1:] != owners[:-1])
    first, last = np.ones((2, len(starts)), dtype=bool)
    first[1:], last[:-1] = apart, apart
    return Runs(starts[first], ends[last], np.searchsorted(owners[first], np.arange(count + 1)), (size[0], size[1]))
