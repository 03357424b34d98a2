"""LabelMapMasks against mmdet's BitmapMasks, operation by operation."""

import pickle

import cv2
import mmcv
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmcell.structures import roi_sampling
from mmcell.structures.label_map_masks import LabelMapMasks

SETTINGS = settings(deadline=None, max_examples=60)
DIRECTIONS = ['horizontal', 'vertical', 'diagonal']


def stock(bitmaps):
    return BitmapMasks(bitmaps, *bitmaps.shape[1:])


def ours(bitmaps):
    return LabelMapMasks.from_bitmaps(bitmaps, *bitmaps.shape[1:])


@st.composite
def bitmap_stacks(draw, fewest=0, most=6, longest=24):
    """N masks of one image as N x H x W of 0 and 1: blobs that may overlap, be empty, and touch the border."""
    count = draw(st.integers(fewest, most))
    height, width = draw(st.tuples(st.integers(1, longest), st.integers(1, longest)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        label = rng.integers(0, count + 1, (height, width))
        return (label == np.arange(1, count + 1)[:, None, None]).astype(np.uint8)
    bitmaps = np.zeros((count, height, width), dtype=np.uint8)
    for bitmap in bitmaps:
        center, radius = rng.integers(0, [width, height]), rng.integers(0, max(height, width))
        cv2.circle(bitmap, center.tolist(), int(radius), 1, thickness=int(rng.choice([-1, 1])))
    return bitmaps


shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def assert_same(actual, expected):
    """The same masks in the same order; `expected` is MMDetection's answer."""
    assert isinstance(actual, LabelMapMasks)
    assert (actual.height, actual.width, len(actual)) == (expected.height, expected.width, len(expected))
    assert actual.planes.dtype == np.int32
    np.testing.assert_array_equal(actual.to_ndarray(), expected.to_ndarray())


@SETTINGS
@given(bitmap_stacks())
def test_construction_and_reading(bitmaps):
    masks, expected = ours(bitmaps), stock(bitmaps)
    assert_same(masks, expected)
    rles = coco_mask.encode(np.asfortranarray(bitmaps.transpose(1, 2, 0))) if len(bitmaps) else []
    assert_same(LabelMapMasks.from_rles(rles, *bitmaps.shape[1:]), expected)
    np.testing.assert_array_equal(masks.areas, expected.areas)
    boxes = masks.get_bboxes('hbox')
    assert type(boxes) is HorizontalBoxes
    torch.testing.assert_close(boxes.tensor, expected.get_bboxes('hbox').tensor, rtol=0, atol=0)
    torch.testing.assert_close(masks.to_tensor(torch.float32, 'cpu'), expected.to_tensor(torch.float32, 'cpu'))
    for bitmap, reference in zip(masks, expected, strict=True):
        np.testing.assert_array_equal(bitmap, reference)
    assert_same(pickle.loads(pickle.dumps(masks)), expected)


@SETTINGS
@given(bitmap_stacks())
def test_no_instance_could_move_to_an_earlier_plane(bitmaps):
    masks = ours(bitmaps)
    assert len(masks.planes) == masks.plane_of.max(initial=-1) + 1
    for i, plane in enumerate(masks.plane_of):
        for earlier in range(plane):
            sharers = bitmaps[:i][masks.plane_of[:i] == earlier]
            assert (bitmaps[i] & sharers.any(0)).any()


@SETTINGS
@given(bitmap_stacks(fewest=1), st.data())
def test_indexing(bitmaps, data):
    masks, expected = ours(bitmaps), stock(bitmaps)
    count = len(bitmaps)
    numbers = data.draw(st.lists(st.integers(-count, count - 1), max_size=8))
    flags = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    part = slice(*data.draw(st.tuples(*[st.none() | st.integers(-count, count)] * 2)))
    for index in (data.draw(st.integers(-count, count - 1)), part, np.array(numbers, dtype=np.int64), np.array(flags)):
        assert_same(masks[index], expected[index])
    for index in (torch.tensor(numbers, dtype=torch.long), torch.tensor(flags)):
        assert_same(masks[index], expected[index.numpy()])
    instances = InstanceData(masks=masks, labels=torch.arange(count))
    if numbers:
        assert_same(instances[torch.tensor(numbers)].masks, expected[np.array(numbers)])


def test_indexing_shares_the_planes():
    masks = ours(np.eye(4, dtype=np.uint8)[:, None])
    some = masks[[2, 0]]
    assert some.planes is masks.planes
    assert LabelMapMasks.cat([some, masks]).planes is masks.planes
    with pytest.raises(IndexError):
        masks[4]


@SETTINGS
@given(bitmap_stacks(), shapes, st.sampled_from([0.3, 0.5, 1.0, 1.7, 2]))
def test_resize_and_rescale(bitmaps, shape, scale):
    masks, expected = ours(bitmaps), stock(bitmaps)
    assert_same(masks.resize(shape), expected.resize(shape))
    for target in (shape, scale):
        if min(mmcv.rescale_size(bitmaps.shape[:0:-1], target)) > 0:
            assert_same(masks.rescale(target), expected.rescale(target))


@SETTINGS
@given(bitmap_stacks(), st.sampled_from(DIRECTIONS))
def test_flip(bitmaps, direction):
    assert_same(ours(bitmaps).flip(direction), stock(bitmaps).flip(direction))


@SETTINGS
@given(
    bitmap_stacks(), st.tuples(st.integers(0, 9), st.integers(0, 9)), st.tuples(st.integers(0, 9), st.integers(0, 9))
)
def test_pad_and_expand(bitmaps, before, after):
    height, width = bitmaps.shape[1:]
    masks, expected = ours(bitmaps), stock(bitmaps)
    padded = (height + after[0], width + after[1])
    assert_same(masks.pad(padded), expected.pad(padded))
    larger = (before[0] + padded[0], before[1] + padded[1], *before)
    assert_same(masks.expand(*larger), expected.expand(*larger))


@SETTINGS
@given(bitmap_stacks(), st.data())
def test_crop(bitmaps, data):
    height, width = bitmaps.shape[1:]
    x1, y1 = data.draw(st.integers(-3, width - 1)), data.draw(st.integers(-3, height - 1))
    x2, y2 = data.draw(st.integers(x1, width + 3)), data.draw(st.integers(y1, height + 3))
    box = np.array([x1, y1, x2, y2])
    masks, expected = ours(bitmaps).crop(box), stock(bitmaps).crop(box)
    assert_same(masks, expected)
    np.testing.assert_array_equal(masks.areas, expected.areas)
    torch.testing.assert_close(masks.get_bboxes().tensor, expected.get_bboxes('hbox').tensor, rtol=0, atol=0)


@SETTINGS
@given(
    bitmap_stacks(),
    st.sampled_from(['horizontal', 'vertical', 'both']),
    st.floats(-12, 12, width=32) | st.integers(-30, 30),
    shapes,
)
def test_translate(bitmaps, direction, offset, shape):
    offset = (offset, -offset / 2) if direction == 'both' else offset
    masks, expected = ours(bitmaps), stock(bitmaps)
    for out_shape in (shape, bitmaps.shape[1:]):
        assert_same(
            masks.translate(out_shape, offset, direction, interpolation='nearest'),
            expected.translate(out_shape, offset, direction, interpolation='nearest'),
        )


@SETTINGS
@given(bitmap_stacks(), st.integers(-30, 30), st.integers(-30, 30))
def test_translation_by_whole_pixels_needs_no_interpolation(bitmaps, right, down):
    arguments = (bitmaps.shape[1:], (right, down), 'both')
    assert_same(ours(bitmaps).translate(*arguments), stock(bitmaps).translate(*arguments))


@SETTINGS
@given(bitmap_stacks(), st.sampled_from(['horizontal', 'vertical']), st.floats(-1.5, 1.5))
def test_shear(bitmaps, direction, magnitude):
    arguments = (bitmaps.shape[1:], magnitude, direction, 0, 'nearest')
    assert_same(ours(bitmaps).shear(*arguments), stock(bitmaps).shear(*arguments))


@SETTINGS
@given(bitmap_stacks(), st.floats(-180, 180), st.none() | st.just((3.5, 2.0)), st.sampled_from([1.0, 0.7, 1.3]))
def test_rotate(bitmaps, angle, center, scale):
    arguments = (bitmaps.shape[1:], angle, center, scale, 0, 'nearest')
    assert_same(ours(bitmaps).rotate(*arguments), stock(bitmaps).rotate(*arguments))


@pytest.mark.parametrize('count', [1, 2, 3, 4, 5, 30])
def test_warps_of_any_number_of_large_instances(count):
    # OpenCV takes other kernels for 1, 3 and 4 channels; over many pixels their roundings show.
    rng = np.random.default_rng(count)
    label = rng.integers(0, count + 1, (97, 131))
    bitmaps = (label == np.arange(1, count + 1)[:, None, None]).astype(np.uint8)
    for angle in (3.0, 45.0, 90.0, 137.5):
        arguments = (bitmaps.shape[1:], angle, None, 1.0, 0, 'nearest')
        assert_same(ours(bitmaps).rotate(*arguments), stock(bitmaps).rotate(*arguments))
    arguments = (bitmaps.shape[1:], 0.37, 'horizontal', 0, 'nearest')
    assert_same(ours(bitmaps).shear(*arguments), stock(bitmaps).shear(*arguments))


@SETTINGS
@given(st.lists(bitmap_stacks(longest=6), min_size=1, max_size=3), shapes)
def test_cat(stacks, shape):
    stacks = [
        np.stack([cv2.resize(b, shape, interpolation=0) for b in s])
        if len(s)
        else np.zeros((0, *shape[::-1]), np.uint8)
        for s in stacks
    ]
    assert_same(LabelMapMasks.cat([ours(s) for s in stacks]), BitmapMasks.cat([stock(s) for s in stacks]))


def test_cat_fills_the_planes_that_there_are():
    left, right = np.zeros((2, 1, 4, 8), dtype=np.uint8)
    left[:, :, :4], right[:, :, 4:] = 1, 1
    assert len(LabelMapMasks.cat([ours(left), ours(right)]).planes) == 1
    assert len(LabelMapMasks.cat([ours(left), ours(right), ours(left | right)]).planes) == 2


@st.composite
def boxes_on(draw, bitmaps):
    """Boxes on an image for instances of it: true ones (their targets tie at 0.5), shifted, clipped and flat ones."""
    count, height, width = bitmaps.shape
    number = draw(st.integers(0, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inds = rng.integers(0, count, number)
    boxes = stock(bitmaps).get_bboxes('hbox').tensor.numpy()[inds]
    boxes = boxes + draw(st.sampled_from([0, 0.5, 3, 20])) * rng.standard_normal(boxes.shape).astype(np.float32)
    if draw(st.booleans()):
        boxes = boxes.round()
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    if draw(st.booleans()):
        boxes = boxes.clip(0, [width, height, width, height])
    return boxes.astype(np.float32), inds


@settings(deadline=None, max_examples=200)
@given(bitmap_stacks(fewest=1, longest=60), st.sampled_from([(7, 7), (28, 28), (5, 9)]), st.data())
def test_crop_and_resize(bitmaps, out_shape, data):
    boxes, inds = data.draw(boxes_on(bitmaps))
    for binarize in (False, True):
        targets, expected = (
            masks.crop_and_resize(boxes, out_shape, inds, 'cpu', binarize=binarize)
            for masks in (ours(bitmaps), stock(bitmaps))
        )
        assert isinstance(targets, BitmapMasks)
        assert targets.masks.dtype == expected.masks.dtype
        np.testing.assert_array_equal(targets.masks, expected.masks)


@settings(deadline=None, max_examples=100)
@given(
    bitmap_stacks(fewest=1, longest=60),
    st.sampled_from([(7, 7), (28, 28)]),
    st.sampled_from([1, 2000, 1 << 24]),
    st.data(),
)
def test_crop_and_resize_as_on_an_accelerator(bitmaps, out_shape, chunk, data):
    boxes, inds = data.draw(boxes_on(bitmaps))
    expected = stock(bitmaps).crop_and_resize(boxes, out_shape, inds, 'cpu', binarize=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roi_sampling, '_alike', roi_sampling._padded)
        patch.setattr(roi_sampling, '_LARGE_CHUNK', chunk)
        targets = ours(bitmaps).crop_and_resize(boxes, out_shape, inds, 'cpu', binarize=False)
    np.testing.assert_array_equal(targets.masks, expected.masks)


def test_crop_and_resize_far_from_the_origin_and_in_chunks():
    # At coordinates near 2000 float32 rounds visibly; a box over the whole image takes 72 x 72 samples a cell.
    rng = np.random.default_rng(0)
    bitmaps = np.zeros((3, 2000, 2000), dtype=np.uint8)
    for bitmap in bitmaps:
        cv2.circle(bitmap, (1800, 1900), int(rng.integers(20, 90)), 1, -1)
    inds = rng.integers(0, 3, 8)
    boxes = rng.uniform(1700, 1850, (8, 4)).astype(np.float32)
    boxes[:, 2:] = boxes[:, :2] + rng.uniform(1, 200, (8, 2)).astype(np.float32)
    boxes[0] = [0, 0, 2000, 2000]
    torch.testing.assert_close(
        *(m.crop_and_resize(boxes, (28, 28), inds, binarize=False).masks for m in (ours(bitmaps), stock(bitmaps))),
        rtol=0,
        atol=0,
    )


def test_the_number_of_samples_is_rounded_as_mmcv_does():
    # x2 - x1 is above 28 in float32, (x2 - 0.5) - (x1 - 0.5) is not: one sample a cell, not two.
    bitmaps = np.random.default_rng(0).integers(0, 2, (1, 28, 40)).astype(np.uint8)
    boxes, inds = np.array([[0.104458794, 0, 28.10446, 28]], dtype=np.float32), np.array([0])
    targets, expected = (
        m.crop_and_resize(boxes, (28, 28), inds, binarize=False) for m in (ours(bitmaps), stock(bitmaps))
    )
    np.testing.assert_array_equal(targets.masks, expected.masks)


def test_mask_targets_need_no_change_of_the_head():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 4, (40, 50))
    bitmaps = (label == np.arange(1, 4)[:, None, None]).astype(np.uint8)
    proposals = [torch.tensor([[3.0, 4.0, 31.0, 39.5], [-5.0, 2.0, 60.0, 20.0]]), torch.zeros((0, 4))]
    inds = [torch.tensor([2, 0]), torch.zeros(0, dtype=torch.long)]
    for soft in (False, True):
        cfg = ConfigDict(mask_size=28, soft_mask_target=soft)
        targets, expected = (mask_target(proposals, inds, [m, m], cfg) for m in (ours(bitmaps), stock(bitmaps)))
        torch.testing.assert_close(targets, expected, rtol=0, atol=0)


def test_boxes_and_indices_may_be_tensors():
    bitmaps = np.eye(12, dtype=np.uint8)[:, None].repeat(12, axis=1)
    boxes, inds = torch.tensor([[0.0, 0.0, 9.0, 7.0]], dtype=torch.float64), torch.tensor([4])
    targets, expected = (
        m.crop_and_resize(boxes, (3, 3), inds, 'cpu', binarize=False) for m in (ours(bitmaps), stock(bitmaps))
    )
    np.testing.assert_array_equal(targets.masks, expected.masks)


def test_planes_travel_to_a_device_once():
    masks = ours(np.ones((1, 5, 5), dtype=np.uint8))
    device = torch.device('meta')
    assert masks._to_device(device) is masks._to_device(device)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda m: m.pad((9, 9), 1), 'filled with 0, got 1'),
        (lambda m: m.pad((2, 9)), r'cannot pad \(4, 6\) to the smaller \(2, 9\)'),
        (lambda m: m.translate((4, 6), 1, border_value=2), 'filled with 0'),
        (lambda m: m.shear((4, 7), 1), r'out_shape \(4, 7\) is not the size of the masks, \(4, 6\)'),
        (lambda m: m.rotate((5, 6), 1), 'is not the size'),
        (lambda m: m.crop(np.array([6, 0, 8, 3])), 'lies outside'),
        (lambda m: LabelMapMasks.cat([]), 'one size, got 0'),
        (lambda m: LabelMapMasks.cat([m, m.resize((2, 2))]), 'one size, got 2'),
        (lambda m: LabelMapMasks(m.planes[0], m.plane_of, m.value_of), r'planes must be \(P, H, W\) int32'),
        (lambda m: LabelMapMasks(m.planes, m.plane_of, m.value_of[1:]), r'must be \(N,\)'),
        (lambda m: LabelMapMasks.from_rles([{'size': [1, 1], 'counts': '1'}], 4, 6), 'has size'),
    ],
)
def test_what_cannot_be_done_is_refused(call, message):
    masks = ours(np.ones((2, 4, 6), dtype=np.uint8))
    with pytest.raises(ValueError, match=message):
        call(masks)


@SETTINGS
@given(bitmap_stacks(), st.integers(-5, 5))
def test_turn(bitmaps, quarters):
    assert_same(ours(bitmaps).rot90(quarters), stock(np.rot90(bitmaps, quarters, (1, 2))))
