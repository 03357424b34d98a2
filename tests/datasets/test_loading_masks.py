"""Loading and transforming cells: the same sample, whether masks are bitmaps or label maps."""

import copy
import random

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import DefaultScope
from pycocotools import mask as coco_mask

from mmcell.datasets.loading_masks import LoadCellAnnotations
from mmcell.errors import InputError
from mmcell.structures.label_map_masks import LabelMapMasks
from mmcell.structures.rle import encode_label_map

SIZE = (60, 80)


def cells(seed=0, count=30):
    """An image of small, partly overlapping cells in two classes, as a dataset gives it."""
    rng = np.random.default_rng(seed)
    instances = []
    for label in (0, 1):
        plane = np.zeros(SIZE, dtype=np.int32)
        for i in range(1, count + 1):
            y, x = rng.integers(0, SIZE)
            plane[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = i
        encoded = encode_label_map(plane)
        for rle, (x, y, w, h) in zip(encoded.rles, encoded.boxes.tolist()):
            box = [x, y, x + w, y + h]
            instances.append(dict(bbox=box, bbox_label=label, mask=rle, ignore_flag=int(rng.random() < 0.1)))
    image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return dict(img=image, img_shape=SIZE, ori_shape=SIZE, img_path='tissue.tif', instances=instances)


def run(loader, transforms, samples=1):
    """Load and transform; some transforms need earlier samples to mix with."""
    random.seed(3)
    np.random.seed(3)
    with DefaultScope.overwrite_default_scope('mmdet'):  # RandomResize builds a Resize of the scope it runs in
        pipeline = Compose([TRANSFORMS.build(dict(type=t) if isinstance(t, str) else t) for t in (loader, *transforms)])
        for seed in range(samples):
            results = pipeline(copy.deepcopy(cells(seed)))
    return results


def assert_same(ours, stock):
    assert isinstance(ours['gt_masks'], LabelMapMasks)
    assert isinstance(stock['gt_masks'], BitmapMasks)
    np.testing.assert_array_equal(ours['gt_masks'].to_ndarray(), stock['gt_masks'].to_ndarray())
    torch.testing.assert_close(ours['gt_bboxes'].tensor, stock['gt_bboxes'].tensor, rtol=0, atol=0)
    for key in ('gt_bboxes_labels', 'gt_ignore_flags', 'img'):
        np.testing.assert_array_equal(ours[key], stock[key])
    assert len(ours['gt_masks']) == len(ours['gt_bboxes']) == len(ours['gt_bboxes_labels'])


PIPELINES = dict(
    load=[],
    resize=[dict(type='Resize', scale=(133, 90), keep_ratio=True)],
    resize_freely=[dict(type='Resize', scale=(41, 97), keep_ratio=False)],
    random_resize=[dict(type='RandomResize', scale=(80, 60), ratio_range=(0.5, 2.0), keep_ratio=True)],
    flip=[dict(type='RandomFlip', prob=[0.3, 0.3, 0.3], direction=['horizontal', 'vertical', 'diagonal'])],
    crop=[dict(type='RandomCrop', crop_size=(32, 32))],
    crop_and_fit=[
        dict(type='RandomCrop', crop_size=(32, 32), recompute_bbox=True),
        dict(type='FilterAnnotations', by_box=False, by_mask=True),
    ],
    pad=[dict(type='Pad', size_divisor=32)],
    expand=[dict(type='Expand', prob=1.0)],
    iou_crop=[dict(type='MinIoURandomCrop', min_crop_size=0.5)],
    rotate=[dict(type='Rotate', prob=1.0, level=8, interpolation='nearest')],
    shear=[dict(type='ShearX', prob=1.0, level=8, interpolation='nearest')],
    shear_down=[dict(type='ShearY', prob=1.0, level=8, interpolation='nearest')],
    translate=[dict(type='TranslateX', prob=1.0, level=5, interpolation='nearest')],
    long=[
        dict(type='RandomResize', scale=(160, 120), ratio_range=(0.8, 1.2), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(64, 64), recompute_bbox=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='Pad', size=(96, 96)),
        dict(type='FilterAnnotations', min_gt_bbox_wh=(2, 2), by_mask=True, min_gt_mask_area=3),
    ],
)


@pytest.mark.parametrize('name', PIPELINES)
def test_transforms_of_mmdet_give_the_same_sample(name):
    stock = dict(type='LoadAnnotations', with_mask=True)
    assert_same(run('LoadCellAnnotations', PIPELINES[name]), run(stock, PIPELINES[name]))


@pytest.mark.parametrize('transform', ['CachedMosaic', 'CachedMixUp'])
def test_mixing_transforms_give_the_same_sample(transform):
    mix = [dict(type=transform, img_scale=(80, 60), prob=1.0)]
    stock = dict(type='LoadAnnotations', with_mask=True)
    assert_same(run('LoadCellAnnotations', mix, samples=5), run(stock, mix, samples=5))


def test_packing_sorts_out_what_is_ignored():
    stock = dict(type='LoadAnnotations', with_mask=True)
    samples = [run(loader, ['PackDetInputs'])['data_samples'] for loader in ('LoadCellAnnotations', stock)]
    for kind in ('gt_instances', 'ignored_instances'):
        ours, stock = (getattr(sample, kind) for sample in samples)
        assert len(ours) == len(stock) > 0
        np.testing.assert_array_equal(ours.masks.to_ndarray(), stock.masks.to_ndarray())
        torch.testing.assert_close(ours.labels, stock.labels)


def test_a_cell_cropped_to_nothing_goes_with_its_label_and_box():
    # The cell is an L whose box reaches into the crop while none of its pixels does; the square is inside.
    plane = np.zeros(SIZE, dtype=np.int32)
    plane[0, :40], plane[:40, 0] = 1, 1
    plane[30:34, 30:34] = 2
    encoded = encode_label_map(plane)
    sample = cells(count=0)
    sample['instances'] = [
        dict(bbox=[x, y, x + w, y + h], bbox_label=label, mask=rle, ignore_flag=0)
        for label, (rle, (x, y, w, h)) in enumerate(zip(encoded.rles, encoded.boxes.tolist()))
    ]
    crop = TRANSFORMS.build(dict(type='RandomCrop', crop_size=(24, 24), recompute_bbox=True))
    crop._rand_offset = lambda margin: (20, 20)
    results = crop(LoadCellAnnotations()(sample))
    assert len(results['gt_masks']) == 2
    results = TRANSFORMS.build(dict(type='FilterAnnotations', by_box=False, by_mask=True))(results)
    assert len(results['gt_masks']) == 1
    assert results['gt_masks'].areas.tolist() == [16]
    assert results['gt_bboxes'].tensor.tolist() == [[10, 10, 14, 14]]
    assert results['gt_bboxes_labels'].tolist() == [1]
    assert results['gt_ignore_flags'].tolist() == [False]


def test_polygons_uncompressed_and_unusable_masks_are_treated_as_stock_does():
    sample = cells(count=0)
    bitmap = np.zeros(SIZE, dtype=np.uint8, order='F')
    bitmap[3:9, 4:8] = 1
    compressed = coco_mask.encode(bitmap)
    counts = np.diff(np.flatnonzero(np.diff(bitmap.ravel('F'), prepend=0, append=0)), prepend=0).tolist()
    masks = [
        [[10, 10, 30, 10, 30, 25.5, 10, 25.5], [40, 40, 50, 41, 45, 55]],
        [[1, 2, 3]],
        {'size': list(SIZE), 'counts': [*counts, bitmap.size - sum(counts)]},
        {'size': list(SIZE), 'counts': compressed['counts'].decode()},
        {'size': list(SIZE)},
    ]
    sample['instances'] = [dict(bbox=[0, 0, 9, 9], bbox_label=0, mask=mask, ignore_flag=0) for mask in masks]
    stock = TRANSFORMS.build(dict(type='LoadAnnotations', with_mask=True))(copy.deepcopy(sample))
    ours = LoadCellAnnotations()(sample)
    assert_same(ours, stock)
    assert ours['gt_ignore_flags'].tolist() == [False, True, False, False, True]


def test_an_image_without_cells():
    results = Compose([LoadCellAnnotations(), TRANSFORMS.build(PIPELINES['resize'][0])])(cells(count=0))
    assert len(results['gt_masks']) == 0
    assert (results['gt_masks'].height, results['gt_masks'].width) == results['img'].shape[:2] == (90, 120)


def test_a_broken_mask_names_the_image():
    sample = cells(count=0)
    sample['instances'] = [dict(bbox=[0, 0, 1, 1], bbox_label=0, mask={'size': [5, 5], 'counts': 'i0'}, ignore_flag=0)]
    with pytest.raises(InputError, match=r'tissue\.tif: has a broken annotation \(the size is \[5, 5\]'):
        LoadCellAnnotations()(sample)
