"""Runs that are resumed in the midst of an epoch, and the checkpoint of a signal that they are resumed from."""

from __future__ import annotations

import functools
import os
import signal

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook

from mmcell.engine.hooks.interruption import interruptible
from mmcell.engine.hooks.safe_checkpoints import find_checkpoint
from mmcell.errors import Interrupted
from mmcell.io.checkpoints import load_checkpoint

EACH_STEP = dict(by_epoch=False, interval=1)


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(
    ('by_epoch', 'sampler'), [(True, 'DefaultSampler'), (False, 'InfiniteSampler'), (False, 'DefaultSampler')]
)
def test_a_run_resumes_in_the_midst_of_an_epoch(train, workers, by_epoch, sampler):
    settings = dict(by_epoch=by_epoch, sampler=sampler, checkpoint=EACH_STEP)
    steps, weight = train(workers, **settings)
    for step in (3, 5):  # 3 is the end of an epoch, before its end was counted
        resumed, again = train(workers, f'iter_{step}.pth', **settings)
        train.assert_same(resumed, steps[step:])
        assert torch.equal(again, weight)


def test_the_order_of_samples_is_that_of_the_run_that_is_resumed(train):
    steps, _ = train(0, seed=None, checkpoint=EACH_STEP)
    for step, seed in ((1, None), (4, 5)):
        resumed, _ = train(0, f'iter_{step}.pth', seed=seed, checkpoint=EACH_STEP)
        train.assert_same(resumed, steps[step:])


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


def validated(train):
    sampler = dict(type='DefaultSampler', shuffle=False)
    return dict(val_dataloader=dict(dataset=train.dataset(), collate_fn=train.collate, sampler=sampler), val_cfg=dict())


@pytest.mark.parametrize(
    ('by_epoch', 'name', 'validations'),
    # Each epoch is validated, or each step; a checkpoint before a validation lacks that, one amid an epoch does not.
    [(True, 'epoch_2', 2), (True, 'iter_4', 2), (True, 'iter_3', 3), (True, 'iter_9', 1), (False, 'iter_4', 6)],
)
def test_a_validation_that_was_due_is_made_up_for_and_no_other(train, by_epoch, name, validations):
    settings = dict(
        by_epoch=by_epoch,
        checkpoint={} if name.startswith('epoch') else EACH_STEP,
        val_dataloader=dict(
            dataset=train.dataset(), collate_fn=train.collate, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        val_cfg=dict(),
    )
    train(0, val_evaluator=Evaluator([Validations()]), **settings)
    metric = Validations()
    train(0, f'{name}.pth', val_evaluator=Evaluator([metric]), **settings)
    assert metric.count == validations


class NoValidation(Hook):
    """Ends the run where the first validation would begin."""

    def before_val(self, runner):
        raise KeyboardInterrupt


def test_a_validation_that_is_made_up_for_saves_what_the_lost_one_did(train, tmp_path):
    settings = dict(checkpoint=dict(save_best='score', rule='greater', max_keep_ckpts=5), **validated(train))
    best = tmp_path / 'best_score_epoch_1.pth'
    train(0, val_evaluator=Evaluator([Validations()]), **settings)
    expected = load_checkpoint(best)
    for path in tmp_path.glob('*.pth'):
        path.unlink()
    with pytest.raises(KeyboardInterrupt):
        train(0, hooks=[NoValidation()], val_evaluator=Evaluator([Validations()]), **settings)
    assert not best.exists()
    train(0, 'epoch_1.pth', val_evaluator=Evaluator([Validations()]), **settings)
    found = load_checkpoint(best)
    assert found['exact_resume'] == expected['exact_resume']
    assert all(torch.equal(found['state_dict'][key], value) for key, value in expected['state_dict'].items())


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
    assert stopped.value.message == f'interrupted {where}; continue from interrupted.pth with: {command}'
    assert find_checkpoint(tmp_path) == (tmp_path / 'interrupted.pth', [])
    resumed, again = train(2, 'interrupted.pth', **settings)
    train.assert_same(resumed, steps[step + 1 :])
    assert torch.equal(again, weight)
    # Its time is over, and nothing is left of it.
    assert not (tmp_path / 'interrupted.pth').exists()
    assert find_checkpoint(tmp_path)[0] == tmp_path / ('epoch_3.pth' if by_epoch else 'iter_9.pth')
