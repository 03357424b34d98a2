"""A training that is killed at random moments, again and again, ends as the one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from mmcell.io.checkpoints import load_checkpoint
from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get('MMCELL_KILL_SEED', 1))
KILLS = int(os.environ.get('MMCELL_KILLS', 24))
EPOCHS, STEPS = max(3, KILLS // 2), 3
#: Everything that a run can remember: random transforms in a process of their own, sampled proposals, batch norm, an
#: average of the weights, gradients that wait for the next step, a schedule over all steps, best checkpoints.
CONFIG = f"""
_base_ = '{ROOT}/configs/demo/mask_rcnn_synthetic.py'
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16),
    ),
    test_cfg=dict(rcnn=dict(max_per_img=20)),
)
train_cfg = dict(max_epochs={EPOCHS}, val_interval=2)
train_dataloader = dict(batch_size=1, dataset=dict(indices={STEPS}), num_workers=1, persistent_workers=True)
val_dataloader = dict(num_workers=0, persistent_workers=False)
optim_wrapper = dict(accumulative_counts=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=1))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(vis_backends=vis_backends)
custom_hooks = [dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.1, gamma=3, update_buffers=True)]
"""


class Training:
    """Starts of `tools/train.py` in one work folder."""

    def __init__(self, context, config: Path, work: Path) -> None:
        self.context, self.config, self.work, self.log = context, config, work, work.with_suffix('.log')

    def start(self):
        from kill_driver import train

        arguments = [str(self.config), '--work-dir', str(self.work), '--skip-checks', '--resume']
        process = self.context.Process(target=train, args=(str(self.log), arguments))
        process.start()
        return process

    def rows(self) -> list[dict]:
        """All that was logged; a kill may have cut a line off."""
        found = []
        for path in sorted(self.work.glob('*/vis_data/scalars.json')):
            for line in path.read_text().splitlines():
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
        return found

    def leftovers(self) -> list[Path]:
        return [path for path in self.work.glob('.*') if path.name.startswith(('.epoch', '.best', '.last'))]

    def epochs(self) -> int:
        return max((int(path.stem[6:]) for path in self.work.glob('epoch_*.pth')), default=0)


def wait(process, happened) -> None:
    while process.is_alive() and not happened():
        time.sleep(0.0005)


def kill_at_random(training: Training, rng: random.Random) -> str:
    """Start a training, kill it somewhere, and say where that was."""
    logged, process = len(training.rows()), training.start()
    # Never so late that the run would end before it has been killed often enough.
    kind = rng.choice(['start', 'train', 'save'] if training.epochs() < EPOCHS - 1 else ['start', 'train'])
    if kind == 'start':
        time.sleep(rng.uniform(0, 4))
    elif kind == 'train':
        steps = rng.randint(1, STEPS if training.epochs() < EPOCHS - 1 else 1)
        wait(process, lambda: len(training.rows()) >= logged + steps)
        time.sleep(rng.uniform(0, 0.3))
    else:
        left = set(training.leftovers())
        wait(process, lambda: set(training.leftovers()) - left)
        time.sleep(rng.choice([0, rng.uniform(0, 0.01)]))
    assert process.is_alive(), training.log.read_text()[-3000:]
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if training.leftovers():
        return 'while saving'
    return 'in training' if len(training.rows()) > logged else 'while starting'


def assert_equal(value, expected, where: str) -> None:
    assert type(value) is type(expected), where
    if torch.is_tensor(value):
        assert torch.equal(value, expected), where
    elif isinstance(value, dict):
        assert value.keys() == expected.keys(), where
        for key in value:
            assert_equal(value[key], expected[key], f'{where}.{key}')
    elif isinstance(value, (list, tuple)):
        assert len(value) == len(expected), where
        for index, pair in enumerate(zip(value, expected, strict=True)):
            assert_equal(*pair, f'{where}[{index}]')
    else:
        assert value == expected, where


@pytest.mark.slow
def test_killed_anywhere(tmp_path, monkeypatch, tool, capfd):
    write_class_tiff(tmp_path / 'source', num_images=5, size=(64, 64), num_cells=6)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    (tmp_path / 'tiny.py').write_text(CONFIG)
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['kill_driver'])

    whole = Training(context, tmp_path / 'tiny.py', tmp_path / 'whole')
    process = whole.start()
    process.join()
    assert process.exitcode == 0, whole.log.read_text()[-3000:]
    assert 'no checkpoint in' in whole.log.read_text()

    killed, rng = Training(context, tmp_path / 'tiny.py', tmp_path / 'killed'), random.Random(SEED)
    killed.work.mkdir()
    moments = Counter(kill_at_random(killed, rng) for _ in range(KILLS))
    process = killed.start()
    process.join()
    assert process.exitcode == 0, killed.log.read_text()[-3000:]

    paths = sorted(path.name for path in whole.work.glob('*.pth'))
    assert sorted(path.name for path in killed.work.glob('*.pth')) == paths and not killed.leftovers()
    assert f'epoch_{EPOCHS}.pth' in paths and any(name.startswith('best_') for name in paths)
    for name in paths:
        expected, found = (load_checkpoint(run.work / name) for run in (whole, killed))
        for key in expected.keys() - {'meta', 'message_hub'}:
            assert_equal(found[key], expected[key], f'{name}: {key}')
    # Means over the last fifty steps, which the checkpoints hold as well; times differ.
    true = {(row['step'], 'loss' in row): row for row in whole.rows()}
    assert true.keys() == {(row['step'], 'loss' in row) for row in killed.rows()}
    for row in killed.rows():
        for name, value in true[row['step'], 'loss' in row].items():
            if 'time' not in name and name != 'memory':
                assert row[name] == pytest.approx(value, abs=1e-6, nan_ok=True), (row, name)
    with capfd.disabled():
        print(f'\n{KILLS} kills: {", ".join(f"{n} {where}" for where, n in moments.items())}; nothing lost')
