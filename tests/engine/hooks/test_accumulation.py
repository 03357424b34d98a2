"""Accumulated gradients: which steps are taken at which rate, and that a resume changes none."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

import mmcell  # noqa: F401  registers
from mmcell.io.checkpoints import load_checkpoint

BATCHES, EPOCHS, COUNTS = 5, 3, 4


class Line(BaseModel):
    """loss = weight * input, whose gradient is the input."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.double))

    def forward(self, inputs, mode='loss'):
        return {'loss': (self.weight * inputs).sum()}


@pytest.fixture
def train(tmp_path):
    inputs = torch.rand(BATCHES, generator=torch.Generator().manual_seed(0), dtype=torch.double)

    def run(resume: str | None = None, keep: bool = True) -> float:
        runner = Runner(
            Line(),
            work_dir=str(tmp_path),
            train_dataloader=DataLoader([dict(inputs=value) for value in inputs], collate_fn=lambda batch: batch[0]),
            train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0), accumulative_counts=COUNTS),
            param_scheduler=dict(type='WarmupCosineLR', warmup_ratio=0.25, by_epoch=True, convert_to_iter_based=True),
            custom_hooks=[dict(type='KeepGradients')] if keep else [],
            default_scope='mmdet',
            load_from=resume and str(tmp_path / resume),
            resume=resume is not None,
            experiment_name=f'{tmp_path.name}-{resume}-{keep}',
        )
        return runner.train().weight.item()

    return run, inputs.tolist()


def test_the_optimizer_steps_at_the_rate_of_its_last_batch(train):
    run, inputs = train
    steps, weight, waiting = EPOCHS * BATCHES, 0.0, []
    for step in range(steps):
        waiting.append(inputs[step % BATCHES])
        if len(waiting) == COUNTS or step == steps - 1:
            progress = (step - steps / 4) / (steps - steps / 4)
            rate = step / (steps / 4) if progress < 0 else (1 + math.cos(math.pi * progress)) / 2
            weight -= rate * sum(waiting) / len(waiting)
            waiting = []
    assert run() == pytest.approx(weight, rel=1e-12)


def test_a_resumed_run_takes_the_same_steps(train, tmp_path):
    run, _ = train
    whole = run()
    saved = [load_checkpoint(tmp_path / f'epoch_{epoch}.pth') for epoch in (1, 2, 3)]
    assert ['gradients' in checkpoint for checkpoint in saved] == [True, True, False]
    assert run(resume='epoch_1.pth') == whole
    assert run(resume='epoch_2.pth') == whole
    assert run(resume='epoch_1.pth', keep=False) != whole  # what mmengine alone does
