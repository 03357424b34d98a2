"""A run that is resumed takes the same steps as one that never stopped, whatever it draws and wherever."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from mmcell.engine.hooks.exact_resume import _SeededDataset


@pytest.mark.parametrize(
    ('workers', 'persistent'),
    [(0, False), (2, True), (2, False)],
)
def test_a_resumed_run_draws_the_same(train, workers, persistent):
    steps, weight = train(workers, persistent=persistent)
    per_epoch = len(steps) // train.epochs
    for epoch in (1, 2):
        resumed, again = train(workers, f'epoch_{epoch}.pth', persistent=persistent)
        train.assert_same(resumed, steps[epoch * per_epoch :])
        assert torch.equal(again, weight)
    # Each epoch shows each sample, and no draw comes twice.
    samples = torch.cat([data for data, _ in steps])
    assert samples[:, 0].tolist() != sorted(samples[:, 0].tolist())
    assert sorted(samples[:, 0].tolist()) == sorted([*range(train.samples)] * train.epochs)
    for column in (1, 2, 3):
        assert samples[:, column].unique().numel() == train.epochs * train.samples
    # The number of workers is a matter of speed alone.
    train.assert_same(train(1 - min(workers, 1))[0], steps)


def test_without_the_hook_it_would_not(train):
    steps, _ = train(0, exact=False)
    resumed, _ = train(0, 'epoch_1.pth', exact=False)
    assert [loss for _, loss in resumed] != [loss for _, loss in steps[-len(resumed) :]]


def test_the_dataset_stays_what_it_was(train):
    """Hooks and users find the data set's own attributes, and the loader pickles, as spawned workers need."""
    dataset = pickle.loads(pickle.dumps(_SeededDataset(train.dataset())))
    assert len(dataset) == train.samples and dataset[2][0] == 2
    with pytest.raises(AttributeError):
        dataset.nothing  # noqa: B018
    loader = DataLoader(dataset, batch_size=2)
    assert loader.dataset is dataset
