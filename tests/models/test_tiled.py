"""Tiles change nothing where one suffices, and lose, double or halve no cell where there are many."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from scipy import ndimage

from mmcell.errors import InputError
from mmcell.models.tiled import TiledDetector, tile_windows
from mmcell.structures.rle import decode, encode_label_map
from mmcell.structures.run_geometry import place


class TruthDetector(BaseDetector):
    """Finds just what is there: it reads from the pixels which part of the image it sees, and cuts the truth to it."""

    def __init__(self, planes, scores):
        super().__init__()
        self.planes, self.scores = planes, scores

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        for pixels, sample in zip(batch_inputs, batch_data_samples):
            (x, y), (height, width) = pixels[:2, 0, 0].long().tolist(), sample.ori_shape
            boxes, scores, labels, masks = [], [], [], []
            for label, plane in enumerate(self.planes):
                cells = encode_label_map(plane[y : y + height, x : x + width])
                boxes.append(cells.boxes + np.pad(cells.boxes[:, :2], ((0, 0), (2, 0))))
                scores.append(self.scores[label][cells.ids])
                labels.append(np.full(len(cells.ids), label))
                masks += cells.rles
            boxes, scores, labels = map(np.concatenate, (boxes, scores, labels))
            order = np.argsort(-scores)
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor(boxes[order], dtype=torch.float32),
                scores=torch.tensor(scores[order]),
                labels=torch.tensor(labels[order]),
                masks=[masks[i] for i in order],
            )
        return batch_data_samples

    def loss(self, batch_inputs, batch_data_samples): ...

    def extract_feat(self, batch_inputs): ...

    def _forward(self, batch_inputs, batch_data_samples=None): ...


@pytest.fixture(scope='module', autouse=True)
def truth_detector():
    MODELS.register_module(module=TruthDetector)
    yield
    MODELS.module_dict.pop('TruthDetector')


def positions(height, width):
    """An image whose pixels say where they are."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    return torch.stack([x, y, torch.zeros_like(x)])[None].float()


def sample_of(height, width):
    meta = dict(ori_shape=(height, width), img_shape=(height, width), scale_factor=(1.0, 1.0))
    return DetDataSample(metainfo=meta)


def draw_planes(rng, size, limit, classes=2):
    """Label maps of connected cells of odd shapes that are no larger than `limit`."""
    planes = []
    for _ in range(classes):
        noise = ndimage.gaussian_filter(rng.random(size), rng.uniform(0.3, 2.5))
        plane, _ = ndimage.label(noise > np.quantile(noise, rng.uniform(0.3, 0.8)))
        for value, (rows, columns) in enumerate(ndimage.find_objects(plane), start=1):
            if max(rows.stop - rows.start, columns.stop - columns.start) > limit:
                plane[plane == value] = 0
        planes.append(plane.astype(np.int32))
    return planes


