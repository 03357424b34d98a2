import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from mmcell.report.measurements import measure


@settings(deadline=None, max_examples=200)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)).filter(np.any))
def test_equal_to_scikit_image(bitmap):
    skimage = pytest.importorskip('skimage.measure')
    (expected,) = skimage.regionprops(bitmap.astype(np.uint8))
    found = measure(bitmap, x=7, y=3)
    assert found.area == expected.area
    assert (found.centroid_y, found.centroid_x) == pytest.approx(np.add(expected.centroid, (3.5, 7.5)))
    assert found.perimeter == pytest.approx(expected.perimeter)
    # The root of a difference near zero: eight digits of the difference are four of the root.
    assert found.eccentricity == pytest.approx(expected.eccentricity, abs=1e-6)
    assert found.equivalent_diameter == pytest.approx(expected.equivalent_diameter_area)


def test_ellipse():
    rows, columns = np.mgrid[-60:61, -60:61]
    found = measure((columns / 50) ** 2 + (rows / 30) ** 2 <= 1)
    assert found.area == pytest.approx(math.pi * 50 * 30, rel=0.01)
    assert found.eccentricity == pytest.approx(0.8, abs=0.005)
    assert (found.centroid_x, found.centroid_y) == (60.5, 60.5)


def test_perimeter_of_straight_and_of_diagonal_sides():
    rows, columns = np.mgrid[-20:21, -20:21]
    assert measure(np.ones((30, 20), dtype=bool)).perimeter == pytest.approx(2 * 29 + 2 * 19)
    assert measure(abs(rows) + abs(columns) <= 15).perimeter == pytest.approx(4 * 15 * math.sqrt(2))


def test_one_pixel():
    found = measure(np.ones((1, 1), dtype=bool), x=4, y=9)
    assert found.as_dict() == {
        'area': 1,
        'centroid_x': 4.5,
        'centroid_y': 9.5,
        'perimeter': 0,
        'eccentricity': 0,
        'equivalent_diameter': math.sqrt(4 / math.pi),
    }
