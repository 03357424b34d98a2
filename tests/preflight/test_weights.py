"""Checkpoints of other models: said what they are, never run."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mmcell.config import load_config
from mmcell.engine.weights import check_recorded_classes, check_weights, skip_pretrained
from mmcell.errors import InputError
from mmcell.io.checkpoints import load_checkpoint, weights_of
from mmcell.preflight.disk import check_disk, count_checkpoints, estimate_checkpoint
from mmcell.preflight.model import build_model, check_layouts
from mmcell.preflight.pretrained import check_initial_weights

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/demo/mask_rcnn_synthetic.py'
CBAM = ROOT / 'configs/demo/mask_rcnn_synthetic_cbam.py'


def fresh(path: Path, options: dict | None = None) -> tuple:
    config = load_config(path, options)
    return config, build_model(config)


def weights(model: torch.nn.Module) -> dict:
    return {'state_dict': {name: torch.zeros(value.shape) for name, value in model.state_dict().items()}}


def test_model_takes_no_memory_and_no_random_numbers():
    state = torch.random.get_rng_state()
    config = load_config(CONFIG)
    before = config.pretty_text
    assert all(value.is_meta for value in build_model(config).state_dict().values())
    assert config.pretty_text == before and torch.equal(torch.random.get_rng_state(), state)


def test_what_fits():
    config, model = fresh(CONFIG)
    content = weights(model)
    assert check_weights(config, 'a.pth', content, model) == ([], [])
    state = content['state_dict']
    for name in [name for name in state if name.endswith('num_batches_tracked')]:
        del state[name]
    assert check_weights(config, 'a.pth', {f'module.{name}': value for name, value in state.items()}, model) == ([], [])


@pytest.mark.parametrize(
    ('path', 'options', 'guess'),
    [
        (CBAM, {}, 'it is of a model with CBAM: with backbone.cbam.layer2.0.'),
        (CONFIG, {'model.backbone.depth': 34}, 'its backbone is a ResNet-34, not a ResNet-18: with backbone.layer1.2.'),
        (
            CONFIG,
            {'model.roi_head.bbox_head.num_classes': 2},
            'it is of a model of 2 classes, not 4: roi_head.bbox_head.fc_cls.weight, roi_head.bbox_head.fc_cls.bias, '
            'roi_head.bbox_head.fc_reg.weight and 1 more of another shape (roi_head.bbox_head.fc_cls.weight [3, 256] '
            'instead of [5, 256])',
        ),
    ],
)
def test_another_architecture(path, options, guess):
    config, model = fresh(CONFIG)
    (error,), warnings = check_weights(config, 'a.pth', weights(fresh(path, options)[1]), model)
    assert not warnings
    assert str(error).startswith(f'a.pth: does not fit the model of {CONFIG}: {guess}')
    assert str(error).endswith('; give a checkpoint of this config')


def test_a_plain_resnet(resnet50_checkpoint):
    config, model = fresh(CONFIG)
    (error,), _ = check_weights(config, 'a.pth', load_checkpoint(resnet50_checkpoint, mmap=True), model)
    assert 'it is of a plain ResNet: ' in str(error)
    assert str(error).endswith('; give it as model.backbone.init_cfg.checkpoint')


def test_fine_tuning_may_change_the_classes():
    config, model = fresh(CONFIG)
    other = weights(fresh(CONFIG, {'model.roi_head.bbox_head.num_classes': 2})[1])
    errors, (warning,) = check_weights(config, 'a.pth', other, model, strict=False)
    assert (
        not errors and warning.startswith('a.pth: 4 of ') and 'start from scratch: roi_head.bbox_head.fc_cls' in warning
    )
    assert check_weights(config, 'a.pth', {'x': torch.zeros(1)}, model, strict=False)[0]
    (error,), _ = check_weights(config, 'a.pth', {'state_dict': {}}, model)
    assert str(error) == 'a.pth: holds no weights; take a checkpoint that training wrote'


@pytest.mark.parametrize('lacks', [False, True])
def test_a_backbone_that_a_checkpoint_holds_needs_no_other_weights(lacks):
    _, model = fresh(ROOT / 'configs/models/nuclei.py')
    backbone, content = model.detector.detector.backbone, weights(model)
    pretrained = dict(backbone.init_cfg)
    if lacks:
        del content['state_dict'][next(name for name in content['state_dict'] if name.startswith('backbone.'))]
    skip_pretrained(model, content)
    assert backbone.init_cfg == (pretrained if lacks else None)


def test_recorded_classes():
    content = {'meta': {'dataset_meta': {'classes': ('a', 'b')}}}
    assert check_recorded_classes('a.pth', content, ('a', 'b')) == ([], [])
    errors, (line,) = check_recorded_classes('a.pth', {}, ('a', 'b'))
    assert not errors and line == 'a.pth: names no classes, which are taken for those of the data: a, b'
    (error,), _ = check_recorded_classes('a.pth', content, ('b', 'a'))
    assert 'learned the classes a, b, but the data have b, a' in str(error)
    assert check_recorded_classes('a.pth', content, ('c', 'd'))[1]


def test_model_that_cannot_be_built():
    with pytest.raises(InputError, match=r'has a model that cannot be built \(AssertionError'):
        build_model(load_config(CONFIG, {'model.neck.num_outs': 1}))


@pytest.mark.parametrize('kind', ['bbox', 'mask'])
def test_an_extractor_that_expects_another_layout(kind):
    """timm's ConvNeXt gives channels_last features, which mmcv's RoIAlign would take for contiguous."""
    path, base = ROOT / 'configs/cell/mask_rcnn_aug_convnextv2.py', ROOT / 'configs/small/mask_rcnn_aug.py'
    config = load_config(path, base=base)
    assert not check_layouts(config, build_model(config))
    config.model.roi_head[f'{kind}_roi_extractor'].type = 'SingleRoIExtractor'
    (error,) = check_layouts(config, build_model(config))
    assert 'mask_rcnn_aug_convnextv2.py' in str(error) and 'channels_last' in str(error)
    plain = load_config(CONFIG, {f'model.roi_head.{kind}_roi_extractor.type': 'SingleRoIExtractor'})
    assert not check_layouts(plain, build_model(plain))


class Program:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(
    'call',
    [
        lambda path: (os.system, (f'touch {path}',)),
        lambda path: (eval, (f'open({str(path)!r}, "w")',)),
        lambda path: (getattr, (HistoryBuffer.__init__, '__globals__')),
        lambda path: (getattr, (HistoryBuffer, '__init__')),
    ],
)
def test_no_program_is_run(tmp_path, zipped, call):
    mark, path = tmp_path / 'mark', tmp_path / 'a.pth'
    content = {'state_dict': {}, 'x': Program(*call(mark))}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    for load in (load_checkpoint, lambda path: CheckpointLoader.load_checkpoint(str(path), 'cpu', 'silent')):
        with pytest.raises(
            InputError, match=r'a\.pth: (holds .* could run any program|is not a checkpoint, or is bro)'
        ):
            load(path)
    assert not mark.exists()


def test_what_mmengine_saves(tmp_path):
    content = {
        'meta': {'epoch': 3, 'seed': np.int64(4), 'dataset_meta': {'classes': ('a', 'b')}},
        'message_hub': {'log_scalars': OrderedDict(loss=HistoryBuffer([1.5, 2.0], [1, 1]))},
        'scores': [np.float64(0.5), np.float32(0.25), np.bool_(True), np.arange(3)],
        'state_dict': OrderedDict(a=torch.ones(2)),
    }
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_checkpoint(tmp_path / 'a.pth')
    assert loaded['message_hub']['log_scalars']['loss'].mean() == 1.75 and loaded['meta'] == content['meta']
    assert loaded['scores'][:3] == content['scores'][:3] and loaded['scores'][3].tolist() == [0, 1, 2]
    assert weights_of(loaded)['a'].tolist() == [1, 1]
    torch.save([1], tmp_path / 'b.pth')
    with pytest.raises(InputError, match='holds list instead of weights by name'):
        load_checkpoint(tmp_path / 'b.pth')


def test_disk(tmp_path):
    config, model = fresh(CONFIG, {'work_dir': str(tmp_path / 'work')})
    assert count_checkpoints(config) == 5  # two kept, two best, one being written
    size = estimate_checkpoint(config, model)
    trained = sum(value.numel() for value in model.parameters())
    state = model.state_dict().values()
    buffers = sum(value.numel() * value.element_size() for value in state) - 4 * trained
    assert size == 4 * 3 * trained + buffers
    config.custom_hooks = [dict(type='EMAHook')]
    assert estimate_checkpoint(config, model) == size + 4 * trained + buffers
    config.default_hooks.checkpoint.save_optimizer, config.custom_hooks = False, []
    assert estimate_checkpoint(config, model) == 4 * trained + buffers
    assert check_disk(config, model) == ([], [])
    config.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=10**9)
    errors, (warning,) = check_disk(config, model)
    assert not errors and '1000000003 checkpoints take' in warning
    (error,), _ = check_disk(config, torch.nn.Linear(10**7, 10**7, device='meta'))
    assert str(error).startswith(f'{tmp_path}/work: has ')
    assert str(error).endswith(
        ' GiB free, but a checkpoint takes 372529.07 GiB; free some space, or give --work-dir on another disk'
    )


def test_what_parts_start_from(tmp_path, resnet50_checkpoint):
    """Fetched and compared before anything is built, in all parts of the model."""
    config = load_config(ROOT / 'configs/cell/mask_rcnn_cbam.py')
    config.model.backbone.init_cfg.checkpoint = str(resnet50_checkpoint)
    model = build_model(config)
    assert check_initial_weights(model) == []  # CBAM's own weights start from scratch
    weights = {f'part.{name}': value for name, value in load_checkpoint(resnet50_checkpoint).items()}
    torch.save({'state_dict': weights}, tmp_path / 'a.pth')
    torch.save({'x': torch.zeros(1)}, tmp_path / 'b.pth')

    def check(part: str, path: Path, **more: object) -> list[str]:
        model.get_submodule(part).init_cfg = [
            dict(type='Xavier'),
            dict(type='Pretrained', checkpoint=str(path), **more),
        ]
        return [str(error) for error in check_initial_weights(model)]

    (line,) = check('neck', tmp_path / 'b.pth')
    assert line.startswith(f'{tmp_path}/b.pth: is not of FPN: ') and 'set model.neck.init_cfg.checkpoint' in line
    (line,) = check('neck', tmp_path / 'none.pth')
    assert line.startswith(f'{tmp_path}/none.pth: is not a checkpoint file') and 'model.neck.init_cfg=None' in line
    model.neck.init_cfg = None
    assert (
        check('backbone', tmp_path / 'a.pth', prefix='part')
        == check('backbone', tmp_path / 'a.pth', prefix='part.')
        == []
    )
    assert 'is not of CBAMResNet: 304 of 304 weights' in check('backbone', tmp_path / 'a.pth')[0]
