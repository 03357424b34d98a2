"""Outlines of masks, exact along the edges of the pixels, of all masks of an image at once.

Coordinates are pixel edges: pixel (x, y) covers the square from (x, y) to (x + 1, y + 1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from mmcell.structures.parts import Pieces, find_parts
from mmcell.structures.rle import Runs

# What follows whole numbers.
_WHOLE = re.compile(r'\.0\b')
# Directions of edges, clockwise round a pixel as seen on the screen: along its top, right, bottom and left side.
_RIGHT, _DOWN, _LEFT, _UP = range(4)


@dataclass(frozen=True)
class Rings:
    """The closed lines that bound N masks.

    Exteriors run clockwise as seen on the screen, so that their shoelace area is positive, holes the other way round
    (RFC 7946, section 3.1.6). No ring passes a point twice.

    Attributes:
        points: Corners, ring after ring, (K, 2) int64 as x, y; the first of a ring is not repeated.
        offsets: Ring i has the points ``offsets[i]:offsets[i + 1]``, (R + 1,) int64.
        parts: The connected part that each ring bounds, ascending, its exterior first, (R,) int64.
        part_owners: Mask of each part, ascending, (P,) int64.
    """

    points: NDArray[np.int64]
    offsets: NDArray[np.int64]
    parts: NDArray[np.int64]
    part_owners: NDArray[np.int64]

    @property
    def owners(self) -> NDArray[np.int64]:
        """The mask that each ring belongs to, (R,)."""
        return self.part_owners[self.parts]


def trace_rings(masks: Runs) -> Rings:
    """Follow the cracks between the pixels round every mask."""
    pieces = find_parts(masks)
    height, width = masks.size
    parts, x, y, directions, lengths = _edges(pieces)
    points = (parts * (width + 1) + x) * (height + 1) + y
    # An edge is known by where it starts and its direction.
    keys = points * 4 + directions
    order = np.argsort(keys)
    keys, points, directions, lengths = keys[order], points[order], directions[order], lengths[order]
    ends = points + lengths * np.array([height + 1, 1, -height - 1, -1])[directions]
    following = np.full(len(keys), -1)
    # Where pixels of one part meet at a corner, turning left cuts the way there into loops that pass the point once.
    for turn in (3, 0, 1):
        wanted = ends * 4 + (directions + turn) % 4
        at = np.minimum(np.searchsorted(keys, wanted), max(0, len(keys) - 1))
        following = np.where((following < 0) & (keys[at] == wanted), at, following)
    straight = np.zeros(len(keys), dtype=bool)
    straight[following] = directions == directions[following]
    while straight[following].any():
        following = np.where(straight[following], following[following], following)
    sequence, offsets = _cycles(following, np.flatnonzero(~straight))
    points = points[sequence]
    columns, rows = np.divmod(points, height + 1)
    part, columns = np.divmod(columns, width + 1)
    corners = np.stack([columns, rows], axis=1)
    # Exteriors before holes: the ring that begins furthest to the left is the exterior, and edges are ordered by that.
    part = part[offsets[:-1]]
    return Rings(corners, offsets, part, pieces.part_owners)


def to_polygons(masks: Runs) -> list[shapely.Polygon | shapely.MultiPolygon]:
    """Polygons that cover just the pixels of each mask, holes kept, all valid in the sense of OGC Simple Features.

    Returns:
        One geometry a mask: a Polygon, a MultiPolygon of its parts where pixels are not connected over edges, an empty
        Polygon for a mask without pixels.
    """
    rings = trace_rings(masks)
    outlines = np.full(len(masks), shapely.Polygon())
    if not len(rings.parts):
        return outlines.tolist()
    lines = shapely.linearrings(rings.points, indices=np.repeat(np.arange(len(rings.parts)), np.diff(rings.offsets)))
    polygons = shapely.polygons(lines, indices=rings.parts)  # The first line of each is its exterior.
    single = np.bincount(rings.part_owners)[rings.part_owners] == 1
    outlines[rings.part_owners[single]] = polygons[single]
    several, place = np.unique(rings.part_owners[~single], return_inverse=True)
    if len(several):
        outlines[several] = shapely.multipolygons(polygons[~single], indices=place)
    return outlines.tolist()


def to_geojson(shapes: Sequence[shapely.Polygon | shapely.MultiPolygon] | NDArray[np.object_]) -> list[str]:
    """Polygons and multipolygons as GeoJSON, whole numbers without a fraction: files are a seventh smaller so."""
    return [_WHOLE.sub('', shape) for shape in shapely.to_geojson(shapes)]


def split_rings(shapes: NDArray[np.object_]) -> tuple[list[NDArray[np.float64]], NDArray[np.int64], NDArray[np.int64]]:
    """The rings of N polygons or multipolygons.

    Returns:
        Corners of each ring, (K, 2), the first repeated at the end; the polygon of each ring, its exterior first; and
        the shape of each polygon.
    """
    parts, owners = shapely.get_parts(shapes, return_index=True)
    rings, of_rings = shapely.get_rings(parts, return_index=True)
    points, places = shapely.get_coordinates(rings, return_index=True)
    return np.split(points, np.searchsorted(places, np.arange(1, len(rings)))), of_rings, owners


def smooth_rings(masks: Runs) -> list[list[NDArray[np.int64]]]:
    """Rings through the middles of the pixel edges, which look smooth where the exact ones are stairs.

    They are the 0.5 level of marching squares, thinned (Douglas-Peucker) to the points that matter by more than 3/8 of
    a pixel.

    Returns:
        Of each mask its closed rings, exteriors and holes alike, in HALF pixels: (K, 2) as x, y with K >= 3.
    """
    rings = trace_rings(masks)
    ends = np.arange(1, len(rings.points) + 1)
    ends[rings.offsets[1:] - 1] = rings.offsets[:-1]
    steps = rings.points[ends] - rings.points
    # Middles of the first and the last pixel edge of each side; one and the same on a side of one pixel.
    middles = np.stack([2 * rings.points + np.sign(steps), 2 * rings.points[ends] - np.sign(steps)], axis=1)
    kept = np.stack([np.ones(len(steps), dtype=bool), np.abs(steps).sum(axis=1) > 1], axis=1)
    bounds = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])[rings.offsets]
    outlines: list[list[NDArray[np.int64]]] = [[] for _ in range(len(masks))]
    for owner, points in zip(rings.owners.tolist(), np.split(middles[kept], bounds[1:-1])):
        thinned = cv2.approxPolyDP(points.astype(np.int32), epsilon=0.75, closed=True).reshape(-1, 2)
        outlines[owner].append(thinned.astype(np.int64) if len(thinned) >= 3 else points)
    return outlines


def _edges(pieces: Pieces) -> tuple[NDArray[np.int64], ...]:
    """Edges with their pixels to the right: part, x and y of the start, direction and length, all (E,).

    Edges along columns are as long as they can be, those along rows one pixel long.
    """
    parts, columns, tops, bottoms = pieces.parts, pieces.columns, pieces.tops, pieces.bottoms
    height, width = bottoms.max(initial=0) + 1, columns.max(initial=0) + 2
    # Down each line between two columns: 1 while the pixel to the right is of the part, 2 for the left, 3 for both.
    right = (parts * width + columns) * height
    left = right + height
    positions = np.concatenate([right + tops, right + bottoms, left + tops, left + bottoms])
    changes = np.repeat([1, -1, 2, -2], len(parts))
    positions, place = np.unique(positions, return_inverse=True)
    state = np.cumsum(np.bincount(place, changes, minlength=len(positions)).astype(np.int64))
    lines, rows = np.divmod(positions, height)
    line_parts, line_x = np.divmod(lines, width)
    up, down = np.flatnonzero(state == 1), np.flatnonzero(state == 2)
    count = len(parts)
    return (
        np.concatenate([parts, line_parts[down], parts, line_parts[up]]),
        np.concatenate([columns, line_x[down], columns + 1, line_x[up]]),
        np.concatenate([tops, rows[down], bottoms, rows[up + 1]]),
        np.repeat([_RIGHT, _DOWN, _LEFT, _UP], [count, len(down), count, len(up)]),
        np.concatenate(
            [
                np.ones(count, dtype=np.int64),
                (rows[1:] - rows[:-1])[down],
                np.ones(count, dtype=np.int64),
                (rows[1:] - rows[:-1])[up],
            ]
        ),
    )


def _cycles(following: NDArray[np.int64], starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cycles of a permutation, in the order of `starts`: their members in turn and the offsets of each cycle."""
    steps, seen = following.tolist(), bytearray(len(following))
    sequence, offsets = [], [0]
    for at in starts.tolist():
        if seen[at]:
            continue
        while not seen[at]:
            seen[at] = 1
            sequence.append(at)
            at = steps[at]
        offsets.append(len(sequence))
    return np.array(sequence, dtype=np.int64), np.array(offsets)
