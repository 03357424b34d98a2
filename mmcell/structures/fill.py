"""Fill outlines: from polygons to runs, exactly, of all cells of an image at once and without a bitmap.

Coordinates are pixel edges: pixel (x, y) covers the square from (x, y) to (x + 1, y + 1), and belongs to an outline if
its center, (x + 0.5, y + 0.5), lies within. So the polygons of :mod:`mmcell.structures.outlines` give back the very
pixels that they were traced from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmcell.structures.outlines import split_rings
from mmcell.structures.rle import Runs

#: Corners of a closed line, (K, 2) float64 as x, y; the first may be repeated at the end.
Ring = NDArray[np.float64]
#: An exterior and its holes.
Polygon = Sequence[Ring]

# Crossings that are listed at once.
_CHUNK = 2**18


def fill_polygons(outlines: Sequence[Sequence[Polygon]], size: tuple[int, int], max_crossings: int = 2**24) -> Runs:
    """Fill the outlines of N cells, each of one or several polygons.

    A center lies within a ring if a ray from it crosses the ring an odd number of times (even-odd rule); within a
    polygon if it lies within the exterior and within no hole; within a cell if it lies within one of its polygons. Of a
    center that lies on a line just one of two cells that share the line takes the pixel.

    Args:
        outlines: Polygons of each cell; a polygon without a ring, or a ring of less than three corners, is empty.
        size: Height and width of the image in pixels; what leaves it is cut off.
        max_crossings: How often all rings may cross the middle of a column of the image in all.

    Raises:
        ValueError: If they cross more often.
    """
    polygons = [polygon for cell in outlines for polygon in cell]
    rings = [ring for polygon in polygons for ring in polygon]
    cells = np.repeat(np.arange(len(outlines)), [len(cell) for cell in outlines])
    parts = np.repeat(np.arange(len(polygons)), [len(polygon) for polygon in polygons])
    is_hole = np.ones(len(rings), dtype=bool)
    is_hole[np.searchsorted(parts, np.arange(len(polygons)))[[bool(len(polygon)) for polygon in polygons]]] = False
    lines, starts, ends = _fill_rings(rings, size, max_crossings)
    # A hole outweighs the exterior round it.
    weights = np.where(is_hole, -2, 1)[lines]
    owners, starts, ends = _where_positive(parts[lines], starts, ends, weights, size)
    owners, starts, ends = _where_positive(cells[owners], starts, ends, np.ones(len(owners), dtype=np.int64), size)
    return Runs(starts, ends, np.searchsorted(owners, np.arange(len(outlines) + 1)), (size[0], size[1]))


def fill_shapes(shapes: NDArray[np.object_], size: tuple[int, int]) -> Runs:
    """:func:`fill_polygons` of N shapely polygons or multipolygons."""
    rings, parts, owners = split_rings(shapes)
    polygons: list[list[Ring]] = [[] for _ in owners]
    for ring, part in zip(rings, parts.tolist()):
        polygons[part].append(ring)
    cells: list[list[Polygon]] = [[] for _ in shapes]
    for polygon, owner in zip(polygons, owners.tolist()):
        cells[owner].append(polygon)
    return fill_polygons(cells, size)


def fill_circle(centre: tuple[float, float], radius: float, size: tuple[int, int]) -> Runs:
    """Fill one circle: the pixels whose centers are no further away than the radius.

    Args:
        centre: x and y.
        radius: In pixels.
        size: Height and width of the image; what leaves it is cut off.
    """
    height, width = size
    columns = np.arange(width)
    squares = radius**2 - (columns + 0.5 - centre[0]) ** 2
    columns, halves = columns[squares >= 0], np.sqrt(squares[squares >= 0])
    tops = np.clip(np.ceil(centre[1] - halves - 0.5), 0, height).astype(np.int64)
    bottoms = np.clip(np.floor(centre[1] + halves - 0.5) + 1, 0, height).astype(np.int64)
    starts, ends = columns * height + tops, columns * height + bottoms
    owners, ones = np.zeros((2, len(starts)), dtype=np.int64)
    owners, starts, ends = _where_positive(owners, starts, ends, ones + 1, size)
    return Runs(starts, ends, np.array([0, len(starts)]), (height, width))


def unite(masks: Runs, owners: NDArray[np.int64], count: int) -> Runs:
    """Join masks into `count` masks, which hold all pixels of theirs.

    Args:
        masks: N masks, which may overlap.
        owners: What each becomes a part of, (N,), 0 to count - 1.
        count: Number of masks after.
    """
    of_runs = owners[masks.owners]
    ones = np.ones(len(of_runs), dtype=np.int64)
    of_runs, starts, ends = _where_positive(of_runs, masks.starts, masks.ends, ones, masks.size)
    return Runs(starts, ends, np.searchsorted(of_runs, np.arange(count + 1)), masks.size)


def _fill_rings(
    rings: Sequence[Ring], size: tuple[int, int], max_crossings: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ring, start and end of each stretch of a column that lies within a ring, all (K,)."""
    width = size[1]
    points = np.concatenate([np.zeros((0, 2)), *rings])
    lengths = np.array([len(ring) for ring in rings], dtype=np.int64)
    # The edge from each corner to the next of its ring, from the last to the first.
    following = np.arange(1, len(points) + 1)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    following[bounds[1:][lengths > 0] - 1] = bounds[:-1][lengths > 0]
    # From left to right, so that an edge is the same line whichever of two cells it bounds.
    swap = points[:, 0] > points[following, 0]
    left = np.where(swap[:, None], points[following], points)
    right = np.where(swap[:, None], points, points[following])
    # It crosses the middles of these columns; the middle at its right end is the next edge's.
    first = np.clip(np.ceil(left[:, 0] - 0.5), 0, width).astype(np.int64)
    crossed = np.clip(np.ceil(right[:, 0] - 0.5), 0, width).astype(np.int64) - first
    ring_of = np.repeat(np.arange(len(rings)), lengths)
    totals = np.bincount(ring_of, crossed, len(rings)).astype(np.int64)
    if totals.sum() > max_crossings:
        raise ValueError('outlines too large for cells')
    found = [np.zeros((3, 0), dtype=np.int64)]
    # In parts of whole rings, so that memory does not grow with all of them.
    chunks = np.cumsum(totals) // _CHUNK
    for chunk in np.split(np.arange(len(rings)), np.flatnonzero(np.diff(chunks)) + 1) if len(rings) else []:
        some = slice(bounds[chunk[0]], bounds[chunk[-1] + 1])
        found.append(_cross(left[some], right[some], first[some], crossed[some], ring_of[some], size))
    return tuple(np.concatenate(found, axis=1))


