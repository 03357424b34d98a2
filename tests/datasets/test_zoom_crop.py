from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from mmcell.converters import LAYOUTS, convert
from mmcell.datasets.cell_dataset import CellDataset
from mmcell.datasets.transforms.zoom_crop import RandomZoomCrop
from mmcell.structures.label_map_masks import LabelMapMasks


def draw(seed, low, high):
    """The draws of RandomZoomCrop, in its order."""
    np.random.seed(seed)
    return np.exp(np.random.uniform(np.log(low), np.log(high))), np.random.rand(), np.random.rand(4)


def nearest(mask, size):
    """Pixel by pixel: the source pixel in which the center of the new one lies."""
    out = np.zeros(size, mask.dtype)
    for y in range(size[0]):
        for x in range(size[1]):
            out[y, x] = mask[int((y + 0.5) * mask.shape[0] / size[0]), int((x + 0.5) * mask.shape[1] / size[1])]
    return out


@pytest.mark.parametrize('seed', range(12))
def test_against_bitmaps_one_by_one(scene, check_cells, seed):
    before = scene(seed)
    zoom, _, numbers = draw(seed, 0.5, 2)
    np.random.seed(seed)
    after = RandomZoomCrop((24, 32), (0.5, 2))(dict(before))
    height, width = round(24 / zoom), round(32 / zoom)
    y, x = int(numbers[2] * (70 - height + 1)), int(numbers[3] * (90 - width + 1))
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    patch = before['img'][y : y + height, x : x + width]
    assert np.array_equal(after['img'], cv2.resize(patch, (32, 24), interpolation=how))
    assert after['scale_factor'] == (32 / width, 24 / height)
    bitmaps = [nearest(mask[y : y + height, x : x + width], (24, 32)) for mask in before['gt_masks']]
    left = [i for i, bitmap in enumerate(bitmaps) if bitmap.any()]
    assert 0 < len(left) < len(bitmaps)
    assert np.array_equal(after['gt_masks'].to_ndarray(), np.array(bitmaps)[left])
    for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
        assert np.array_equal(after[key], before[key][left])
    check_cells(after, edge=None if zoom < 1 else 2)


@pytest.mark.parametrize('size', [(90, 80), (100, 60), (200, 200)])
@pytest.mark.parametrize('zoom', [0.6, 1, 1.7])
def test_small_images_are_used_whole_and_padded(scene, check_cells, size, zoom):
    before = scene(3)
    after = RandomZoomCrop(size, (zoom, zoom), pad_val=(1, 2, 3))({**before, 'scale_factor': (2.0, 4.0)})
    assert after['img_shape'] == size
    shown = [min(round(side * zoom), most) for side, most in zip((70, 90), size)]
    padding = np.ones(size, bool)
    padding[: shown[0], : shown[1]] = False
    assert (after['img'][padding] == (1, 2, 3)).all() and not (after['img'][~padding] == (1, 2, 3)).all(1).any()
    assert not after['gt_masks'].to_ndarray()[:, padding].any()
    assert after['scale_factor'] == pytest.approx((2 * zoom, 4 * zoom), rel=0.03)
    check_cells(after, edge=None if zoom < 1 else 2)
    if min(size) == 200:
        assert len(after['gt_masks']) == len(before['gt_masks'])


def test_the_image_as_it_is(scene):
    before = scene(0)
    after = RandomZoomCrop((70, 90))(dict(before))
    assert np.array_equal(after['img'], before['img']) and after['scale_factor'] == (1, 1)
    assert np.array_equal(after['gt_masks'].to_ndarray(), before['gt_masks'].to_ndarray())


def test_windows_and_zooms_are_uniform():
    image = np.dstack(np.meshgrid(np.arange(20), np.arange(20), [0])).astype(np.uint8).reshape(20, 20, 3)
    empty = LabelMapMasks.from_bitmaps([], 20, 20)
    nobody = {'gt_bboxes_labels': np.zeros(0, np.int64), 'gt_ignore_flags': np.zeros(0, bool)}
    np.random.seed(0)
    crops = [
        RandomZoomCrop(16)({'img': image, 'gt_masks': empty, 'gt_bboxes': empty.get_bboxes(), **nobody})
        for _ in range(500)
    ]
    counts = np.zeros((5, 5), int)
    for crop in crops:
        counts[tuple(crop['img'][0, 0, :2])] += 1
    assert counts.min() > 5 and counts.max() < 40  # 20 expected
    transform = RandomZoomCrop(8, (0.5, 2))
    zooms = [transform._draw()[0] for _ in range(1000)]
    assert min(zooms) >= 0.5 and max(zooms) <= 2 and 0.45 < np.mean(np.array(zooms) < 1) < 0.55


def test_empty_images_stay_empty(scene, check_cells):
    np.random.seed(0)
    before = scene(0)
    for key in ('gt_masks', 'gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'):
        before[key] = before[key][:0]
    check_cells(RandomZoomCrop(40, rare_prob=1, min_visible=0.5)(before))
    assert len(before['gt_masks']) == 0 and before['gt_masks'].planes.any()


def test_same_seed_same_crop(scene):
    def crop(seed):
        np.random.seed(seed)
        return RandomZoomCrop(30, (0.7, 1.5), rare_prob=0.5)(scene(1))

    assert np.array_equal(crop(5)['img'], crop(5)['img'])
    assert not np.array_equal(crop(5)['img'], crop(6)['img'])


