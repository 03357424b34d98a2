"""Tiny Mask R-CNNs of random weights."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

import mmcell  # noqa: F401  registers

CONFIG = """
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
model = dict(
    backbone=dict(depth=18, base_channels=8, init_cfg=None, frozen_stages=-1),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=4),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(
            type='BoxedRLEMaskHead', num_convs=1, in_channels=16, conv_out_channels=16, num_classes=4
        ),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=200), rcnn=dict(score_thr=0.1, max_per_img=100)),
)
"""


@pytest.fixture
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def tiny_mask_rcnn(scope) -> ConfigDict:
    """Config of a Mask R-CNN with RLE masks."""
    return Config.fromstring(CONFIG, '.py').model


@pytest.fixture
def build(scope):
    """Build a model of random weights that finds cells everywhere; the same weights for configs of the same modules."""

    def build_model(config):
        model = MODELS.build(copy.deepcopy(config))
        torch.manual_seed(0)
        for _, parameter in sorted(model.named_parameters(), key=lambda item: item[0].replace('detector.', '')):
            torch.nn.init.normal_(parameter, std=0.2)
        return model.eval()

    return build_model