def assert_equal(ours, expected):
    assert ours.masks == expected.masks
    for key in ('bboxes', 'scores', 'labels'):
        torch.testing.assert_close(ours[key], expected[key], rtol=0, atol=0)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_truth_comes_back_exactly(data):
    height, width, tile = (data.draw(st.integers(*bounds)) for bounds in ((1, 70), (1, 70), (4, 40)))
    overlap = data.draw(st.integers(1, tile - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    planes = draw_planes(rng, (height, width), overlap)
    order = rng.permutation(sum(plane.max() + 1 for plane in planes)) / 10_000
    scores = np.split(order, [planes[0].max() + 1])
    detector = dict(type=TruthDetector, planes=planes, scores=scores)
    settings = dict(
        scale=data.draw(st.sampled_from([1.0, 2.0])),
        tile_batch=data.draw(st.integers(1, 5)),
        margin=data.draw(st.sampled_from([0, 1, 2, 5])),
        slack=data.draw(st.sampled_from([0, 0.5, 2, 8])),
    )
    tiled = TiledDetector(detector, tile, overlap, **settings)
    image, sample = positions(height, width), sample_of(height, width)
    expected = tiled.detector.predict(image, [copy.deepcopy(sample)])[0].pred_instances
    assert_equal(tiled.predict(image, [sample])[0].pred_instances, expected)


def test_a_cell_larger_than_the_overlap_is_one_prediction():
    plane = np.zeros((20, 60), dtype=np.int32)
    plane[5:15, 8:36] = 1
    tiled = TiledDetector(dict(type=TruthDetector, planes=[plane], scores=[np.ones(2)]), tile=30, overlap=12)
    results = tiled.predict(positions(20, 60), [sample_of(20, 60)])[0].pred_instances
    assert results.bboxes.tolist() == [[8, 5, 30, 15]]


def test_classes_do_not_suppress_each_other():
    plane = np.zeros((20, 60), dtype=np.int32)
    plane[5:15, 25:33] = 1
    tiled = TiledDetector(dict(type=TruthDetector, planes=[plane, plane], scores=[np.ones(2)] * 2), tile=30, overlap=12)
    results = tiled.predict(positions(20, 60), [sample_of(20, 60)])[0].pred_instances
    assert sorted(results.labels.tolist()) == [0, 1] and results.bboxes.tolist() == [[25, 5, 33, 15]] * 2


@pytest.mark.parametrize('size', [(100, 90), (128, 128)])
def test_an_image_no_larger_than_a_tile_gives_the_untiled_result(tiny_mask_rcnn, build, size):
    plain = build(tiny_mask_rcnn)
    tiled = build(dict(type='TiledDetector', detector=tiny_mask_rcnn, tile=128, overlap=64))
    torch.manual_seed(0)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    for sample in (
        sample_of(*size),
        DetDataSample(metainfo=dict(ori_shape=(50, 40), img_shape=size, scale_factor=(2, 2))),
    ):
        data = dict(inputs=[image], data_samples=[sample])
        expected = plain.test_step(copy.deepcopy(data))[0].pred_instances
        assert len(expected) > 10 and len(set(map(str, expected.masks))) > 5
        assert_equal(tiled.test_step(data)[0].pred_instances, expected)


def test_tiles_are_what_the_detector_gives_for_crops(tiny_mask_rcnn, build):
    plain = build(tiny_mask_rcnn)
    tiled = build(dict(type='TiledDetector', detector=tiny_mask_rcnn, tile=64, overlap=32, tile_batch=2))
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 160)
    with torch.no_grad():
        results = tiled.predict(image, [sample_of(64, 160)])[0].pred_instances
        found = []
        for x in (0, 32, 64, 96):
            crop = plain.predict(image[..., x : x + 64], [sample_of(64, 64)])[0].pred_instances
            masks = place(decode(crop.masks, (64, 64)), (x, 0), (64, 160)).encode()
            corner = torch.tensor([x, 0, x, 0])
            found += zip((crop.bboxes + corner).tolist(), crop.labels.tolist(), masks)
    assert 20 < len(results) < len(found)
    assert (results.scores.diff() <= 0).all()
    for box, label, mask in zip(results.bboxes, results.labels, results.masks):
        near = [each for each in found if np.allclose(each[0], box, atol=1e-2) and each[1] == label]
        assert mask in [each[2] for each in near]


def test_masks_keep_the_resolution_of_the_image_at_any_scale(tiny_mask_rcnn, build):
    tiled = build(dict(type='TiledDetector', detector=tiny_mask_rcnn, tile=48, overlap=16, scale=1.37))
    size = (60, 101)
    with torch.no_grad():
        results = tiled.predict(torch.randn(1, 3, *size), [sample_of(*size)])[0].pred_instances
    assert len(results) > 10
    assert results.bboxes.min() >= 0 and (results.bboxes <= torch.tensor([101, 60, 101, 60])).all()
    filled = [i for i, area in enumerate(decode(results.masks, size).areas) if area]
    assert filled
    for i in filled:
        x, y, w, h = decode(results.masks, size).boxes[i]
        inner = torch.tensor([x + 2, y + 2, x + w - 2, y + h - 2])
        assert (inner[:2] >= results.bboxes[i, :2]).all() and (inner[2:] <= results.bboxes[i, 2:]).all()


def test_an_image_without_cells(tiny_mask_rcnn, build):
    config = copy.deepcopy(tiny_mask_rcnn)
    config.test_cfg.rcnn.score_thr = 1.0
    tiled = build(dict(type='TiledDetector', detector=config, tile=64, overlap=32))
    with torch.no_grad():
        for size in ((64, 64), (64, 100)):
            results = tiled.predict(torch.randn(1, 3, *size), [sample_of(*size)])[0].pred_instances
            assert len(results) == 0 and results.masks == []


def test_bad_input_is_named(tiny_mask_rcnn, build):
    stock = copy.deepcopy(tiny_mask_rcnn)
    stock.roi_head.mask_head.type = 'FCNMaskHead'
    with pytest.raises(InputError, match='gives bitmaps'), torch.no_grad():
        build(dict(type='TiledDetector', detector=stock)).predict(torch.randn(1, 3, 64, 64), [sample_of(64, 64)])
    tiled = build(dict(type='TiledDetector', detector=tiny_mask_rcnn, tile=32, overlap=16))
    resized = DetDataSample(metainfo=dict(ori_shape=(32, 32), img_shape=(64, 64), scale_factor=(2, 2)))
    with pytest.raises(InputError, match=r'resizes an image of 32 x 32 pixels.*set model\.scale'):
        tiled.predict(torch.randn(1, 3, 64, 64), [resized])
    with pytest.raises(ValueError, match='less than the tile'):
        TiledDetector(tiny_mask_rcnn, tile=64, overlap=64)


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 120), st.data())
def test_whatever_is_no_larger_than_the_overlap_lies_whole_in_a_tile(height, width, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    windows = tile_windows((height, width), tile, overlap)
    for axis, side in ((0, width), (1, height)):
        starts, ends = np.unique(windows[:, axis]), np.unique(windows[:, axis + 2])
        assert starts[0] == 0 and ends[-1] == side and len(starts) == len(ends)
        assert (ends - starts == min(tile, side)).all()
        assert (ends[:-1] - starts[1:] >= overlap).all()
        # With one tile less they would not reach.
        assert len(starts) == 1 or tile + (len(starts) - 2) * (tile - overlap) < side
    assert len(np.unique(windows, axis=0)) == len(windows)


def test_rows_of_tiles():
    assert tile_windows((5, 10), 6, 2).tolist() == [[0, 0, 6, 5], [4, 0, 10, 5]]
    assert tile_windows((6, 6), 6, 5).tolist() == [[0, 0, 6, 6]]


@pytest.mark.parametrize('overlap', [-1, 6, 7])
def test_an_overlap_that_leaves_no_step_is_refused(overlap):
    with pytest.raises(ValueError, match='less than the tile of 6 pixels'):
        tile_windows((9, 9), 6, overlap)
