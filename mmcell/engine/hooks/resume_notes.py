"""A word on what a resumed training does that its config does not say."""

from __future__ import annotations

import sys
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmcell.engine.resuming import check_state, compare_schedules
from mmcell.errors import raise_all


class ResumeNotesHook(Hook):
    """Looks at the checkpoint that a run goes on from, once all is built and before a step is taken.

    What can be told before anything is built, :mod:`mmcell.preflight` tells.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Print what differs.

        Raises:
            InputError: If the checkpoint holds no state of a training, or that of other schedulers.
        """
        if not runner._resume:
            return
        path = runner._load_from or 'the last checkpoint'
        raise_all(check_state(path, checkpoint))
        lines: list[str] = []
        if isinstance(schedulers := getattr(runner, 'param_schedulers', None), list):
            errors, lines = compare_schedules(path, schedulers, checkpoint.get('param_schedulers'))
            raise_all(errors)
        lines += _compare_lengths(runner, checkpoint)
        if is_main_process():
            for line in lines:
                print(f'note: {line}', file=sys.stderr, flush=True)


def _compare_lengths(runner: Runner, checkpoint: dict[str, Any]) -> list[str]:
    meta, loop = checkpoint['meta'], runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    unit, length = ('epoch', loop.max_epochs) if by_epoch else ('iter', loop.max_iters)
    if meta[unit] >= length:
        return [f'{unit} {meta[unit]} of {length} is reached, nothing is left to train: raise train_cfg.max_{unit}s']
    if not by_epoch or not meta['epoch']:
        return []
    state = checkpoint.get('exact_resume')
    done = state.get('batches_done', 0) if isinstance(state, dict) else 0
    before, now = (meta['iter'] - done) / meta['epoch'], len(loop.dataloader)
    if before == now:
        return []
    return [f'an epoch has {now} batches, and had {before:g} before: the data, batch_size or processes have changed']
