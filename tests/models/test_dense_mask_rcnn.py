"""A whole Mask R-CNN and a Cascade Mask R-CNN on real cells: our masks and our matching change nothing but the cost."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from mmcv.transforms import Compose
from mmdet.models.detectors import CascadeRCNN
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

import mmcell  # noqa: F401
from mmcell.models.dense_rpn_head import DenseRPNHead
from mmcell.structures.label_map_masks import LabelMapMasks
from mmcell.structures.rle import encode_label_map

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
model = dict(
    backbone=dict(depth=18, init_cfg=None, frozen_stages=-1),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        bbox_head=dict(in_channels=32, fc_out_channels=64, num_classes=4),
        mask_roi_extractor=dict(out_channels=32),
        mask_head=dict(num_convs=1, in_channels=32, conv_out_channels=32, num_classes=4),
    ),
    test_cfg=dict(rcnn=dict(max_per_img=300)),
)
"""


# Over the model above, as over any of configs/cell: three box and three mask heads, each trained on better boxes.
CASCADE = """
_box, _rcnn = model['roi_head']['bbox_head'], dict(
    assigner=dict(type='MaxIoUAssigner', match_low_quality=False), mask_size=28, pos_weight=-1, debug=False,
    sampler=dict(type='RandomSampler', num=512, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=True),
)
model['type'] = 'CascadeRCNN'
model['roi_head'].update(
    type='CascadeRoIHead',
    num_stages=3,
    stage_loss_weights=[1, 0.5, 0.25],
    bbox_head=[
        dict(
            type='Shared2FCBBoxHead',
            roi_feat_size=7,
            reg_class_agnostic=True,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[std, std, 2 * std, 2 * std]),
            **_box,
        )
        for std in (0.1, 0.05, 0.033)
    ],
)
model['train_cfg'] = dict(
    rcnn=[
        dict(_rcnn, assigner=dict(_rcnn['assigner'], pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou))
        for iou in (0.5, 0.6, 0.7)
    ]
)
"""


@pytest.fixture(scope='module')
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(params=['plain', 'cascade', 'plain, every part', 'cascade, every part'])
def models(scope, request):
    """MMDetection's model and one with our mask head and assigner, or all of our parts, with the same weights."""
    config = Config.fromstring(CONFIG + (CASCADE if 'cascade' in request.param else ''), '.py').model
    torch.manual_seed(0)
    stock = MODELS.build(copy.deepcopy(config))
    stock.init_weights()
    config.roi_head.mask_head.type = 'BoxedRLEMaskHead'
    train = config.train_cfg
    for stage in (train.rpn, *(train.rcnn if isinstance(train.rcnn, list) else [train.rcnn])):
        stage.assigner.type = 'SparseMaxIoUAssigner'
    if 'every part' in request.param:
        _use_every_part(config)
    ours = MODELS.build(config)
    ours.load_state_dict(stock.state_dict())
    return ours, stock


def _use_every_part(config):
    """All that our configs have in place of MMDetection's.

    Except suppression level by level: of an untrained head many scores are equal, and their order is arbitrary.
    """
    config.rpn_head.type = 'DenseRPNHead'
    config.roi_head.type = 'DenseRoIHead' if config.roi_head.type == 'StandardRoIHead' else 'DenseCascadeRoIHead'
    for kind in ('bbox', 'mask'):
        config.roi_head[f'{kind}_roi_extractor'].type = 'DenseRoIExtractor'


@pytest.fixture
def samples(scope, shared_data):
    """One real crop with its cells, loaded our way and MMDetection's, resized and flipped."""
    folder = shared_data / 'consep' / 'train' / 'tile02_crop1'
    if not folder.is_dir():
        pytest.skip(f'no {folder}')
    image = np.ascontiguousarray(tifffile.imread(folder / 'image.tif')[..., 2::-1])
    instances = []
    for label in range(4):
        file = folder / f'class{label + 1}.tif'
        if file.exists():
            encoded = encode_label_map(tifffile.imread(file).astype(np.int32))
            for rle, (x, y, w, h) in zip(encoded.rles, encoded.boxes.tolist()):
                instances.append(dict(bbox=[x, y, x + w, y + h], bbox_label=label, mask=rle, ignore_flag=0))
    assert len(instances) > 30
    size = image.shape[:2]
    sample = dict(img=image, img_shape=size, ori_shape=size, img_id=1, img_path=folder, instances=instances)
    transforms = [
        dict(type='Resize', scale=(400, 400), keep_ratio=True),
        dict(type='RandomFlip', prob=1.0),
        dict(type='PackDetInputs'),
    ]
    loaders = dict(type='LoadCellAnnotations'), dict(type='LoadAnnotations', with_mask=True)
    return [
        Compose([TRANSFORMS.build(copy.deepcopy(t)) for t in (loader, *transforms)])(copy.deepcopy(sample))
        for loader in loaders
    ]


