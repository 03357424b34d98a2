"""Overlapping masks -> one label map."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from mmcell.evaluation.label_maps import to_label_map, to_mask


@st.composite
def scored_bitmaps(draw):
    shape = draw(st.tuples(st.integers(0, 6), st.integers(1, 8), st.integers(1, 8)))
    bitmaps = draw(st_np.arrays(bool, shape))
    return bitmaps, draw(st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=shape[0], max_size=shape[0]))


def slowly(bitmaps, scores, min_visible):
    label_map = np.zeros(bitmaps.shape[1:], dtype=int)
    for score in sorted(set(scores), reverse=True):
        for i, bitmap in enumerate(bitmaps):
            visible = bitmap & (label_map == 0)
            if scores[i] == score and visible.any() and visible.sum() >= min_visible * bitmap.sum():
                label_map[visible] = i + 1
    return label_map


# The fixtures only hand out functions, so they may be shared between examples.
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=scored_bitmaps(), min_visible=st.sampled_from([0, 0.5, 1]))
def test_as_bitmap_by_bitmap(rle, case, min_visible):
    bitmaps, scores = case
    rles, size = [rle(bitmap) for bitmap in bitmaps], bitmaps.shape[1:]
    label_map = to_label_map(rles, size, scores, min_visible)
    assert label_map.dtype == np.int32
    np.testing.assert_array_equal(label_map, slowly(bitmaps, scores, min_visible))
    np.testing.assert_array_equal(to_label_map(rles, size), slowly(bitmaps, [1] * len(rles), 0.5))
    np.testing.assert_array_equal(to_mask(rles, size), bitmaps.any(axis=0))
    # Lower-scoring masks change nothing for the others, so a threshold may be applied before or after.
    high = [i for i, score in enumerate(scores) if score >= 0.5]
    before = to_label_map([rles[i] for i in high], size, [scores[i] for i in high], min_visible)
    after = np.where(np.isin(label_map, np.array(high, dtype=int) + 1), label_map, 0)
    np.testing.assert_array_equal(np.array([0, *(i + 1 for i in high)])[before], after)


def test_second_detection_is_left_out_and_frees_its_pixels(rle, square):
    rles = [rle(square(0, 0)), rle(square(2, 2)), rle(square(2, 10, 4))]
    label_map = to_label_map(rles, (40, 50), [0.9, 0.8, 0.7])
    # The second shares 64 of its 100 pixels with the first; the third lies partly where the second would have been.
    np.testing.assert_array_equal(label_map, square(0, 0) + 3 * square(2, 10, 4))


def test_malformed_masks(rle, square):
    with pytest.raises(ValueError, match='mask 0 has size'):
        to_label_map([rle(square(0, 0))], (50, 40))
