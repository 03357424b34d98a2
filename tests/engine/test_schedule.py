from __future__ import annotations

import math

import pytest
import torch
from mmdet.registry import PARAM_SCHEDULERS

from mmcell.engine.schedule import WarmupCosineLR


@pytest.mark.parametrize(('epochs', 'epoch_length'), [(60, 7), (4, 1), (3, 10)])
def test_every_step_follows_the_formula(epochs, epoch_length):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    scheduler = PARAM_SCHEDULERS.build(
        {
            'type': 'WarmupCosineLR',
            'warmup_ratio': 0.25,
            'by_epoch': True,
            'convert_to_iter_based': True,
            'end': epochs,
        },
        default_args={'optimizer': optimizer, 'epoch_length': epoch_length},
    )
    steps = epochs * epoch_length
    for step in range(steps):
        warmup = 0.25 * steps
        progress = (step - warmup) / (steps - warmup)
        factor = step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * progress))
        assert optimizer.param_groups[0]['lr'] == pytest.approx(1e-4 * factor, rel=1e-12)
        optimizer.step()
        scheduler.step()
    assert not scheduler.by_epoch


def test_resuming_goes_on_at_the_same_rate():
    def build():
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, WarmupCosineLR(optimizer, end=40, by_epoch=False)

    (whole, schedule), (first, part) = build(), build()
    for _ in range(17):
        schedule.step()
        part.step()
    resumed, rest = build()
    rest.load_state_dict(part.state_dict())
    resumed.load_state_dict(first.state_dict())
    for _ in range(20):
        assert resumed.param_groups[0]['lr'] == whole.param_groups[0]['lr']
        schedule.step()
        rest.step()


@pytest.mark.parametrize('ratio', [-0.1, 1.0])
def test_bad_ratio(ratio):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match='warmup_ratio'):
        WarmupCosineLR(optimizer, end=4, warmup_ratio=ratio)
