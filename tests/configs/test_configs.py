"""Every config builds; every ablation is what its name says and nothing else."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path

import pytest
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.nn import ModuleList

import mmcell  # noqa: F401  registers
from mmcell.config import load_config
from mmcell.errors import InputError
from mmcell.preflight.model import build_model

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
#: What changes prediction alone: a text of all of the model, moved to the right, would tell less than a test below.
WRAPPERS = [f'cell/mask_rcnn_aug_{name}.py' for name in ('tiled', 'tta', 'tiled_tta', 'tiled_tta_ensemble')]
BASES = ('small/mask_rcnn_aug.py', 'small/mask_rcnn_aug_lite.py')
#: Configs that are no ablation over a base, and those that a base is none for; and what is said of them.
NOT_OVER = {
    **{('cell/mask_rcnn.py', base): 'is a base of' for base in BASES},
    **{('cell/mask_rcnn_aug.py', base): 'is a base of' for base in BASES},
    **{(base, base): 'is the base itself' for base in BASES},
    BASES: 'is a base of',
    ('small/mask_rcnn_thin.py', BASES[0]): 'cannot be loaded (TypeError: init_cfg=',
    **{
        (f'cell/{name}.py', BASES[1]): 'ConvNeXt-V2 replaces a ResNet, not TimmBackbone'
        for name in ('mask_rcnn_aug_convnextv2', 'cascade_convnextv2_strong')
    },
    **{
        (f'{name}.py', BASES[1]): 'has a model that cannot be built (TypeError: '
        for name in (
            'cell/mask_rcnn_aug_cbam_identity',
            'cell/mask_rcnn_cbam',
            'cell/mask_rcnn_cbam_aug',
            'cell/mask_rcnn_cbam_stage',
            'demo/mask_rcnn_crops',
            'demo/mask_rcnn_synthetic',
            'demo/mask_rcnn_synthetic_cbam',
            'demo/mask_rcnn_synthetic_cbam_aug',
            'demo/mask_rcnn_synthetic_plain',
            'small/mask_rcnn_thin',
        )
    },
}


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_config_builds(path):
    config = load_config(ROOT / 'configs' / path)
    assert path.stem.isidentifier()
    check(config)


@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_config_builds_over_another_base(path, base, monkeypatch):
    monkeypatch.chdir(ROOT / 'configs')
    if (said := NOT_OVER.get((str(path), base))) is None:
        check(load_config(path, base=base))
        return
    with pytest.raises(InputError) as error:
        build_model(load_config(path, base=base))
    message = str(error.value)
    assert said in message and '\n' not in message and str(path) in message and base in message


@pytest.mark.parametrize('name', ['mask_rcnn_aug', 'mask_rcnn_cbam', 'mask_rcnn_aug_cbam_identity'])
def test_the_experiments_build_over_the_pretrained_resnet(name, monkeypatch):
    monkeypatch.chdir(ROOT / 'configs')
    config = load_config(f'cell/{name}.py', base='small/mask_rcnn_thin.py')
    check(config)
    assert config.model.backbone.base_channels == 32
    assert config.model.backbone.type == ('CBAMResNet' if 'cbam' in name else 'ResNet')


def check(config):
    init_default_scope('mmdet')
    model, settings = build_model(config), config.model
    while 'roi_head' not in settings:
        model, settings = model.detector, settings.get('detector') or settings.detectors[0]
    heads = [model.roi_head.bbox_head, model.roi_head.mask_head]
    heads = [head for each in heads for head in (each if isinstance(each, ModuleList) else [each])]
    assert {head.num_classes for head in heads} == {1 if config.filename.endswith('nuclei.py') else 4}
    assert settings.test_cfg.rcnn.max_per_img == 1000 and settings.test_cfg.rcnn.score_thr == 0.05
    stages = [settings.train_cfg.rpn, *(settings.train_cfg.rcnn if len(heads) > 2 else [settings.train_cfg.rcnn])]
    assert {stage.assigner.type for stage in stages} == {'SparseMaxIoUAssigner'}
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        for transform in loader.dataset.pipeline:
            TRANSFORMS.build(transform)


@pytest.mark.parametrize('path', [path for path in ABLATIONS if path not in WRAPPERS])
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
    base, config = (load_config(ROOT / f'configs/cell/mask_rcnn_aug{end}.py') for end in ('', f'_{name}'))
    model = config.model
    for wrapper in wrappers:
        assert {key: value for key, value in model.items() if key != 'detector'} == wrapper
        model = model.detector
    assert model == base.model
    assert config.train_dataloader == base.train_dataloader


def test_the_ensemble_is_of_scales():
    tiled, ensemble = (
        load_config(ROOT / f'configs/cell/mask_rcnn_aug_tiled_tta{end}.py').model for end in ('', '_ensemble')
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


def test_consep_is_the_strong_recipe_with_a_larger_network():
    """Anchors, shared outlines, averaged weights and all that is done to a crop once it is cut are those of strong."""
    shipped = load_config(ROOT / 'configs/models/consep.py')
    strong = load_config(ROOT / 'configs/cell/mask_rcnn_strong.py', base=ROOT / 'configs' / BASES[1])
    assert shipped.custom_hooks == strong.custom_hooks
    pipelines = [config.train_dataloader.dataset.pipeline for config in (shipped, strong)]
    assert pipelines[0][3:] == pipelines[1][3:]
    models = [config.model.detector.detector for config in (shipped, strong)]
    for part, key in [
        ('rpn_head', 'anchor_generator'),
        ('roi_head.bbox_head', 'reg_class_agnostic'),
        ('roi_head.mask_head', 'class_agnostic'),
    ]:
        ours, theirs = (reduce(getattr, part.split('.'), model)[key] for model in models)
        assert ours == theirs


def test_nuclei_goes_on_from_consep():
    consep, nuclei = (load_config(ROOT / f'configs/models/{name}.py') for name in ('consep', 'nuclei'))
    assert nuclei.load_from == 'consep'
    heads = consep.model.detector.detector.roi_head
    heads.bbox_head.num_classes = heads.mask_head.num_classes = 1
    samplers = consep.model.detector.detector.train_cfg
    samplers.rpn.sampler.num, samplers.rcnn.sampler.num = 512, 256  # of crops of a quarter of the size
    consep.model.scale = 1.5
    assert nuclei.model == consep.model


def test_data_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv('MMCELL_DATA', 'elsewhere')
    config = load_config(ROOT / 'configs/cell/mask_rcnn.py')
    assert config.train_dataloader.dataset.data_root == 'elsewhere'
    assert all(metric.ann_file == 'elsewhere/annotations/val.json' for metric in config.val_evaluator)


@pytest.mark.parametrize('name', ["o'brien", 'a"b', r'a\b\d', r'\1', "'''", 'a b$HOME%s', 'ü'])
def test_any_folder_of_data(monkeypatch, tmp_path, name):
    monkeypatch.setenv('MMCELL_DATA', name)
    config = load_config(ROOT / 'configs/demo/mask_rcnn_synthetic.py')
    assert config.train_dataloader.dataset.data_root == name
    config.dump(tmp_path / 'dumped.py')
    monkeypatch.delenv('MMCELL_DATA')
    assert load_config(tmp_path / 'dumped.py').train_dataloader.dataset.data_root == name


def test_folders_that_no_config_can_name(monkeypatch):
    for name in ('a\nb', 'caf\udce9', 'a\tb', '{{ fileDirname }}'):
        monkeypatch.setenv('MMCELL_DATA', name)
        with pytest.raises(InputError, match='MMCELL_DATA'):
            load_config(ROOT / 'configs/demo/mask_rcnn_synthetic.py')
    monkeypatch.setenv('MMCELL_DATA', '')
    assert load_config(ROOT / 'configs/demo/mask_rcnn_synthetic.py').data_root == 'data/cell/'


def test_nothing_else_comes_from_the_environment():
    texts = {path.name: path.read_text() for path in (ROOT / 'configs').glob('*/*.py')}
    asking = [name for name, text in texts.items() if re.search(r'\{\{\s*\$|environ\b|getenv', text)]
    assert asking == ['dataset.py'] and texts['dataset.py'].count('os.environ') == 1


def test_a_fold():
    whole = load_config(ROOT / 'configs/cell/mask_rcnn.py')
    config = load_config(ROOT / 'configs/cell/mask_rcnn.py', fold=3)
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


@pytest.mark.parametrize('path', CONFIGS, ids=str)
def test_no_config_takes_pipelines_apart(path):
    """The pieces have names in `_base_/dataset.py`."""
    text = (ROOT / 'configs' / path).read_text()
    assert 'pipeline[' not in text and "step['type']" not in text


if __name__ == '__main__':
    for ablation in (path for path in ABLATIONS if path not in WRAPPERS):
        (ROOT / 'tests/configs/golden' / f'{Path(ablation).stem}.diff').write_text(difference(ablation))
