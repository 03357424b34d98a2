"""Masks of BoxedRLEMaskHead against MMDetection's full-frame paste and pycocotools' encoding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation.metrics import CocoMetric
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmcell.errors import InputError
from mmcell.models import boxed_mask_head

HEAD = dict(num_convs=1, in_channels=4, conv_out_channels=4, num_classes=3)


def heads(**kwargs):
    """MMDetection's head and ours with the same weights."""
    torch.manual_seed(0)
    stock = FCNMaskHead(**HEAD, **kwargs)
    ours = MODELS.build(dict(type='BoxedRLEMaskHead', **HEAD, **kwargs))
    ours.load_state_dict(stock.state_dict())
    return stock, ours


def predict(head, logits, boxes, labels, meta, threshold=0.5, rescale=False, activate_map=False):
    results = InstanceData(bboxes=boxes.clone(), labels=labels, scores=torch.rand(len(boxes)))
    cfg = ConfigDict(mask_thr_binary=threshold)
    return head.predict_by_feat([logits.clone()], [results], [meta], cfg, rescale, activate_map)[0]


def assert_same(ours, stock):
    """`ours` has lists of RLE, `stock` an N x H x W tensor."""
    expected = [coco_mask.encode(np.asfortranarray(mask.numpy(), dtype=np.uint8)) for mask in stock.masks]
    assert ours.masks == [dict(size=rle['size'], counts=rle['counts'].decode()) for rle in expected]
    torch.testing.assert_close(ours.bboxes, stock.bboxes, rtol=0, atol=0)


@st.composite
def detections(draw):
    """Boxes on an image: whole, clipped at the border as the box head does, flat, tiny, and as large as the image."""
    height, width = draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 8))
    centers = rng.uniform(0, [width, height], (count, 2))
    sides = rng.uniform(0, draw(st.sampled_from([3, 20, 200])), (count, 2)) * rng.choice([0, 1, 1, 1], (count, 2))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
    if draw(st.booleans()):
        boxes = (boxes * 2).round() / 2
    boxes = boxes.clip(0, [width, height, width, height])
    scale = draw(st.sampled_from([(1.0, 1.0), (1.31, 1.3), (0.37, 0.4), (2.0, 2.0)]))
    return torch.tensor(boxes, dtype=torch.float32), (height, width), scale, rng


@settings(deadline=None, max_examples=150)
@given(detections(), st.sampled_from([0.5, 0.3, 0.9, 0.0]), st.booleans(), st.booleans())
def test_masks_are_those_of_stock(detections, threshold, rescale, agnostic):
    boxes, size, scale, rng = detections
    stock, ours = heads(class_agnostic=agnostic)
    logits = torch.tensor(rng.normal(0, 3, (len(boxes), 1 if agnostic else 3, 28, 28)), dtype=torch.float32)
    labels = torch.tensor(rng.integers(0, 3, len(boxes)))
    # The boxes are those of the network's input: the image times the scale factor.
    ori_shape = tuple(max(1, round(side / s)) for side, s in zip(size, scale[::-1]))
    arguments = (logits, boxes, labels, dict(ori_shape=ori_shape, scale_factor=scale), threshold, rescale)
    assert_same(predict(ours, *arguments), predict(stock, *arguments))


@pytest.mark.parametrize('chunk', [1, 500, 1 << 18])
def test_a_real_head_on_a_dense_image(chunk, monkeypatch):
    monkeypatch.setattr(boxed_mask_head, '_CHUNK', chunk)
    stock, ours = heads()
    rng = np.random.default_rng(0)
    count, height, width = 120, 300, 401
    features = torch.randn(count, 4, 14, 14)
    with torch.no_grad():
        logits = 20 * stock(features)
    corners = rng.uniform(-20, [width, height], (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 60, (count, 2))], axis=1)
    boxes = torch.tensor(boxes.clip(0, [width, height, width, height]), dtype=torch.float32)
    labels = torch.tensor(rng.integers(0, 3, count))
    arguments = (logits, boxes, labels, dict(ori_shape=(height, width), scale_factor=(1.0, 1.0)))
    expected = predict(stock, *arguments)
    assert 0 < expected.masks.sum() < expected.masks.numel()
    assert_same(predict(ours, *arguments), expected)
    with torch.no_grad():
        torch.testing.assert_close(ours(features), stock(features), rtol=0, atol=0)


def test_probabilities_are_taken_as_they_are():
    stock, ours = heads()
    arguments = (torch.rand(2, 3, 28, 28), torch.tensor([[1.0, 2, 30, 40], [5, 5, 9, 20]]), torch.tensor([0, 2]))
    meta = dict(ori_shape=(50, 60), scale_factor=(1.0, 1.0))
    assert_same(predict(ours, *arguments, meta, activate_map=True), predict(stock, *arguments, meta, activate_map=True))


def test_a_box_outside_the_image_has_an_empty_mask():
    # Rescaled boxes may lie a little outside; MMDetection fails on one that lies outside altogether.
    _, ours = heads()
    boxes = torch.tensor([[70.0, 10, 80, 20], [-20, 5, -10, 9]])
    meta = dict(ori_shape=(50, 60), scale_factor=(1.0, 1.0))
    masks = predict(ours, torch.ones(2, 3, 28, 28), boxes, torch.tensor([0, 0]), meta).masks
    assert not coco_mask.decode(masks).any()


def test_an_image_without_detections_has_an_empty_list():
    _, ours = heads()
    meta = dict(ori_shape=(50, 60), scale_factor=(1.0, 1.0))
    results = predict(ours, torch.zeros(0, 3, 28, 28), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), meta)
    assert results.masks == []
    assert len(results) == 0


def test_results_can_be_picked_joined_and_evaluated():
    _, ours = heads()
    boxes = torch.tensor([[1.0, 2, 30, 40], [5, 5, 9, 20], [20, 20, 50, 45]])
    meta = dict(ori_shape=(50, 60), scale_factor=(1.0, 1.0))
    results = predict(ours, torch.ones(3, 3, 28, 28), boxes, torch.tensor([0, 1, 2]), meta)
    assert results[torch.tensor([2, 0])].masks == [results.masks[2], results.masks[0]]
    assert results[results.labels > 0].masks == results.masks[1:]
    assert InstanceData.cat([results, results[:1]]).masks == [*results.masks, results.masks[0]]

    metric = CocoMetric(metric='segm')
    metric.dataset_meta = dict(classes=('a', 'b', 'c'))
    instances = [
        dict(bbox=box.tolist(), bbox_label=i, mask=mask, ignore_flag=0)
        for i, (box, mask) in enumerate(zip(boxes, results.masks))
    ]
    sample = dict(img_id=0, ori_shape=(50, 60), pred_instances=results, instances=instances)
    metric.process({}, [sample])
    assert metric.evaluate(1)['coco/segm_mAP'] == 1.0


def test_soft_masks_are_refused():
    _, ours = heads()
    meta = dict(ori_shape=(50, 60), scale_factor=(1.0, 1.0))
    with pytest.raises(InputError, match='mask_thr_binary: -1 asks for soft masks'):
        predict(ours, torch.ones(1, 3, 28, 28), torch.ones(1, 4), torch.tensor([0]), meta, threshold=-1)
