"""Proposals of mixed precision stand where those of single precision stand."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict

from tests.models.test_tta import sample_of


@pytest.fixture
def heads(tiny_mask_rcnn):
    """MMDetection's head and ours, of the same weights, and features of an image of 64 x 2048 pixels."""
    torch.manual_seed(0)
    config = dict(
        tiny_mask_rcnn.rpn_head, train_cfg=None, test_cfg=ConfigDict(tiny_mask_rcnn.test_cfg.rpn, nms_pre=100)
    )
    stock = MODELS.build(copy.deepcopy(config))
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours = MODELS.build(dict(config, type='DenseRPNHead'))
    ours.load_state_dict(stock.state_dict())
    features = tuple(torch.randn(1, 16, 64 // stride, 2048 // stride) for stride in (4, 8, 16, 32, 64))
    return stock, ours, features


def test_single_precision_is_mmdetections(heads):
    stock, ours, features = heads
    for some, others in zip(stock(features), ours(features)):
        assert all(map(torch.equal, some, others))


def test_mixed_precision_proposes_between_whole_pixels(heads):
    _, ours, features = heads
    for layer in (ours.rpn_cls, ours.rpn_reg):
        assert layer.weight.dtype == torch.float32
    sample = sample_of(64, 2048)
    with torch.no_grad():
        expected = ours.predict(features, [sample])[0]
        with torch.autocast('cpu', torch.bfloat16):
            scores, offsets = ours(features)
            found = ours.predict(features, [sample])[0]
    assert {each.dtype for each in (*scores, *offsets)} == {torch.float32}
    assert found.bboxes.dtype == found.scores.dtype == torch.float32
    # bfloat16 has 8 bits: to the right of 256 it knows every second pixel, of 1024 every eighth.
    right = found.bboxes[found.bboxes[:, 0] > 1024]
    assert len(right) > 5 and (right != right.bfloat16()).any()
    best = expected.bboxes[:20]
    distance = (best[:, None] - found.bboxes[None]).abs().amax(dim=2).amin(dim=1)
    assert (distance < 1).float().mean() > 0.8


def test_a_training_step_in_bfloat16(tiny_mask_rcnn, build, scope):
    """The losses of a whole detector are near those of single precision, its gradients in single precision."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    from mmcell.structures.label_map_masks import LabelMapMasks
    from mmcell.structures.rle import encode_label_map

    roi_head = tiny_mask_rcnn.roi_head
    tiny_mask_rcnn.rpn_head.type, roi_head.type = 'DenseRPNHead', 'DenseRoIHead'
    roi_head.bbox_roi_extractor.type = roi_head.mask_roi_extractor.type = 'DenseRoIExtractor'
    model = MODELS.build(tiny_mask_rcnn)
    torch.manual_seed(0)
    model.init_weights()
    plane = torch.zeros(96, 96, dtype=torch.int32)
    for index in range(9):
        y, x = 30 * (index // 3) + 4, 30 * (index % 3) + 4
        plane[y : y + 20, x : x + 18] = index + 1
    encoded = encode_label_map(plane.numpy())
    boxes = torch.tensor(encoded.boxes).float()
    boxes[:, 2:] += boxes[:, :2]
    truth = InstanceData(bboxes=boxes, labels=torch.arange(9) % 4, masks=LabelMapMasks.from_rles(encoded.rles, 96, 96))
    sample = DetDataSample(metainfo=dict(sample_of(96, 96).metainfo, batch_input_shape=(96, 96), pad_shape=(96, 96)))
    sample.gt_instances, sample.ignored_instances = truth, truth[:0]
    image = (plane > 0).float().expand(1, 3, -1, -1) + 0.1 * torch.randn(1, 3, 96, 96)
    losses = []
    for mixed in (False, True):
        torch.manual_seed(0)
        model.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=mixed):
            log = model(image, [copy.deepcopy(sample)], mode='loss')
        total, values = model.parse_losses(log)
        total.backward()
        losses.append({name: value.item() for name, value in values.items() if 'loss' in name})
    assert losses[0]['loss_mask'] > 0
    assert losses[1] == pytest.approx(losses[0], rel=0.15, abs=0.02)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters() if parameter.grad is not None)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
