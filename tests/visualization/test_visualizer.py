"""Pictures of cells whose masks are RLE or label maps."""

import sys

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmcell.structures.label_map_masks import LabelMapMasks
from mmcell.visualization.visualizer import CellVisualizer, draw_runs

SIZE = (40, 50)


@pytest.fixture
def bitmaps():
    """Two cells that overlap and one at the border."""
    bitmaps = np.zeros((3, *SIZE), dtype=np.uint8)
    bitmaps[0, 5:20, 5:25], bitmaps[1, 12:30, 15:40], bitmaps[2, 35:, 44:] = 1, 1, 1
    return bitmaps


def test_instances_are_tinted_and_outlined(bitmaps):
    image = np.full((*SIZE, 3), 100, dtype=np.uint8)
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    drawn = draw_runs(image, LabelMapMasks.from_bitmaps(bitmaps, *SIZE).to_runs(), colours, alpha=0.5)
    owner = np.zeros(SIZE, dtype=int)
    for i, bitmap in enumerate(bitmaps, start=1):
        owner[bitmap == 1] = i
    padded = np.pad(owner, 1, mode='edge')
    for y, x in np.ndindex(SIZE):
        here = owner[y, x]
        around = {padded[y, x + 1], padded[y + 2, x + 1], padded[y + 1, x], padded[y + 1, x + 2]}
        if not here:
            expected = (100, 100, 100)
        elif around != {here}:
            expected = (255, 255, 255)
        else:
            expected = [(100 + c) // 2 for c in colours[here - 1]]
        np.testing.assert_array_equal(drawn[y, x], expected)


def test_rle_and_label_maps_look_alike_on_a_picture(bitmaps, tmp_path):
    masks = LabelMapMasks.from_bitmaps(bitmaps, *SIZE)
    image = np.full((*SIZE, 3), 100, dtype=np.uint8)
    pictures = []
    for held in (masks, masks.to_runs().encode()):
        visualizer = CellVisualizer()
        visualizer.dataset_meta = dict(classes=('a', 'b'), palette=[(200, 0, 0), (0, 200, 0)])
        boxes = masks.get_bboxes().tensor
        cells = InstanceData(masks=held, bboxes=boxes, labels=torch.tensor([0, 1, 0]), scores=torch.ones(3))
        sample = DetDataSample(pred_instances=cells)
        np.random.seed(0)  # colors are jittered
        visualizer.add_datasample('image', image, sample, draw_gt=False, pred_score_thr=0.0)
        pictures.append(visualizer.get_image())
        assert sample.pred_instances.masks is held
    np.testing.assert_array_equal(*pictures)
    assert (pictures[0] != image).any()


def test_stock_masks_are_drawn_as_before(bitmaps):
    visualizer = CellVisualizer()
    cells = InstanceData(masks=torch.tensor(bitmaps), bboxes=torch.zeros(3, 4), labels=torch.tensor([0, 1, 0]))
    drawn = visualizer._draw_instances(np.zeros((*SIZE, 3), dtype=np.uint8), cells, None, None)
    assert drawn.any()


def test_no_cells():
    visualizer = CellVisualizer()
    cells = InstanceData(masks=[], bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    image = np.full((*SIZE, 3), 7, dtype=np.uint8)
    np.testing.assert_array_equal(visualizer._draw_instances(image, cells, None, None), image)


def test_an_environment_without_tensorboard(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith('torch.utils.tensorboard')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'tensorboard', None)
    backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    with pytest.warns(UserWarning, match=r'no curves for TensorBoard.*; pip install tensorboard'):
        visualizer = CellVisualizer(vis_backends=backends, save_dir=str(tmp_path))
    assert list(visualizer._vis_backends) == ['LocalVisBackend']
