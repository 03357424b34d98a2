"""Unknown names in a config: found, without crying wolf."""

from __future__ import annotations

from pathlib import Path

import mmdet
import pytest
from mmdet.registry import HOOKS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmcell.config import load_config
from mmcell.preflight.arguments import check_arguments, list_arguments
from mmcell.preflight.settings import check_best, check_settings

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/cell/mask_rcnn_cbam_aug.py'


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        ({'model.backbone.dept': 50}, "model.backbone has the unknown argument 'dept'; did you mean 'depth'?"),
        (
            {'model.backbone.type': 'CBAMResnet'},
            "model.backbone has the unknown type 'CBAMResnet'; did you mean 'CBAMResNet'?",
        ),
        (
            {'model.rpn_head.anchor_generator.scale': [4]},
            "model.rpn_head.anchor_generator has the unknown argument 'scale'; did you mean 'scales'?",
        ),
        (
            {'train_dataloader.dataset.pipeline.5.delt': 0.1},
            "train_dataloader.dataset.pipeline.5 has the unknown argument 'delt'; did you mean 'delta'?",
        ),
        (
            {'train_dataloader.dataset.chanel_order': 'rgb'},
            "train_dataloader.dataset has the unknown argument 'chanel_order'; did you mean 'channel_order'?",
        ),
        (
            {'default_hooks.checkpoint.max_keep_ckpt': 1},  # a class that keeps **kwargs
            "default_hooks.checkpoint has the unknown argument 'max_keep_ckpt'; did you mean 'max_keep_ckpts'?",
        ),
        (
            {'optim_wrapper.optimizer.type': 'AdanW'},
            "optim_wrapper.optimizer has the unknown type 'AdanW'; did you mean 'AdamW'?",
        ),
        (
            {'param_scheduler.warmup_rate': 0.1},
            "param_scheduler has the unknown argument 'warmup_rate'; did you mean 'warmup_ratio'?",
        ),
    ],
)
def test_unknown_names(options, line):
    assert [str(error) for error in check_arguments(load_config(CONFIG, options))] == [f'{CONFIG}: {line}']


def test_settings_that_are_not_built_are_left_alone():
    config = load_config(CONFIG, {'test_dataloader.dataset.pipelin': 1})
    assert len(check_arguments(config)) == 1
    assert check_arguments(config, skip=['test_dataloader']) == []


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('[!_]*/*.py')), ids=lambda path: path.stem)
def test_our_configs(path):
    config = load_config(path)
    assert [*check_arguments(config), *check_settings(config), *check_best(config, ('one', 'two'))] == []


def test_configs_of_mmdet():
    """Models of very many kinds, none of them with a mistake."""
    folder = Path(mmdet.__file__).parent / '.mim/configs/_base_/models'
    paths = sorted(folder.glob('*.py'))
    assert len(paths) > 10
    for path in paths:
        model = Config.fromfile(path).model
        assert check_arguments(Config({'model': model}, filename=str(path))) == []


def test_arguments_that_are_handed_on():
    known, complete = list_arguments(MODELS.get('CBAMResNet'))
    assert complete and {'depth', 'position', 'frozen_stages', 'init_cfg'} <= known and 'kwargs' not in known
    known, complete = list_arguments(HOOKS.get('CheckpointHook'))
    assert not complete and 'save_best' in known
