"""Runs that are resumed in the midst of an epoch, and the checkpoint of a signal that they are resumed from."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import signal

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

import mmcell  # noqa: F401  registers
from mmcell.engine.interruption import interruptible
from mmcell.engine.safe_checkpoints import find_checkpoint
from mmcell.errors import Interrupted

SAMPLES, EPOCHS = 6, 3
STEPS = SAMPLES // 2 * EPOCHS
EACH_STEP = dict(by_epoch=False, interval=1)


class Draws(Dataset):
    """Samples of what each generator gives: the index, then one number of Python, numpy and torch."""

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(1).item()], dtype=torch.double)


class Noisy(BaseModel):
    """Dropout, a proposal-like choice and momentum: all that a step can remember."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 1).double()
        torch.nn.init.ones_(self.linear.weight)

    def forward(self, inputs, mode='loss'):
        noise = torch.nn.functional.dropout(self.linear(inputs), 0.5) + np.random.rand() + random.random()
        return {'loss': noise.square().mean()} if mode == 'loss' else list(noise)


def stack(samples):
    return {'inputs': torch.stack(samples)}


class Record(Hook):
    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append((data_batch['inputs'].clone(), outputs['loss'].item()))


@pytest.fixture
def train(tmp_path):
    starts = itertools.count()

    def run(
        workers: int,
        resume: str | None = None,
        sampler: str = 'DefaultSampler',
        by_epoch: bool = True,
        seed: int | None = 3,
        checkpoint: dict | None = None,
        hooks=(),
        around=lambda runner: contextlib.nullcontext(),
        **settings,
    ):
        torch.manual_seed(0)
        model, record = Noisy(), Record()
        loop = dict(by_epoch=True, max_epochs=EPOCHS) if by_epoch else dict(by_epoch=False, max_iters=STEPS)
        runner = Runner(
            model,
            work_dir=str(tmp_path),
            train_dataloader=dict(
                dataset=Draws(),
                batch_size=2,
                num_workers=workers,
                persistent_workers=workers > 0,
                sampler=dict(type=sampler, shuffle=True),
                collate_fn=stack,
            ),
            train_cfg=dict(loop, val_interval=1),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
            param_scheduler=dict(type='WarmupCosineLR', end=STEPS, by_epoch=False),
            default_hooks=dict(checkpoint=dict(dict(type='SafeCheckpointHook', interval=1), **(checkpoint or {}))),
            custom_hooks=[dict(type='ExactResumeHook')],
            randomness=dict(seed=seed),
            default_scope='mmdet',
            load_from=resume and str(tmp_path / resume),
            resume=resume is not None,
            experiment_name=f'{tmp_path.name}-{next(starts)}',
            **settings,
        )
        for hook in (record, *hooks):
            runner.register_hook(hook)
        with around(runner):
            runner.train()
        return record.seen, model.linear.weight.detach().clone()

    return run


def assert_same(steps, expected):
    assert len(steps) == len(expected)
    for (data, loss), (true_data, true_loss) in zip(steps, expected, strict=True):
        assert torch.equal(data, true_data) and loss == true_loss


@pytest.mark.parametrize('workers', [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ('by_epoch', 'sampler'), [(True, 'DefaultSampler'), (False, 'InfiniteSampler'), (False, 'DefaultSampler')]
)
def test_a_run_resumes_in_the_midst_of_an_epoch(train, monkeypatch, workers, by_epoch, sampler):
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)  # between the epochs of iterations
    settings = dict(by_epoch=by_epoch, sampler=sampler, checkpoint=EACH_STEP)
    steps, weight = train(workers, **settings)
    for step in (3, 5):  # 3 is the end of an epoch, before its end was counted
        resumed, again = train(workers, f'iter_{step}.pth', **settings)
        assert_same(resumed, steps[step:])
        assert torch.equal(again, weight)


def test_the_order_of_samples_is_that_of_the_run_that_is_resumed(train):
    steps, _ = train(0, seed=None, checkpoint=EACH_STEP)
    for step, seed in ((1, None), (4, 5)):
        resumed, _ = train(0, f'iter_{step}.pth', seed=seed, checkpoint=EACH_STEP)
        assert_same(resumed, steps[step:])


class Validations(BaseMetric):
    """Counts validations."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        self.count += 1
        return {'score': 0.0}


@pytest.mark.parametrize(
    ('by_epoch', 'name', 'validations'),
    # Each epoch is validated, or each step; a checkpoint before a validation lacks that, one amid an epoch does not.
    [(True, 'epoch_2', 2), (True, 'iter_4', 2), (True, 'iter_3', 3), (True, 'iter_9', 1), (False, 'iter_4', 6)],
)
def test_a_validation_that_was_due_is_made_up_for_and_no_other(train, by_epoch, name, validations):
    settings = dict(
        by_epoch=by_epoch,
        checkpoint={} if name.startswith('epoch') else EACH_STEP,
        val_dataloader=dict(dataset=Draws(), collate_fn=stack, sampler=dict(type='DefaultSampler', shuffle=False)),
        val_cfg=dict(),
    )
    train(0, val_evaluator=Evaluator([Validations()]), **settings)
    metric = Validations()
    train(0, f'{name}.pth', val_evaluator=Evaluator([metric]), **settings)
    assert metric.count == validations


class Signal(Hook):
    """Sends this process a signal at the beginning of a step."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize(('step', 'number'), [(4, signal.SIGINT), (5, signal.SIGTERM)])
def test_a_signal_ends_a_run_with_a_checkpoint_of_its_step(train, tmp_path, by_epoch, step, number):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    settings = dict(by_epoch=by_epoch, sampler='DefaultSampler' if by_epoch else 'InfiniteSampler')
    settings['checkpoint'] = dict(by_epoch=by_epoch)
    steps, weight = train(2, **settings)
    around = functools.partial(interruptible, arguments=['config.py', '--resume', 'x.pth', '--amp'])
    try:
        with pytest.raises(Interrupted) as stopped:
            train(2, hooks=[Signal(step, number)], around=around, **settings)
    finally:
        for each, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(each, handler)
    assert stopped.value.status == 128 + number
    where = f'in epoch 2 of 3 after iteration {step - 2} of 3' if by_epoch else f'at iteration {step + 1} of 9'
    command = f'python tools/train.py config.py --amp --work-dir {tmp_path} --resume'
    assert stopped.value.message == f'interrupted {where}; go on from interrupted.pth with: {command}'
    assert find_checkpoint(tmp_path) == (tmp_path / 'interrupted.pth', [])
    resumed, again = train(2, 'interrupted.pth', **settings)
    assert_same(resumed, steps[step + 1 :])
    assert torch.equal(again, weight)
    # Its time is over, and nothing is left of it.
    assert not (tmp_path / 'interrupted.pth').exists()
    assert find_checkpoint(tmp_path)[0] == tmp_path / ('epoch_3.pth' if by_epoch else 'iter_9.pth')