def lonely(label_of):
    """A large image with one cell of 6 x 9 pixels for each label."""
    plane = np.zeros((1, 300, 300), np.int32)
    for i in range(len(label_of)):
        plane[0, 10 + 70 * i : 16 + 70 * i, 200 - 50 * i : 209 - 50 * i] = i + 1
    index = np.arange(len(label_of))
    masks = LabelMapMasks(plane, 0 * index, index + 1)
    return {
        'img': np.zeros((300, 300, 3), np.uint8),
        'gt_masks': masks,
        'gt_bboxes': masks.get_bboxes(),
        'gt_bboxes_labels': np.array(label_of),
        'gt_ignore_flags': np.zeros(len(label_of), bool),
    }


def test_rare_cells_lie_anywhere_in_the_window_but_whole():
    np.random.seed(0)
    corners, labels = [], []
    for _ in range(400):
        after = RandomZoomCrop(32, rare_prob=1, class_weights=[0, 1, 3])(lonely([0, 1, 2, 0]))
        assert after['gt_masks'].areas.tolist() == [54]
        labels += after['gt_bboxes_labels'].tolist()
        corners += after['gt_bboxes'].tensor[:, :2].int().tolist()
    assert 0.68 < np.mean(np.array(labels) == 2) < 0.82 and 0 not in labels
    corners = np.array(corners)
    assert {0, 32 - 9} <= set(corners[:, 0]) and {0, 32 - 6} <= set(corners[:, 1])


def test_without_weights_each_class_is_as_likely():
    np.random.seed(0)
    transform = RandomZoomCrop(20, rare_prob=1)
    rare = sum(1 in transform(lonely([0, 1, 0, 0]))['gt_bboxes_labels'] for _ in range(300))
    assert 120 < rare < 180


def test_a_cell_larger_than_the_window_fills_it(scene):
    masks = LabelMapMasks.from_bitmaps(np.pad(np.ones((1, 50, 50), np.uint8), [(0, 0), (20, 30), (30, 20)]), 100, 100)
    results = {
        'img': np.zeros((100, 100, 3), np.uint8),
        'gt_masks': masks,
        'gt_bboxes': masks.get_bboxes(),
        'gt_bboxes_labels': np.zeros(1, np.int64),
        'gt_ignore_flags': np.zeros(1, bool),
    }
    for seed in range(20):
        np.random.seed(seed)
        assert RandomZoomCrop(20, rare_prob=1)(dict(results))['gt_masks'].areas == 400


def test_slivers_become_ignored(scene, check_cells):
    found = 0
    for seed in range(10):
        before = scene(seed)
        before['gt_ignore_flags'][:] = False
        np.random.seed(seed)
        after = RandomZoomCrop(40, min_visible=0.5)(dict(before))
        check_cells(after)
        whole = dict(zip(zip(before['gt_masks'].plane_of, before['gt_masks'].value_of), before['gt_masks'].areas))
        masks = after['gt_masks']
        shares = [area / whole[key] for area, key in zip(masks.areas, zip(masks.plane_of, masks.value_of))]
        assert after['gt_ignore_flags'].tolist() == [share < 0.5 for share in shares]
        found += after['gt_ignore_flags'].sum()
        np.random.seed(seed)
        assert not RandomZoomCrop(40)(dict(before))['gt_ignore_flags'].any()
    assert found


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        ({'size': 0}, 'size'),
        ({'size': (3, 4, 5)}, 'size'),
        ({'size': 8, 'zoom': (2, 1)}, 'zoom'),
        ({'size': 8, 'zoom': (0, 1)}, 'zoom'),
        ({'size': 8, 'rare_prob': 1.5}, 'rare_prob'),
        ({'size': 8, 'min_visible': -1}, 'min_visible'),
        ({'size': 8, 'class_weights': [0, 0]}, 'class_weights'),
        ({'size': 8, 'class_weights': [1, -1]}, 'class_weights'),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        RandomZoomCrop(**arguments)


def test_too_few_weights(scene):
    with pytest.raises(ValueError, match='none for label'):
        RandomZoomCrop(8, rare_prob=1, class_weights=[1])(scene(0))


def test_class_balanced_data_set_repeats_images_of_rare_classes(class_tiff, tmp_path):
    convert(LAYOUTS.get('class_tiff')(class_tiff), tmp_path / 'out', workers=1)
    inner = {
        'type': 'CellDataset',
        'data_root': str(tmp_path / 'out'),
        'ann_file': 'annotations/trainval.json',
        'data_prefix': {'img': 'images/'},
        'pipeline': [
            {'type': 'LoadCellImage'},
            {'type': 'LoadCellAnnotations'},
            {'type': 'RandomZoomCrop', 'size': 16, 'rare_prob': 1.0, 'class_weights': [0, 0, 1, 0]},
            {'type': 'PackDetInputs'},
        ],
    }
    with DefaultScope.overwrite_default_scope('mmdet'):
        images = DATASETS.build(inner)
        balanced = DATASETS.build({'type': 'ClassBalancedDataset', 'oversample_thr': 1.0, 'dataset': inner})
    assert isinstance(images, CellDataset)
    rare = [2 in images.get_cat_ids(i) for i in range(len(images))]
    assert sum(rare) == 3 and balanced.repeat_indices == [i for i, r in enumerate(rare) for _ in range(1 + r)]
    for index, original in enumerate(balanced.repeat_indices):
        sample = balanced[index]
        assert sample['inputs'].shape == (3, 16, 16)
        assert (2 in sample['data_samples'].gt_instances.labels) == rare[original]
