"""A training small enough to be repeated many times, that draws from every random number generator."""

from __future__ import annotations

import contextlib
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

import mmcell  # noqa: F401  registers

SAMPLES, EPOCHS = 6, 3
STEPS = SAMPLES // 2 * EPOCHS


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


def end_workers(runner: Runner) -> None:
    """Let go of the processes that load data.

    The garbage collector would close their pipes before it tells them to end, and then wait five seconds for each.
    """
    runner.train_loop.dataloader._iterator = None
    if hasattr(runner.train_loop, 'dataloader_iterator'):
        runner.train_loop.dataloader_iterator._iterator = None


class Training:
    """Trains in a folder, from the start or from a checkpoint."""

    samples, epochs = SAMPLES, EPOCHS
    dataset, collate = Draws, staticmethod(stack)

    def __init__(self, folder: Path) -> None:
        self.folder, self.starts = folder, itertools.count()

    def __call__(
        self,
        workers: int,
        resume: str | None = None,
        sampler: str = 'DefaultSampler',
        by_epoch: bool = True,
        seed: int | None = 3,
        exact: bool = True,
        persistent: bool = True,
        checkpoint: dict | None = None,
        hooks=(),
        around=lambda runner: contextlib.nullcontext(),
        **settings,
    ):
        """What each step saw and lost, and the weight at the end."""
        torch.manual_seed(0)
        model, record = Noisy(), Record()
        loop = dict(by_epoch=True, max_epochs=EPOCHS) if by_epoch else dict(by_epoch=False, max_iters=STEPS)
        runner = Runner(
            model,
            work_dir=str(self.folder),
            train_dataloader=dict(
                dataset=Draws(),
                batch_size=2,
                num_workers=workers,
                persistent_workers=persistent and workers > 0,
                sampler=dict(type=sampler, shuffle=True),
                collate_fn=stack,
            ),
            train_cfg=dict(loop, val_interval=1),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
            param_scheduler=dict(type='WarmupCosineLR', end=STEPS, by_epoch=False),
            default_hooks=dict(checkpoint=dict(dict(type='SafeCheckpointHook', interval=1), **(checkpoint or {}))),
            custom_hooks=[dict(type='ExactResumeHook')] if exact else [],
            randomness=dict(seed=seed),
            default_scope='mmdet',
            load_from=resume and str(self.folder / resume),
            resume=resume is not None,
            experiment_name=f'{self.folder.name}-{next(self.starts)}',
            **settings,
        )
        for hook in (record, *hooks):
            runner.register_hook(hook)
        try:
            with around(runner):
                runner.train()
        finally:
            end_workers(runner)
        return record.seen, model.linear.weight.detach().clone()

    @staticmethod
    def assert_same(steps, expected) -> None:
        assert len(steps) == len(expected)
        for (data, loss), (true_data, true_loss) in zip(steps, expected, strict=True):
            assert torch.equal(data, true_data) and loss == true_loss


@pytest.fixture
def train(tmp_path, monkeypatch) -> Training:
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)  # between the epochs of iterations
    return Training(tmp_path)
