"""A run that is resumed takes the same steps as one that never stopped, whatever it draws and wherever."""

from __future__ import annotations

import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

import mmcell  # noqa: F401  registers
from mmcell.engine.exact_resume import _SeededDataset

SAMPLES, EPOCHS = 6, 3


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
        return {'loss': noise.square().mean()}


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

    def run(workers: int, resume: str | None = None, exact: bool = True, persistent: bool = True):
        torch.manual_seed(0)
        model, record = Noisy(), Record()
        runner = Runner(
            model,
            work_dir=str(tmp_path),
            train_dataloader=dict(
                dataset=Draws(),
                batch_size=2,
                num_workers=workers,
                persistent_workers=persistent and workers > 0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=stack,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
            param_scheduler=dict(type='WarmupCosineLR', by_epoch=True, convert_to_iter_based=True),
            default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook', interval=1)),
            custom_hooks=[dict(type='ExactResumeHook')] if exact else [],
            randomness=dict(seed=3),
            default_scope='mmdet',
            load_from=resume and str(tmp_path / resume),
            resume=resume is not None,
            experiment_name=f'{tmp_path.name}-{next(starts)}',
        )
        runner.register_hook(record)
        runner.train()
        return record.seen, model.linear.weight.detach().clone()

    return run


def assert_same(steps, expected):
    assert len(steps) == len(expected)
    for (data, loss), (true_data, true_loss) in zip(steps, expected, strict=True):
        assert torch.equal(data, true_data) and loss == true_loss


@pytest.mark.parametrize(
    ('workers', 'persistent'),
    [(0, False), pytest.param(2, True, marks=pytest.mark.slow), pytest.param(2, False, marks=pytest.mark.slow)],
)
def test_a_resumed_run_draws_the_same(train, workers, persistent):
    steps, weight = train(workers, persistent=persistent)
    per_epoch = len(steps) // EPOCHS
    for epoch in (1, 2):
        resumed, again = train(workers, f'epoch_{epoch}.pth', persistent=persistent)
        assert_same(resumed, steps[epoch * per_epoch :])
        assert torch.equal(again, weight)
    # Each epoch shows each sample, and no draw comes twice.
    samples = torch.cat([data for data, _ in steps])
    assert samples[:, 0].tolist() != sorted(samples[:, 0].tolist())
    assert sorted(samples[:, 0].tolist()) == sorted([*range(SAMPLES)] * EPOCHS)
    for column in (1, 2, 3):
        assert samples[:, column].unique().numel() == EPOCHS * SAMPLES
    # The number of workers is a matter of speed alone.
    assert_same(train(1 - min(workers, 1))[0], steps)


def test_without_the_hook_it_would_not(train):
    steps, _ = train(0, exact=False)
    resumed, _ = train(0, 'epoch_1.pth', exact=False)
    assert [loss for _, loss in resumed] != [loss for _, loss in steps[-len(resumed) :]]


def test_the_dataset_stays_what_it_was():
    """Hooks and users find the data set's own attributes, and the loader pickles, as spawned workers need."""
    dataset = pickle.loads(pickle.dumps(_SeededDataset(Draws())))
    assert len(dataset) == SAMPLES and dataset[2][0] == 2
    with pytest.raises(AttributeError):
        dataset.nothing  # noqa: B018
    loader = DataLoader(dataset, batch_size=2)
    assert loader.dataset is dataset