def _cross(
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    first: NDArray[np.int64],
    crossed: NDArray[np.int64],
    rings: NDArray[np.int64],
    size: tuple[int, int],
) -> NDArray[np.int64]:
    """:func:`_fill_rings`, (3, K), of edges from left to right that cross `crossed` columns from `first` on."""
    height, width = size
    edges = np.repeat(np.arange(len(first)), crossed)
    columns = first[edges] + np.arange(len(edges)) - (np.cumsum(crossed) - crossed)[edges]
    (x1, y1), (x2, y2) = left[edges].T, right[edges].T
    y = y1 + (columns + 0.5 - x1) * ((y2 - y1) / (x2 - x1))
    rows = np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64)
    # In each column of each ring, between the first crossing and the second, the third and the fourth, …
    keys = np.sort((rings[edges] * width + columns) * (height + 1) + rows)
    lines, tops = np.divmod(keys[::2], height + 1)
    lines, columns = np.divmod(lines, max(1, width))
    starts = columns * height + tops
    filled = keys[1::2] > keys[::2]
    return np.stack([lines, starts, starts + keys[1::2] - keys[::2]])[:, filled]


def _where_positive(
    owners: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    weights: NDArray[np.int64],
    size: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of spans with weights the stretches where their sum is positive: owners, ascending, starts and ends, all (K,)."""
    stride = size[0] * size[1] + 1
    positions = np.concatenate([owners * stride + starts, owners * stride + ends])
    # Merges rather than sorts: starts and ends mostly ascend.
    order = np.argsort(positions, kind='stable')
    positions, sums = positions[order], np.cumsum(np.concatenate([weights, -weights])[order])
    last = np.ones(len(positions), dtype=bool)
    last[:-1] = positions[1:] != positions[:-1]
    positions, sums = positions[last], sums[last] > 0
    changes = np.flatnonzero(np.diff(sums, prepend=False))
    owners, starts = np.divmod(positions[changes[::2]], stride)
    return owners, starts, positions[changes[1::2]] - owners * stride
