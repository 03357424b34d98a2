"""Masks moved, cut and compared by runs against the same done to bitmaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmcell.structures import run_geometry
from mmcell.structures.rle import decode
from mmcell.structures.run_geometry import box_bitmaps, clip, place


def encode(bitmaps):
    return [
        dict(size=rle['size'], counts=rle['counts'].decode())
        for rle in (coco_mask.encode(np.asfortranarray(bitmap, dtype=np.uint8)) for bitmap in bitmaps)
    ]


@st.composite
def masks(draw):
    """Bitmaps of one size, (N, H, W): blocks, noise, full and empty ones."""
    count, height, width = draw(st.integers(0, 5)), draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bitmaps = rng.random((count, height, width)) < rng.choice([0, 0.2, 0.8, 1], (count, 1, 1))
    for bitmap in bitmaps[1::2]:
        x, y = rng.integers(0, width), rng.integers(0, height)
        bitmap[...] = False
        bitmap[y : y + 6, x : x + 6] = True
    return bitmaps


sides = st.integers(1, 20)


@settings(deadline=None, max_examples=200)
@given(masks(), st.integers(-10, 15), st.integers(-10, 15), sides, sides)
def test_placed_masks_are_pasted_bitmaps(bitmaps, x, y, height, width):
    count, h, w = bitmaps.shape
    canvas = np.zeros((count, height + 60, width + 60), dtype=bool)
    canvas[:, y + 20 : y + 20 + h, x + 20 : x + 20 + w] = bitmaps
    expected = encode(canvas[:, 20 : 20 + height, 20 : 20 + width])
    placed = place(decode(encode(bitmaps), (h, w)), (x, y), (height, width))
    assert placed.size == (height, width)
    assert placed.encode() == expected


@settings(deadline=None, max_examples=100)
@given(masks(), st.data())
def test_clipped_masks_are_zero_outside_their_windows(bitmaps, data):
    corner = st.integers(-3, 13)
    windows = data.draw(st.lists(st.tuples(corner, corner, corner, corner), min_size=5, max_size=5))[: len(bitmaps)]
    windows = np.array(windows, dtype=int).reshape(-1, 4)
    y, x = np.indices(bitmaps.shape[1:])
    expected = bitmaps.copy()
    for bitmap, (x1, y1, x2, y2) in zip(expected, windows):
        bitmap &= (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    runs = decode(encode(bitmaps), bitmaps.shape[1:])
    assert clip(runs, windows).encode() == encode(expected)


def test_one_window_clips_all_masks():
    bitmaps = np.ones((3, 4, 5), dtype=bool)
    clipped = clip(decode(encode(bitmaps), (4, 5)), (1, 2, 3, 4))
    assert clipped.areas.tolist() == [4, 4, 4] and clipped.boxes.tolist() == [[1, 2, 2, 2]] * 3


@settings(deadline=None, max_examples=100)
@given(masks(), st.sampled_from([1, 7, 2**22]))
def test_bitmaps_in_boxes_are_what_the_boxes_cut_out(bitmaps, chunk):
    runs = decode(encode(bitmaps), bitmaps.shape[1:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_geometry, '_CHUNK', chunk)
        found = list(box_bitmaps(runs))
    for bitmap, (x, y, w, h), cut in zip(bitmaps, runs.boxes.tolist(), found, strict=True):
        np.testing.assert_array_equal(cut, bitmap[y : y + h, x : x + w])


def test_masks_of_a_huge_image():
    size = (50_000, 60_000)
    runs = place(decode(encode(np.ones((1, 3, 4))), (3, 4)), (59_996, 49_997), size)
    assert runs.boxes.tolist() == [[59_996, 49_997, 4, 3]]
    assert runs.areas.tolist() == [12]
