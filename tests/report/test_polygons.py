import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from mmcell.report.polygons import smooth_outlines, trace_polygons

bitmaps = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def rasterise(polygons, shape):
    """Which pixel centres the polygons cover, by shapely."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    covered = np.zeros(shape, dtype=bool)
    for exterior, *holes in polygons:
        covered |= shapely.contains_xy(shapely.Polygon(exterior, holes), columns + 0.5, rows + 0.5)
    return covered


@settings(deadline=None, max_examples=300)
@given(bitmaps)
def test_polygons_cover_just_the_pixels(bitmap):
    polygons = trace_polygons(bitmap)
    assert np.array_equal(rasterise(polygons, bitmap.shape), bitmap)
    assert sum(shapely.Polygon(exterior, holes).area for exterior, *holes in polygons) == bitmap.sum()


@settings(deadline=None, max_examples=300)
@given(bitmaps)
def test_polygons_are_valid_and_one_a_piece(bitmap):
    polygons = [shapely.Polygon(exterior, holes) for exterior, *holes in trace_polygons(bitmap)]
    assert shapely.MultiPolygon(polygons).is_valid
    assert len(polygons) == cv2.connectedComponents(bitmap.astype(np.uint8), connectivity=4)[0] - 1
    for polygon in polygons:
        assert polygon.exterior.is_ccw
        assert not any(hole.is_ccw for hole in polygon.interiors)


def test_one_pixel():
    ((ring,),) = trace_polygons(np.ones((1, 1), dtype=bool))
    assert sorted(map(tuple, ring.tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_straight_sides_have_no_points_between_corners():
    ((ring,),) = trace_polygons(np.ones((30, 50), dtype=bool))
    assert len(ring) == 4


def test_hole_that_touches_the_outside_at_a_corner():
    bitmap = np.ones((4, 4), dtype=bool)
    bitmap[0, 0] = bitmap[1, 1] = False
    ((exterior, hole),) = trace_polygons(bitmap)
    assert shapely.Polygon(exterior).area == 15
    assert shapely.Polygon(hole).area == 1


@settings(deadline=None, max_examples=200)
@given(bitmaps.filter(np.any))
def test_smooth_outlines_stay_within_a_pixel_of_the_exact_ones(bitmap):
    smooth = smooth_outlines(bitmap)
    assert all(len(ring) >= 3 for ring in smooth)
    exact = shapely.MultiLineString([ring for polygon in trace_polygons(bitmap) for ring in close(polygon)])
    assert exact.hausdorff_distance(shapely.MultiLineString([ring / 2 for ring in close(smooth)])) < 0.8


def close(rings):
    return [np.concatenate([ring, ring[:1]]) for ring in rings]


@pytest.mark.parametrize('outline', [trace_polygons, smooth_outlines])
def test_nothing_from_nothing(outline):
    assert outline(np.zeros((3, 4), dtype=bool)) == []
    assert outline(np.zeros((0, 0), dtype=bool)) == []


def test_one_pixel_has_a_smooth_outline():
    (ring,) = smooth_outlines(np.ones((1, 1), dtype=bool))
    assert sorted(map(tuple, ring.tolist())) == [(0, 1), (1, 0), (1, 2), (2, 1)]
