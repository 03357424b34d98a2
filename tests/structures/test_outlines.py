"""Outlines of masks against the pixels that they bound."""

import numpy as np
import shapely
from hypothesis import given, settings
from scipy import ndimage

from mmcell.structures.outlines import smooth_rings, to_geojson, to_polygons, trace_rings
from mmcell.structures.parts import find_parts, keep_largest_parts
from mmcell.structures.run_geometry import place
from tests.structures.run_cases import bitmaps, to_runs


@settings(deadline=None, max_examples=300)
@given(bitmaps())
def test_polygons_cover_just_the_pixels(masks):
    polygons = to_polygons(to_runs(masks))
    assert len(polygons) == len(masks)
    for mask, polygon in zip(masks, polygons):
        rows, columns = np.nonzero(mask)
        squares = shapely.union_all(shapely.box(columns, rows, columns + 1, rows + 1))
        assert polygon.is_valid
        assert polygon.area == mask.sum()
        assert shapely.normalize(polygon) == shapely.normalize(shapely.simplify(squares, 0)) or not mask.any()
        parts = ndimage.label(mask)[1]
        assert polygon.geom_type == ('MultiPolygon' if parts > 1 else 'Polygon')
        assert len(shapely.get_parts(polygon)) == parts or not parts


@settings(deadline=None, max_examples=200)
@given(bitmaps())
def test_rings_turn_at_every_point_pass_none_twice_and_say_what_they_bound(masks):
    rings = trace_rings(to_runs(masks))
    known = set()
    for i, (start, end) in enumerate(zip(rings.offsets[:-1], rings.offsets[1:])):
        points = rings.points[start:end]
        assert len(set(map(tuple, points.tolist()))) == len(points) >= 4
        steps = np.sign(np.roll(points, -1, axis=0) - points)
        assert (np.abs(steps).sum(axis=1) == 1).all()
        assert ((steps * np.roll(steps, 1, axis=0)).sum(axis=1) == 0).all()
        x, y = points.T
        doubled = x @ np.roll(y, -1) - np.roll(x, -1) @ y
        # The first ring of a part is its exterior.
        assert (doubled > 0) == (rings.parts[i] not in known)
        known.add(rings.parts[i])
    assert known == set(range(len(rings.part_owners)))
    assert (np.diff(rings.parts) >= 0).all() and (np.diff(rings.owners) >= 0).all()


@settings(deadline=None, max_examples=200)
@given(bitmaps())
def test_parts_are_connected_over_edges(masks):
    pieces = find_parts(to_runs(masks))
    for i, mask in enumerate(masks):
        found = np.zeros(mask.shape, dtype=int)
        mine = pieces.owners == i
        fields = (pieces.columns, pieces.tops, pieces.bottoms, pieces.parts)
        for column, top, bottom, part in zip(*(field[mine] for field in fields)):
            found[top:bottom, column] = part + 1
        np.testing.assert_array_equal(found > 0, mask)
        expected, count = ndimage.label(mask)
        pairs = np.unique(np.stack([found[mask], expected[mask]]), axis=1)
        assert pairs.shape[1] == count == (pieces.part_owners == i).sum()


@settings(deadline=None, max_examples=200)
@given(bitmaps())
def test_of_each_mask_the_largest_part_stays(masks):
    expected = []
    for mask in masks:
        # Columns first, so that the first of equals is the one that begins first as RLE reads.
        numbers, count = ndimage.label(mask.T)
        areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
        expected.append(numbers.T == (areas.argmax() + 1 if count else -1))
    expected = np.array(expected, dtype=bool).reshape(masks.shape)
    assert keep_largest_parts(to_runs(masks)).encode() == to_runs(expected).encode()


@settings(deadline=None, max_examples=100)
@given(bitmaps())
def test_geometries_of_geojson_are_the_polygons(masks):
    runs = to_runs(masks)
    polygons = [*to_polygons(runs), shapely.box(0.25, 10.0, 20.05, 100.5)]
    for text, polygon in zip(to_geojson(polygons), polygons, strict=True):
        assert '.0' not in text.replace('20.05', '') and shapely.from_geojson(text).equals_exact(polygon)


def test_a_ring_that_closes_over_a_corner_is_an_exterior_and_a_hole():
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=bool)
    (polygon,) = to_polygons(to_runs(mask[None]))
    assert polygon.is_valid and polygon.area == 7 and len(polygon.interiors) == 1


def test_two_pixels_that_meet_at_a_corner_are_two_parts():
    (polygon,) = to_polygons(to_runs(np.eye(2, dtype=bool)[None]))
    assert [part.bounds for part in polygon.geoms] == [(0, 0, 1, 1), (1, 1, 2, 2)]


def test_masks_of_a_huge_image():
    runs = place(to_runs(np.ones((1, 3, 4), dtype=bool)), (59_996, 49_997), (50_000, 60_000))
    assert to_polygons(runs)[0].bounds == (59_996, 49_997, 60_000, 50_000)


@settings(deadline=None, max_examples=200)
@given(bitmaps())
def test_smooth_rings_stay_within_a_pixel_of_the_exact_ones(masks):
    runs = to_runs(masks)
    for rings, exact in zip(smooth_rings(runs), to_polygons(runs), strict=True):
        assert all(len(ring) >= 3 for ring in rings)
        smooth = shapely.MultiLineString([np.concatenate([ring, ring[:1]]) / 2 for ring in rings])
        assert exact.is_empty == smooth.is_empty
        assert exact.is_empty or exact.boundary.hausdorff_distance(smooth) < 0.8


def test_one_pixel_has_a_smooth_ring():
    ((ring,),) = smooth_rings(to_runs(np.ones((1, 1, 1), dtype=bool)))
    assert sorted(map(tuple, ring.tolist())) == [(0, 1), (1, 0), (1, 2), (2, 1)]


def test_smooth_rings_lie_where_their_mask_does():
    runs = to_runs(np.ones((2, 3, 4), dtype=bool))
    moved = smooth_rings(place(runs, (10, 20), (30, 30)))
    for (before,), (after,) in zip(smooth_rings(runs), moved, strict=True):
        np.testing.assert_array_equal(after, before + np.array([20, 40]))
