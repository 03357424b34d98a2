"""mmengine's moving average of the weights, through the tools: what is validated, saved, loaded and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from mmcell.engine.predictor import load_model
from mmcell.io.checkpoints import load_checkpoint
from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[3]
MOMENTUM, GAMMA = 0.1, 3
#: As an experiment switches it on, and wrapped in tiles, whose weights change their names.
CONFIG = f"""
_base_ = '{ROOT / 'configs/demo/mask_rcnn_synthetic.py'}'
model = dict(_delete_=True, type='TiledDetector', detector=_base_.model, tile=64, overlap=32)
model['detector']['test_cfg']['rpn']['max_per_img'] = 30
train_cfg = dict(max_epochs=2, val_interval=1)
train_dataloader = dict(batch_size=1, dataset=dict(indices=3), num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
custom_hooks = [
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum={MOMENTUM}, gamma={GAMMA}, update_buffers=True),
    dict(type='RecordWeights', priority='VERY_LOW'),
]
"""


class RecordWeights(Hook):
    """Keeps the weights at the start, after every step, and as they are validated."""

    seen: dict[str, list[dict[str, torch.Tensor]]]

    def before_train(self, runner):
        type(self).seen = {'trained': [copy_state(runner)], 'validated': []}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen['trained'].append(copy_state(runner))

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.seen['validated'].append(copy_state(runner))


def copy_state(runner):
    assert not is_model_wrapper(runner.model)
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


@pytest.fixture
def record():
    HOOKS.register_module(module=RecordWeights, force=True)
    yield RecordWeights
    HOOKS.module_dict.pop('RecordWeights')


@pytest.fixture
def train(tmp_path, monkeypatch, tool):
    """Train on three images in `work/`; returns what the log says about validation."""
    write_class_tiff(tmp_path / 'source', num_images=5, size=(64, 64), num_cells=6)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    (tmp_path / 'averaged.py').write_text(CONFIG)

    def run(*arguments):
        outcome = tool('train', tmp_path / 'averaged.py', '--work-dir', tmp_path / 'work', *arguments)
        assert outcome.status == 0, outcome.err
        log = max(tmp_path.glob('work/*/vis_data/scalars.json')).read_text().splitlines()
        return [row for row in map(json.loads, log) if 'segm/AP50_1000' in row]

    return run


def average(states, mean=None, steps=0):
    """mean += momentum * (weights - mean) after each step, the first time mean = weights; integers stay."""
    for state in states:
        momentum = max(MOMENTUM, GAMMA / (GAMMA + steps)) if steps else 1
        if mean is None:
            mean = {name: value.double() for name, value in state.items()}
        for name, value in state.items():
            if value.is_floating_point():
                mean[name] = mean[name] + momentum * (value.double() - mean[name])
        steps += 1
    return mean


def assert_close(state, expected):
    assert state.keys() == expected.keys()
    for name, value in state.items():
        torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.slow
def test_the_average_is_validated_saved_and_resumed(tmp_path, record, train, tool):
    scores = train('--cfg-options', 'optim_wrapper.optimizer.lr=0.01')
    trained, validated = record.seen['trained'][1:], record.seen['validated']
    assert len(trained) == 6 and not any(name.startswith('detector.') for name in trained[0])
    first, last = (load_checkpoint(tmp_path / f'work/epoch_{epoch}.pth') for epoch in (1, 2))
    assert_close(first['state_dict'], average(trained[:3]))
    assert_close(last['state_dict'], average(trained))
    # Not the weights of the last step, and their batch norm statistics are averaged with them.
    statistics = next(name for name in trained[0] if name.endswith('running_mean'))
    for name in ('backbone.conv1.weight', statistics):
        assert not torch.allclose(last['state_dict'][name], trained[-1][name], rtol=1e-3)
        assert torch.equal(last['ema_state_dict'][f'module.{name}'], trained[-1][name])
    assert_close(validated[-1], last['state_dict'])

    # What tests and predicts is the average, in the wrapper or out of it.
    for config in (tmp_path / 'averaged.py', ROOT / 'configs/demo/mask_rcnn_synthetic.py'):
        model = load_model(config, tmp_path / 'work/epoch_2.pth', 'cpu').network
        assert all(torch.equal(value, last['state_dict'][name]) for name, value in model.state_dict().items())
    outcome = tool('test', tmp_path / 'averaged.py', tmp_path / 'work/epoch_2.pth', '--out', tmp_path / 'val')
    assert outcome.status == 0, outcome.err
    tested = json.loads((tmp_path / 'val/metrics.json').read_text())['metrics']
    assert tested['segm/AP50_1000'] == pytest.approx(scores[-1]['segm/AP50_1000'], abs=1e-4)

    train('--resume', tmp_path / 'work/epoch_1.pth')
    start, *resumed = record.seen['trained']
    assert len(resumed) == 3
    assert all(torch.equal(value, trained[2][name]) for name, value in start.items())
    again = load_checkpoint(tmp_path / 'work/epoch_2.pth')
    assert_close(again['state_dict'], average(resumed, first['state_dict'], steps=3))
    assert again['ema_state_dict']['steps'] == 6
