from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from mmcell.config import load_config
from mmcell.datasets.loading import LoadCellImage
from mmcell.datasets.transforms.colour import RandomBrightness
from mmcell.datasets.transforms.resize import ChainedResize, LimitLongEdge

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)


def sample(height: int, width: int) -> dict:
    masks = np.zeros((2, height, width), np.uint8)
    masks[0, 1:5, 2:9], masks[1, height // 2 :, width // 3 :] = 1, 1
    return {
        'img': RNG.integers(0, 256, (height, width, 3), dtype=np.uint8),
        'img_shape': (height, width),
        'ori_shape': (height, width),
        'gt_bboxes': HorizontalBoxes([[2.0, 1, 9, 5], [width // 3, height // 2, width, height]]),
        'gt_masks': BitmapMasks(masks, height, width),
    }


@pytest.mark.parametrize(('height', 'width'), [(90, 60), (64, 64), (60, 90)])
def test_limit_long_edge_shrinks(height, width):
    before = sample(height, width)
    after = LimitLongEdge(45)({**before, 'gt_bboxes': before['gt_bboxes'].clone()})
    scale = 45 / max(height, width)
    size = (int(width * scale + 0.5), int(height * scale + 0.5))
    assert np.array_equal(after['img'], cv2.resize(before['img'], size, interpolation=cv2.INTER_AREA))
    masks = [cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in before['gt_masks'].masks]
    assert np.array_equal(after['gt_masks'].masks, masks)
    assert after['scale_factor'] == (size[0] / width, size[1] / height)
    np.testing.assert_allclose(
        after['gt_bboxes'].tensor[0], np.array([2, 1, 9, 5]) * np.tile(after['scale_factor'], 2), 1e-6
    )


def test_limit_long_edge_never_enlarges():
    before = sample(40, 30)
    after = LimitLongEdge(40)(dict(before))
    assert after['img'] is before['img'] and after['gt_masks'] is before['gt_masks']
    assert after['scale_factor'] == (1.0, 1.0)


@pytest.mark.parametrize(('height', 'width'), [(90, 61), (30, 40), (2500, 735)])
def test_scale_factors_multiply(height, width):
    results = ChainedResize(scale=(133, 80), keep_ratio=True)(LimitLongEdge(102)(sample(height, width)))
    new_height, new_width = results['img_shape']
    assert results['scale_factor'] == pytest.approx((new_width / width, new_height / height), rel=1e-12)


@pytest.mark.parametrize('size', [(1, 2500), (2500, 1), (3, 9000), (1, 1), (1, 1400)])
def test_strips_keep_a_pixel(size):
    before = sample(*size)
    results = ChainedResize(scale=(1333, 800), keep_ratio=True)(LimitLongEdge(1024)(dict(before)))
    height, width = results['img_shape']
    assert results['img'].shape == (height, width, 3) and results['gt_masks'].masks.shape == (2, height, width)
    assert min(height, width) >= 1 and max(height, width) <= 1333
    assert results['scale_factor'] == pytest.approx((width / size[1], height / size[0]), rel=1e-12)


@pytest.mark.parametrize('seed', range(5))
def test_random_brightness(seed):
    before = sample(9, 7)
    np.random.seed(seed)
    after = RandomBrightness(0.3)(dict(before))
    np.random.seed(seed)
    factor = np.random.uniform(0.7, 1.3)
    assert (
        np.array_equal(after['img'], np.clip(np.rint(before['img'] * factor), 0, 255))
        and after['img'].dtype == np.uint8
    )


def test_random_brightness_covers_its_range():
    np.random.seed(0)
    image = {'img': np.full((1, 1, 3), 100, np.uint8)}
    values = [int(RandomBrightness(0.3)(dict(image))['img'][0, 0, 0]) for _ in range(500)]
    assert (min(values), max(values)) == (70, 130)


def test_grayscale_of_the_recipe_is_luma():
    """mmcv's, with the settings of the config: it cuts off fractions, in all three channels."""
    pipeline = load_config(ROOT / 'configs/cell/mask_rcnn_aug.py').train_dataloader.dataset.pipeline
    (settings,) = (step for step in pipeline if step.type == 'RandomGrayscale')
    before = sample(90, 70)
    after = TRANSFORMS.build(dict(settings, prob=1.0))(dict(before))['img']
    blue, green, red = np.moveaxis(before['img'].astype(float), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert after.shape == (90, 70, 3) and after.dtype == np.uint8 and (after == after[..., :1]).all()
    assert ((after[..., 0] > luma - 1 - 1e-9) & (after[..., 0] <= luma + 1e-9)).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match='delta'):
        RandomBrightness(1.5)


def test_loading_gives_bgr(class_tiff):
    import tifffile

    path = class_tiff / 'train/slide0_crop0/image.tif'
    stored = tifffile.imread(path)
    rgb = LoadCellImage()({'img_path': str(path)})
    assert np.array_equal(rgb['img'], stored[..., ::-1]) and rgb['img_shape'] == rgb['ori_shape'] == (20, 30)
    assert np.array_equal(LoadCellImage()({'img_path': str(path), 'channel_order': 'bgr'})['img'], stored)


def test_an_image_is_loaded_at_its_own_scale(tmp_path):
    """Detectors ask for the scale, and a pipeline need not resize."""
    path = tmp_path / 'image.tif'
    cv2.imwrite(str(path), np.zeros((4, 6, 3), dtype=np.uint8))
    results = LoadCellImage()({'img_path': str(path)})
    assert results['scale_factor'] == (1.0, 1.0)
    assert ChainedResize(scale=(12, 8), keep_ratio=True)(results)['scale_factor'] == (2.0, 2.0)
