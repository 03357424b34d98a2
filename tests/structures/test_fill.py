"""Filled polygons against one pixel center after the other, and against the masks that they were traced from."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from mmcell.structures.fill import fill_circle, fill_polygons, fill_shapes, unite
from mmcell.structures.outlines import to_polygons
from mmcell.structures.rle import Runs, encode_label_map, find_runs


def bitmap(masks: Runs, index: int = 0) -> np.ndarray:
    height, width = masks.size
    flat = np.zeros(width * height, dtype=bool)
    flat[masks.select(np.array([index])).pixels] = True
    return flat.reshape(width, height).T


def is_within(ring, x: float, y: float) -> bool:
    """Whether a point lies within a ring: the crossings above it, counted edge by edge."""
    count = 0
    for (x1, y1), (x2, y2) in pairwise([*ring, ring[0]]):
        if (x1 <= x) != (x2 <= x):
            (xa, ya), (xb, yb) = sorted([(x1, y1), (x2, y2)])
            count += ya + (x - xa) * ((yb - ya) / (xb - xa)) <= y
    return count % 2 == 1


def by_hand(polygons, size) -> np.ndarray:
    """A center lies in a cell if it lies in an exterior of it and in no hole of that."""
    mask = np.zeros(size, dtype=bool)
    for y, x in np.ndindex(size):
        point = x + 0.5, y + 0.5
        mask[y, x] = any(
            is_within(polygon[0], *point) and not any(is_within(hole, *point) for hole in polygon[1:])
            for polygon in polygons
        )
    return mask


def as_arrays(polygons):
    return [[np.array(ring, dtype=float).reshape(-1, 2) for ring in polygon] for polygon in polygons]


@st.composite
def outlines(draw):
    """Cells of polygons with holes: corners on pixel edges, on centers, and anywhere; most cross themselves."""
    grid = draw(st.sampled_from([1, 2, 3, 100]))
    corner = st.tuples(*[st.integers(-3 * grid, 12 * grid).map(lambda value: value / grid)] * 2)
    ring = st.lists(corner, min_size=1, max_size=7)
    return draw(st.lists(st.lists(st.lists(ring, min_size=1, max_size=3), max_size=3), max_size=3))


@settings(deadline=None, max_examples=300)
@given(outlines(), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_each_pixel_whose_centre_is_within(cells, size):
    masks = fill_polygons([as_arrays(cell) for cell in cells], size)
    assert len(masks) == len(cells)
    for index, cell in enumerate(cells):
        np.testing.assert_array_equal(bitmap(masks, index), by_hand(cell, size))
    # Runs as everything else has them: those that touch are one.
    planes = [bitmap(masks, index).astype(np.int32) for index in range(len(cells))]
    assert masks.encode() == [(encode_label_map(plane).rles or [empty(size)])[0] for plane in planes]


def empty(size):
    return Runs(*np.zeros((2, 0), dtype=np.int64), np.zeros(2, dtype=np.int64), size).encode()[0]


@settings(deadline=None, max_examples=300)
@given(st_np.arrays(np.int32, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 3)))
def test_traced_masks_come_back(plane):
    """Random label maps: cells in many parts, with holes, and parts in the holes."""
    _, masks = find_runs(plane)
    filled = fill_shapes(np.array(to_polygons(masks), dtype=object), plane.shape)
    for name in ('starts', 'ends', 'offsets'):
        np.testing.assert_array_equal(getattr(filled, name), getattr(masks, name))


def test_cells_that_share_a_line_share_no_pixel_and_leave_none():
    """Two halves of a square, cut along lines through pixel centers."""
    square = [(0, 0), (8, 0), (8, 8), (0, 8)]
    for a, b in [((0, 0), (8, 8)), ((0.5, 0), (7.5, 8)), ((8, 0), (0, 8)), ((4.5, 0), (4.5, 8)), ((0, 3.5), (8, 3.5))]:
        sides = {
            ((0, 0), (8, 8)): (square[:3], [(0, 0), (8, 8), (0, 8)]),
            ((0.5, 0), (7.5, 8)): ([a, (8, 0), (8, 8), b], [(0, 0), a, b, (0, 8)]),
            ((8, 0), (0, 8)): ([(0, 0), (8, 0), (0, 8)], square[1:]),
            ((4.5, 0), (4.5, 8)): ([(0, 0), a, b, (0, 8)], [a, (8, 0), (8, 8), b]),
            ((0, 3.5), (8, 3.5)): ([(0, 0), (8, 0), b, a], [a, b, (8, 8), (0, 8)]),
        }[a, b]
        masks = fill_polygons([as_arrays([[side]]) for side in sides], (8, 8))
        assert masks.areas.sum() == 64 and not (bitmap(masks, 0) & bitmap(masks, 1)).any()


@settings(deadline=None, max_examples=200)
@given(
    *[st.integers(-8, 30).map(lambda value: value / 2)] * 2,
    st.integers(0, 24).map(lambda value: value / 2),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_circles(x, y, radius, size):
    rows, columns = np.mgrid[: size[0], : size[1]]
    expected = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2
    np.testing.assert_array_equal(bitmap(fill_circle((x, y), radius, size)), expected)


def test_unite():
    square = [[np.array([[0, 0], [4, 0], [4, 4], [0, 4]]) + shift] for shift in (0.0, 2.0, 5.0)]
    masks = fill_polygons([[polygon] for polygon in square], (9, 9))
    joined = unite(masks, np.array([1, 1, 0]), 3)
    expected = [bitmap(masks, 2), bitmap(masks, 0) | bitmap(masks, 1), np.zeros((9, 9), dtype=bool)]
    np.testing.assert_array_equal([bitmap(joined, index) for index in range(3)], expected)


def test_no_cells_and_far_away():
    assert len(fill_polygons([], (3, 4))) == 0
    far = np.array([[-(2.0**31), -(2.0**31)], [2.0**31, -(2.0**31)], [2.0**31, 2.0**31], [-(2.0**31), 2.0**31]])
    assert fill_polygons([[[far]], [[far + 2.0**32]], [[]], []], (3, 4)).areas.tolist() == [12, 0, 0, 0]


def test_too_many_crossings_are_refused_before_they_are_listed():
    ring = np.array([[0.0, 0.0], [2.0**31, 1.0]] * 1000)
    with pytest.raises(ValueError, match='too large'):
        fill_polygons([[[ring]]], (10, 2**31), max_crossings=2**20)
