"""RLE by runs against pycocotools, which works on one bitmap at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from pycocotools import mask as coco_mask

from mmcell.structures.rle import Runs, decode, encode_label_map, find_box_runs, find_runs

IDS = [0, 0, 1, 2, 7, 2**31 - 1]

label_maps = st_np.arrays(
    np.int32,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from(IDS),
)


def reference(bitmap):
    rle = coco_mask.encode(np.asfortranarray(bitmap, dtype=np.uint8))
    return {'size': rle['size'], 'counts': rle['counts'].decode()}


@st.composite
def bitmap_stacks(draw, most=5):
    """N masks of one image, N x H x W of 0 and 1."""
    shape = draw(st.tuples(st.integers(0, most), st.integers(1, 12), st.integers(1, 12)))
    return draw(st_np.arrays(np.uint8, shape, elements=st.integers(0, 1)))


@settings(deadline=None, max_examples=200)
@given(label_maps)
def test_encode_label_map_is_pycocotools_on_each_id(plane):
    instances = encode_label_map(plane)
    ids = np.unique(plane[plane > 0])
    rles = [reference(plane == i) for i in ids]
    np.testing.assert_array_equal(instances.ids, ids)
    assert instances.rles == rles
    if rles:
        np.testing.assert_array_equal(instances.areas, coco_mask.area(rles))
        np.testing.assert_array_equal(instances.boxes, coco_mask.toBbox(rles))


@settings(deadline=None, max_examples=200)
@given(bitmap_stacks())
def test_decode_inverts_encode_and_measures_like_pycocotools(bitmaps):
    size = bitmaps.shape[1:]
    rles = [reference(bitmap) for bitmap in bitmaps]
    runs = decode(rles, size)
    assert runs.encode() == rles
    np.testing.assert_array_equal(runs.areas, bitmaps.sum((1, 2)))
    for bitmap, (x, y, w, h) in zip(bitmaps, runs.boxes):
        rows, columns = np.nonzero(bitmap)
        expected = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1] if len(rows) else [0, 0, 0, 0]
        assert [x, y, w, h] == expected


@settings(deadline=None, max_examples=200)
@given(bitmap_stacks(), st.data())
def test_box_runs_are_those_of_the_masks_pasted_at_the_corners(bitmaps, data):
    # A box may stick out of the image by background only, and may fill the image from top to bottom.
    count, height, width = bitmaps.shape
    size = (height + data.draw(st.integers(0, 2)), width + data.draw(st.integers(0, 2)))
    top, left = data.draw(st.tuples(st.integers(0, size[0] - height), st.integers(0, size[1] - width)))
    margin = data.draw(st.integers(0, 2))
    full = np.zeros((count, *size), dtype=np.uint8)
    full[:, top : top + height, left : left + width] = bitmaps
    boxes = np.pad(bitmaps, ((0, 0), (margin, margin), (margin, margin))).transpose(0, 2, 1).astype(bool)
    corners = np.tile([left - margin, top - margin], (count, 1))
    assert find_box_runs(boxes, corners, size).encode() == [reference(bitmap) for bitmap in full]


@settings(deadline=None, max_examples=100)
@given(bitmap_stacks(), st.lists(st.integers(0, 100), max_size=6))
def test_select_and_cat_act_on_instances(bitmaps, index):
    rles = [reference(bitmap) for bitmap in bitmaps]
    runs = decode(rles, bitmaps.shape[1:])
    index = np.array([i % len(rles) for i in index] if rles else [], dtype=np.int64)
    chosen = runs.select(index)
    assert chosen.encode() == [rles[i] for i in index]
    assert Runs.cat([runs, chosen]).encode() == rles + [rles[i] for i in index]


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32, np.int64, np.uint32])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_every_integer_type_and_memory_order(dtype, order):
    rng = np.random.default_rng(0)
    plane = np.array(rng.integers(0, 4, (30, 17)), dtype=dtype, order=order)
    instances = encode_label_map(plane)
    assert instances.rles == [reference(plane == i) for i in (1, 2, 3)]


@pytest.mark.parametrize('shape', [(0, 0), (0, 5), (5, 0), (1, 1), (7, 3)])
def test_a_label_map_without_instances_gives_none(shape):
    instances = encode_label_map(np.zeros(shape, dtype=np.int32))
    assert instances.rles == []
    assert instances.boxes.shape == (0, 4)
    assert len(instances.ids) == len(instances.areas) == 0


def test_counts_of_many_characters():
    # 4.2 million pixels in one run take five characters, and the differences are negative in turn.
    plane = np.zeros((2048, 2048), dtype=np.int32)
    plane[0, 0] = plane[-1, -1] = plane[5:900, 1024] = 1
    assert encode_label_map(plane).rles == [reference(plane)]
    assert encode_label_map(np.ones_like(plane)).rles == [reference(plane * 0 + 1)]


def test_bytes_and_uncompressed_counts_are_read():
    bitmap = np.zeros((4, 5), dtype=np.uint8)
    bitmap[1:3, 1:4] = 1
    compressed = coco_mask.encode(np.asfortranarray(bitmap))
    lists = {'size': [4, 5], 'counts': [5, 2, 2, 2, 2, 2, 5]}
    for rle in (compressed, lists, reference(bitmap)):
        assert decode([rle], (4, 5)).encode() == [reference(bitmap)]


@pytest.mark.parametrize(
    ('rle', 'message'),
    [
        ({'size': [4, 6], 'counts': 'd0'}, r'mask 0 has size \[4, 6\], the image has \[4, 5\]'),
        ({'size': [4, 5], 'counts': [5, 2]}, 'mask 0 has counts for 7 pixels, the image has 20'),
        ({'size': [4, 5], 'counts': ''}, 'mask 0 has counts for 0 pixels, the image has 20'),
        ({'size': [4, 5], 'counts': '~~'}, 'not a COCO run-length string'),
        ({'size': [4, 5], 'counts': 'd'}, 'not a COCO run-length string'),
        ({'size': [4, 5], 'counts': 'ddddddddd0'}, 'not a COCO run-length string'),
        ({'size': [4, 5], 'counts': 'OO'}, 'a mask has a negative count'),
    ],
)
def test_a_malformed_mask_is_refused(rle, message):
    with pytest.raises(ValueError, match=message):
        decode([rle], (4, 5))


def test_runs_of_no_instance():
    ids, runs = find_runs(np.zeros((3, 3), dtype=np.int32))
    assert len(ids) == len(runs) == 0
    assert isinstance(runs, Runs)
    assert runs.encode() == []
    assert decode([], (3, 3)).boxes.shape == (0, 4)
