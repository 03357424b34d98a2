"""Every config builds; every ablation is what its name says and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.nn import ModuleList

import mmcell  # noqa: F401  registers
from mmcell.config import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path.relative_to(ROOT / 'configs') for path in (ROOT / 'configs').glob('[!_]*/*.py'))
#: Each ablation and what it is compared with.
ABLATIONS = {
    'cell/mask_rcnn_plain_fpn.py': 'cell/mask_rcnn.py',
    'cell/mask_rcnn_aug.py': 'cell/mask_rcnn.py',
    'cell/mask_rcnn_cbam.py': 'cell/mask_rcnn.py',
    'cell/mask_rcnn_cbam_aug.py': 'cell/mask_rcnn_aug.py',
    'cell/mask_rcnn_cbam_stage.py': 'cell/mask_rcnn_cbam.py',
    **{f'cell/{path.name}': 'cell/mask_rcnn_aug.py' for path in (ROOT / 'configs/cell').glob('mask_rcnn_aug_*.py')},
}


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_config_builds(path):
    config = load_config(ROOT / 'configs' / path)
    assert path.stem.isidentifier()
    init_default_scope('mmdet')
    model, settings = MODELS.build(config.model), config.model
    while 'roi_head' not in settings:
        model, settings = model.detector, settings.get('detector') or settings.detectors[0]
    heads = [model.roi_head.bbox_head, model.roi_head.mask_head]
    heads = [head for each in heads for head in (each if isinstance(each, ModuleList) else [each])]
    assert {head.num_classes for head in heads} == {4}
    assert settings.test_cfg.rcnn.max_per_img == 1000 and settings.test_cfg.rcnn.score_thr == 0.05
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        for transform in loader.dataset.pipeline:
            TRANSFORMS.build(transform)


@pytest.mark.parametrize('path', ABLATIONS)
def test_ablation(path):
    """`Config.diff` against a golden text; after a wanted change: python tests/configs/test_configs.py."""
    golden = ROOT / 'tests' / 'configs' / 'golden' / f'{Path(path).stem}.diff'
    assert difference(path) == golden.read_text()


def difference(path: str) -> str:
    old, new = (Config.fromfile(ROOT / 'configs' / name) for name in (ABLATIONS[path], path))
    # Variables repeat what the datasets' own pipelines say.
    for config in (old, new):
        config.pop('train_pipeline')
        config.pop('test_pipeline')
        for key in [key for key in config if key.startswith('_')]:
            config.pop(key)
    # Where the lines stand in the whole config is of no interest, and changes with every setting that all share.
    return re.sub(r'^@@.*@@$', '@@', Config.diff(old, new), flags=re.MULTILINE) + '\n'


@pytest.mark.parametrize(
    ('name', 'wrappers'),
    [
        ('tiled', [dict(type='TiledDetector', tile=512, overlap=256, scale=2.0)]),
        ('tta', [dict(type='CellTTA', mirror=(False, True), turns=(0, 1, 2, 3))]),
        ('tiled_tta', [dict(type='TiledDetector', tile=512, overlap=256, scale=2.0), dict(type='CellTTA')]),
    ],
)
def test_wrappers_change_only_how_experiment_2_predicts(name, wrappers):
    base, config = (load_config(ROOT / f'configs/cell/{stem}.py') for stem in ('mask_rcnn_aug', f'mask_rcnn_{name}'))
    model = config.model
    for wrapper in wrappers:
        assert {key: value for key, value in model.items() if key != 'detector'} == wrapper
        model = model.detector
    assert model == base.model
    assert config.train_dataloader == base.train_dataloader


def test_the_ensemble_is_of_scales():
    tiled, ensemble = (
        load_config(ROOT / f'configs/cell/mask_rcnn_{name}.py').model for name in ('tiled_tta', 'ensemble')
    )
    assert ensemble.type == 'EnsembleDetector' and len(ensemble) == 2
    assert [detector.pop('scale') for detector in ensemble.detectors] == [1.5, 2.0, 2.5]
    tiled.pop('scale')
    assert ensemble.detectors == [tiled] * 3


def test_cbam_is_all_that_experiment_3_adds(tool):
    outcome = tool('diff', ROOT / 'configs/cell/mask_rcnn.py', ROOT / 'configs/cell/mask_rcnn_cbam.py')
    assert outcome == (
        0,
        "model.backbone.type: 'ResNet' -> 'CBAMResNet'\n"
        "+ model.backbone.position: 'block'\n"
        '+ model.backbone.cbam_stages: [2, 3, 4]\n',
        '',
    )


def test_data_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv('MMCELL_DATA', 'elsewhere')
    config = load_config(ROOT / 'configs/cell/mask_rcnn.py')
    assert config.train_dataloader.dataset.data_root == 'elsewhere'
    assert all(metric.ann_file == 'elsewhere/annotations/val.json' for metric in config.val_evaluator)


def test_the_fold_comes_from_the_environment(monkeypatch):
    whole = load_config(ROOT / 'configs/cell/mask_rcnn.py')
    monkeypatch.setenv('MMCELL_FOLD', '3')
    config = load_config(ROOT / 'configs/cell/mask_rcnn.py')
    assert config.train_dataloader.dataset.ann_file == 'annotations/fold3_train.json'
    assert config.val_dataloader.dataset.ann_file == 'annotations/fold3_val.json'
    assert all(metric.ann_file.endswith('/annotations/fold3_val.json') for metric in config.val_evaluator)
    assert config.test_dataloader == whole.test_dataloader and config.test_evaluator == whole.test_evaluator
    assert whole.train_dataloader.dataset.ann_file == 'annotations/train.json'


def test_the_reference_recipe():
    config = load_config(ROOT / 'configs/cell/mask_rcnn.py')
    backbone, model = config.model.backbone, config.model
    assert (backbone.frozen_stages, backbone.norm_eval, backbone.norm_cfg.requires_grad) == (1, True, False)
    assert backbone.init_cfg.checkpoint == 'torchvision://resnet50' and model.neck.norm_cfg.type == 'BN'
    generator = model.rpn_head.anchor_generator
    assert [stride * generator.scales[0] for stride in generator.strides] == [32, 64, 128, 256, 512]
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.betas, optimizer.weight_decay) == (
        'AdamW',
        1e-4,
        (0.9, 0.999),
        5e-4,
    )
    assert config.optim_wrapper.type == 'AmpOptimWrapper' and config.train_dataloader.batch_size == 1
    assert (config.train_cfg.max_epochs, config.train_cfg.val_interval) == (60, 1)
    sizes = [
        step for step in config.train_dataloader.dataset.pipeline if step.type in ('LimitLongEdge', 'ChainedResize')
    ]
    assert [step.type for step in sizes] == ['LimitLongEdge', 'ChainedResize']
    assert sizes[0].max_size == 1024 and sizes[1].scale == (1333, 800) and sizes[1].keep_ratio


if __name__ == '__main__':
    for ablation in ABLATIONS:
        (ROOT / 'tests/configs/golden' / f'{Path(ablation).stem}.diff').write_text(difference(ablation))