def test_a_training_step_has_the_same_losses_and_gradients(models, samples):
    assert isinstance(samples[0]['data_samples'].gt_instances.masks, LabelMapMasks)
    losses = []
    for model, sample in zip(models, samples):
        model.train()
        torch.manual_seed(1)  # the samplers draw proposals
        data = model.data_preprocessor(pseudo_collate([sample]), training=True)
        losses.append(model(**data, mode='loss'))
        model.parse_losses(losses[-1])[0].backward()
    stages = [f's{stage}.' for stage in range(3)] if isinstance(model, CascadeRCNN) else ['']
    heads = {f'{stage}{name}' for stage in stages for name in ('loss_mask', 'loss_bbox')}
    assert losses[0].keys() == losses[1].keys() >= {'loss_rpn_cls', *heads}
    assert all(losses[0][name] > 0 for name in heads)
    # RoIAlign adds in another order.
    rounding = 1e-5 if isinstance(models[0].rpn_head, DenseRPNHead) else 0
    torch.testing.assert_close(losses[0], losses[1], rtol=rounding, atol=1e-6)
    for (name, ours), (_, stock) in zip(models[0].named_parameters(), models[1].named_parameters()):
        scale = float(stock.grad.abs().max())
        torch.testing.assert_close(ours.grad, stock.grad, rtol=0, atol=1e-6 + 20 * rounding * scale, msg=name)


def test_a_test_pass_has_the_same_results(models, samples):
    predictions = []
    for model, sample in zip(models, samples):
        model.eval()
        # Test pipelines do not flip: MMDetection's cascade would turn the masks back, with a slice that torch refuses.
        sample['data_samples'].set_metainfo(dict(flip=False))
        predictions.append(model.test_step(pseudo_collate([sample]))[0].pred_instances)
    ours, stock = predictions
    assert isinstance(ours, InstanceData)
    assert len(ours) == len(stock) > 50
    expected = [coco_mask.encode(np.asfortranarray(mask.numpy(), dtype=np.uint8)) for mask in stock.masks]
    assert ours.masks == [dict(size=rle['size'], counts=rle['counts'].decode()) for rle in expected]
    assert stock.masks.any()
    every_part = isinstance(models[0].rpn_head, DenseRPNHead)
    for key, rounding in (('bboxes', 1e-3), ('scores', 1e-5), ('labels', 0)):
        torch.testing.assert_close(ours[key], stock[key], rtol=0, atol=rounding if every_part else 0)


# A process of its own, since memory that was freed stays with the process.
STEP = """
import resource, sys
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
import mmcell
from benchmarks.scene import draw_image, draw_instances

DefaultScope.get_instance('step', scope_name='mmdet')
config = Config.fromstring(sys.argv[1], '.py').model
config.roi_head.mask_head.type = 'BoxedRLEMaskHead'
for stage in (config.train_cfg.rpn, config.train_cfg.rcnn):
    stage.assigner.type = 'SparseMaxIoUAssigner'
model = MODELS.build(config).train()
sample = dict(img=draw_image(1024), img_shape=(1024, 1024), ori_shape=(1024, 1024), img_id=1, img_path='')
sample['instances'] = draw_instances(int(sys.argv[2]), 1024)
steps = [dict(type='LoadCellAnnotations', with_mask=True), dict(type='PackDetInputs')]
batch = pseudo_collate([Compose([TRANSFORMS.build(step) for step in steps])(sample)])
losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
model.parse_losses(losses)[0].backward()
assert losses['loss_rpn_bbox'][0] > 0 and losses['loss_mask'] > 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_of_a_step_does_not_grow_with_the_cells():
    command = [sys.executable, '-c', STEP, CONFIG]
    few, many = (
        int(subprocess.run([*command, cells], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[-1])
        for cells in ('100', '4000')
    )
    assert many - few < 200_000  # kB; a matrix of all anchors by all cells takes 4,000,000
