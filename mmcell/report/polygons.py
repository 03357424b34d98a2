"""Outlines of masks: exact polygons along pixel edges, and smooth ones for the eye.

Coordinates are pixel edges: pixel (x, y) covers the square from (x, y) to (x + 1, y + 1).
"""

from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np
from numpy.typing import NDArray

#: Corners of a closed ring, (K, 2) as x, y, the first not repeated.
Ring = NDArray[np.int64]
#: An exterior ring, then its holes.
Polygon = list[Ring]

# Clockwise round a pixel as seen on the screen: along its top, right, bottom and left edge.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def trace_polygons(bitmap: NDArray[np.bool_]) -> list[Polygon]:
    """Polygons that cover just the pixels of a mask, by following the cracks between pixels.

    One polygon for each 4-connected piece, holes kept: pixels that meet at a corner only are apart, so that no ring
    touches itself and all polygons are valid in the sense of OGC Simple Features. Exteriors have a positive shoelace
    area, holes a negative one (RFC 7946 section 3.1.6).

    Args:
        bitmap: (H, W) of bool.

    Returns:
        The polygons; none for an empty mask.
    """
    if not bitmap.any():
        return []
    padded = np.pad(bitmap, 1)
    inside = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    # Per direction, the corners where an edge of that direction starts, and the pixel that it bounds.
    edges: dict[tuple[int, int, int], tuple[int, int]] = {}
    for direction, (neighbour, (dx, dy)) in enumerate(zip(neighbours, ((0, 0), (1, 0), (1, 1), (0, 1)))):
        rows, columns = np.nonzero(inside & ~neighbour)
        for y, x in zip(rows.tolist(), columns.tolist()):
            edges[x + dx, y + dy, direction] = (y, x)
    _, pieces = cv2.connectedComponents(bitmap.astype(np.uint8), connectivity=4)
    exteriors: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = defaultdict(list)
    while edges:
        start, pixel = next(iter(edges.items()))
        for loop in _split(_follow(start, edges)):
            ring = np.array(loop, dtype=np.int64)
            if _doubled_area(ring) > 0:
                exteriors[pieces[pixel]] = ring
            else:
                holes[pieces[pixel]].append(ring)
    return [[exteriors[piece], *holes[piece]] for piece in sorted(exteriors)]


def smooth_outlines(bitmap: NDArray[np.bool_]) -> list[Ring]:
    """Rings through the middles of the pixel edges, which look smooth where the exact ones are stairs.

    They are the 0.5 level of marching squares, thinned (Douglas-Peucker) to the points that matter by more than 3/8 of
    a pixel.

    Args:
        bitmap: (H, W) of bool.

    Returns:
        Closed rings in HALF pixels, (K, 2) int64 as x, y with K >= 3: exteriors and holes alike.
    """
    return [_smooth(ring) for polygon in trace_polygons(bitmap) for ring in polygon]


def _smooth(ring: Ring) -> Ring:
    ends = np.roll(ring, -1, axis=0)
    steps = np.sign(ends - ring)
    # Middles of the first and the last pixel edge of each side; one and the same on a side of one pixel.
    points = np.stack([2 * ring + steps, 2 * ends - steps], axis=1).reshape(-1, 2)
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    thinned = cv2.approxPolyDP(points.astype(np.int32), epsilon=0.75, closed=True).reshape(-1, 2)
    return thinned.astype(np.int64) if len(thinned) >= 3 else points


def _follow(start: tuple[int, int, int], edges: dict[tuple[int, int, int], tuple[int, int]]) -> list[tuple[int, int]]:
    """Take one closed path out of `edges`; returns its corners in order, straight runs left out."""
    path = []
    x, y, direction = start
    while True:
        del edges[x, y, direction]
        x, y = x + _STEPS[direction][0], y + _STEPS[direction][1]
        # Where four edges meet, turning right stays with the same pixel.
        turns = ((turn, (x, y, (direction + turn) % 4)) for turn in (1, 0, 3))
        turn, edge = next((turn, edge) for turn, edge in turns if edge in edges or edge == start)
        if turn:
            path.append((x, y))
        if edge == start:
            return path
        direction = edge[2]


def _split(path: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Cut a closed path at the corners that it passes twice, into loops that pass each corner once."""
    loops, open_path, places = [], [], {}
    for corner in path:
        if corner in places:
            cut = places[corner]
            loops.append(open_path[cut:])
            for passed in open_path[cut:]:
                del places[passed]
            del open_path[cut:]
        places[corner] = len(open_path)
        open_path.append(corner)
    return [*loops, open_path]


def _doubled_area(ring: Ring) -> int:
    x, y = ring.T
    return int(x @ np.roll(y, -1) - np.roll(x, -1) @ y)
