import math

import numpy as np
import pytest
from hypothesis import given, settings
from skimage.measure import regionprops

from mmcell.report.measurements import measure
from mmcell.structures.run_geometry import place
from tests.structures.run_cases import bitmaps, to_runs


def measure_one(bitmap, x=0, y=0):
    size = bitmap.shape[0] + y, bitmap.shape[1] + x
    return {name: column.item() for name, column in measure(place(to_runs(bitmap[None]), (x, y), size)).items()}


@settings(deadline=None, max_examples=200)
@given(bitmaps())
def test_equal_to_scikit_image(masks):
    masks = masks[masks.any(axis=(1, 2))]
    height, width = masks.shape[1:]
    found = measure(place(to_runs(masks), (7, 3), (height + 9, width + 11)))
    for i, mask in enumerate(masks):
        (expected,) = regionprops(mask.astype(np.uint8))
        assert found['area'][i] == expected.area
        assert (found['centroid_y'][i], found['centroid_x'][i]) == pytest.approx(np.add(expected.centroid, (3.5, 7.5)))
        assert found['perimeter'][i] == pytest.approx(expected.perimeter)
        # The root of a difference near zero: eight digits of the difference are four of the root.
        assert found['eccentricity'][i] == pytest.approx(expected.eccentricity, abs=1e-6)
        assert found['equivalent_diameter'][i] == pytest.approx(expected.equivalent_diameter_area)
    assert {len(column) for column in found.values()} == {len(masks)}


def test_ellipse():
    rows, columns = np.mgrid[-60:61, -60:61]
    found = measure_one((columns / 50) ** 2 + (rows / 30) ** 2 <= 1)
    assert found['area'] == pytest.approx(math.pi * 50 * 30, rel=0.01)
    assert found['eccentricity'] == pytest.approx(0.8, abs=0.005)
    assert (found['centroid_x'], found['centroid_y']) == (60.5, 60.5)


def test_perimeter_of_straight_and_of_diagonal_sides():
    rows, columns = np.mgrid[-20:21, -20:21]
    assert measure_one(np.ones((30, 20), dtype=bool))['perimeter'] == pytest.approx(2 * 29 + 2 * 19)
    assert measure_one(abs(rows) + abs(columns) <= 15)['perimeter'] == pytest.approx(4 * 15 * math.sqrt(2))


def test_one_pixel():
    assert measure_one(np.ones((1, 1), dtype=bool), x=4, y=9) == {
        'area': 1,
        'centroid_x': 4.5,
        'centroid_y': 9.5,
        'perimeter': 0,
        'eccentricity': 0,
        'equivalent_diameter': math.sqrt(4 / math.pi),
    }
