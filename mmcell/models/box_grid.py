"""Which boxes overlap which: pairs, found without a matrix of all by all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

# Pairs that are looked at together: some 10 MB on the way. A query with more goes alone.
_CHUNK = 1 << 17
# Pairs of a query and a class of boxes that are looked at together.
_BLOCK = 1 << 14
# What IoU is computed from is rounded; a search that allows for a little more finds all pairs.
_LOOSE = 1e-4
#: Boxes with larger coordinates have areas that float32 cannot hold, or are NaN.
LARGEST = 1e18


class BoxPairs(NamedTuple):
    """Overlapping boxes: index of the query, index of the box, int64 both, and their IoU or share; (P,) each."""

    query: Tensor
    box: Tensor
    share: Tensor


class BoxGrid:
    """Boxes by size and place, so that those near another box are found without looking at the rest.

    Boxes whose widths and heights lie between the same powers of two form a class, and the boxes of a class lie in the
    bins of a grid by their centers: anchors of one shape in bins a quarter of their size. A query looks at the classes
    and bins in which there can be a box that overlaps it enough. If two boxes have IoU t, so have at least their
    widths as intervals, and their heights; hence the smaller width is at least t times the larger one, and the centers
    are at most (1 - t) / (1 + t) times the mean width apart.

    Memory grows with N and a fixed number of pairs.

    Args:
        boxes: x1, y1, x2, y2, (N, 4) float32 or float64, below `LARGEST`. Those without area overlap nothing.
    """

    def __init__(self, boxes: Tensor) -> None:
        columns = boxes.t().contiguous()
        solid = ((columns[2] > columns[0]) & (columns[3] > columns[1])).nonzero()[:, 0]
        if len(solid) < len(boxes):
            columns = columns.index_select(1, solid)
        self._bins = solid.new_zeros((2, 0))
        if not len(solid):
            return
        key = self._place(*_measure(columns))
        # Boxes of a bin stand side by side, and so do the bins of a row.
        order = key.argsort()
        self._index, self._columns = solid.index_select(0, order), columns.index_select(1, order)
        bins = int(self._bins.prod(dim=0).sum())
        self._starts = torch.nn.functional.pad(torch.bincount(key, minlength=bins).cumsum(0), (1, 0))
        self._largest = _largest(columns)

    def _place(self, sides: Tensor, centres: Tensor) -> Tensor:
        """Make the classes and bins of n boxes, whose sides and centers are (2, n), and find the bin of each, (n,)."""
        exponents = torch.frexp(sides).exponent.long()
        lowest = exponents.amin(dim=1, keepdim=True)
        across = exponents[1].max() - lowest[1] + 1
        code = (exponents[0] - lowest[0]) * across + exponents[1] - lowest[1]
        counts = torch.bincount(code)
        codes = counts.nonzero()[:, 0]
        member = (counts > 0).cumsum(0).sub_(1).index_select(0, code)  # class of each box
        counts = counts[codes]
        self._smallest_sides, self._largest_sides = (
            torch.stack([row.new_full((len(codes),), start).scatter_reduce_(0, member, row, reduce) for row in sides])
            for reduce, start in (('amin', float('inf')), ('amax', 0.0))
        )
        self._origin = centres.amin(dim=1, keepdim=True)
        extent = centres.amax(dim=1, keepdim=True) - self._origin
        # A quarter of the smallest side a class may have, but on average no fewer than a box a bin.
        exponents = torch.stack([codes // across, codes % across]) + lowest
        quarter = torch.ldexp(torch.ones_like(exponents, dtype=sides.dtype), exponents - 3)
        step = torch.maximum(quarter, extent / counts.sqrt())
        self._step = step.clamp(min=torch.finfo(step.dtype).tiny)
        self._bins = (extent / self._step).long() + 1
        self._first = self._bins.prod(dim=0).cumsum(0) - self._bins.prod(dim=0)
        x, y = ((centres - self._origin) / self._step.index_select(1, member)).long()
        return self._bins[0].index_select(0, member).mul_(y).add_(x).add_(self._first.index_select(0, member))

    def pairs(
        self, queries: Tensor, least: float = 0.0, over: Literal['union', 'box', 'query'] = 'union'
    ) -> Iterator[BoxPairs]:
        """Find the boxes that overlap queries.

        The share is computed step by step as by ``bbox_overlaps`` of MMDetection and equals it to the last bit.

        Args:
            queries: x1, y1, x2, y2, (M, 4), of the device and dtype of the boxes.
            least: Only pairs whose share reaches this are found.
            over: What the overlap is divided by: the union (IoU), the area of the box or that of the query (IoF).

        Yields:
            Pairs with a share above 0, in the order of their queries; all pairs of a query come together.
        """
        classes = self._bins.shape[1]
        if not classes or not len(queries):
            return
        columns = queries.t().contiguous()
        # A share of the area of one box says too little about its place.
        near = least * (1 - _LOOSE) if over == 'union' else 0.0
        for start in range(0, len(queries), max(1, _BLOCK // classes)):
            block = slice(start, start + max(1, _BLOCK // classes))
            query, begin, end = self._find_runs(columns[:, block], near)
            for some in _cut(query, end - begin):
                pairs = self._overlap(columns, query[some] + start, begin[some], end[some], over)
                keep = ((pairs.share > 0) & (pairs.share >= least)).nonzero()[:, 0]
                query_of, place, share = (values.index_select(0, keep) for values in pairs)
                yield BoxPairs(query_of, self._index.index_select(0, place), share)

    def _find_runs(self, columns: Tensor, near: float) -> tuple[Tensor, Tensor, Tensor]:
        """Where boxes of IoU `near` or more may stand; for m queries, (4, m).

        Returns runs of neighbors in `_index`: query, begin and end, (R,) each, in the order of the queries.
        """
        sides, centres = _measure(columns)
        fits = (sides[:, :, None] * near <= self._largest_sides[:, None]) & (
            self._smallest_sides[:, None] * near <= sides[:, :, None]
        )
        fits &= sides[:, :, None] > 0
        query, member = fits.all(dim=0).nonzero(as_tuple=True)
        reach = (sides[:, query] + self._largest_sides[:, member]) * (0.5 * (1 + _LOOSE) * (1 - near) / (1 + near))
        reach += 8 * torch.finfo(sides.dtype).eps * torch.maximum(self._largest, _largest(columns))
        step, bins = self._step[:, member], self._bins[:, member]
        low, high = (
            # Bound before the conversion: what is far away does not fit an integer.
            ((centres[:, query] + sign * reach - self._origin) / step).clamp(min=0).minimum(bins.to(step) - 1).long()
            for sign in (-1, 1)
        )
        rows = high[1] - low[1] + 1
        window = torch.repeat_interleave(rows)
        row = torch.arange(len(window), device=rows.device) - (rows.cumsum(0) - rows)[window]
        line = (self._first[member] + low[1] * bins[0])[window] + row * bins[0, window]
        begin, end = self._starts[line + low[0, window]], self._starts[line + high[0, window] + 1]
        return query[window], begin, end

    def _overlap(self, columns: Tensor, query: Tensor, begin: Tensor, end: Tensor, over: str) -> BoxPairs:
        """Measure all pairs of runs; their boxes are places in `_index`."""
        length = end - begin
        run = torch.repeat_interleave(length)
        place = (begin - (length.cumsum(0) - length)).index_select(0, run)
        place += torch.arange(len(run), device=run.device)
        query = query.index_select(0, run)
        x1, y1, x2, y2 = (column.index_select(0, query) for column in columns)
        left, top, right, bottom = (column.index_select(0, place) for column in self._columns)
        query_area = (x2 - x1).mul_(y2 - y1)
        box_area = (right - left).mul_(bottom - top)
        width = torch.minimum(x2, right).sub_(torch.maximum(x1, left)).clamp_(min=0)
        height = torch.minimum(y2, bottom).sub_(torch.maximum(y1, top)).clamp_(min=0)
        overlap = width.mul_(height)
        if over == 'union':
            total = query_area.add_(box_area).sub_(overlap)
        else:
            total = box_area if over == 'box' else query_area
        return BoxPairs(query, place, overlap.div_(total.clamp_(min=1e-6)))


def _measure(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Widths and heights, and centers, (2, N) each, of boxes (4, N)."""
    sides = columns[2:] - columns[:2]
    return sides, columns[:2] + sides / 2


def _largest(columns: Tensor) -> Tensor:
    """Largest absolute coordinate."""
    return torch.stack(columns.aminmax()).abs().amax()


def _cut(query: Tensor, length: Tensor) -> Iterator[slice]:
    """Cut runs into parts of a chunk of pairs or so, each with all runs of its queries.

    Args:
        query: Query of each run, (R,), ascending.
        length: Its number of pairs, (R,).
    """
    if not len(query):
        return
    # Of each query the number of its last run, and the pairs until there.
    last = torch.cat([query[1:] != query[:-1], query.new_ones(1, dtype=torch.bool)]).nonzero()[:, 0]
    until = length.cumsum(0)[last]
    begin = done = previous = before = 0
    for run, pairs in zip((last + 1).tolist(), until.tolist()):
        if pairs - done > _CHUNK and previous > begin:
            yield slice(begin, previous)
            begin, done = previous, before
        previous, before = run, pairs
    yield slice(begin, previous)
