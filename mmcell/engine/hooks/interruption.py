"""Ctrl-C and `kill` end a training in order, with a word on how to go on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmcell.engine.hooks.exact_resume import ExactResumeHook
from mmcell.engine.hooks.safe_checkpoints import SafeCheckpointHook, find_checkpoint
from mmcell.engine.launch import command_line
from mmcell.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptionHook(Hook):
    """Saves a checkpoint after the step in which a signal came, if it can be resumed from, and ends the run.

    It also lets the processes that load data ignore Ctrl-C, which a terminal sends to all.

    Args:
        arguments: What `tools/train.py` was called with.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = arguments
        self.stop: Interrupted | None = None
        self.saves = False
        self._checkpoints: SafeCheckpointHook | None = None

    def before_run(self, runner: Runner) -> None:
        """Prepare the loaders, before any hook starts their processes."""
        loops = [runner.train_loop] + ([runner.val_loop] if runner.val_loop is not None else [])
        for loader in (loop.dataloader for loop in loops):
            if loader.num_workers:
                loader.worker_init_fn = partial(_ignore_ctrl_c, loader.worker_init_fn)

    def before_train(self, runner: Runner) -> None:
        """Find out whether the run saves checkpoints that it can go on from in the midst of an epoch."""
        is_exact = any(isinstance(hook, ExactResumeHook) for hook in runner.hooks)
        # Processes get the signal at different steps: one would wait for ever for another's gradients.
        if is_exact and get_world_size() == 1:
            hooks = (hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook))
            self._checkpoints = next(hooks, None)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """From here on there are steps to save; a signal that came while data were waited for ends after this one."""
        if not self.saves:
            self._raise_stop(runner)
        self.saves = self._checkpoints is not None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save, and raise what the signal's handler left to us."""
        if self.stop is not None and self._checkpoints is not None:
            self._checkpoints.save_interrupted(runner)
            self._raise_stop(runner, runner.iter + 1)
        self._raise_stop(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """There is a checkpoint of the whole epoch, or the last steps are repeated."""
        self.saves = False
        self._raise_stop(runner)

    def before_val(self, runner: Runner) -> None:
        """A validation is not waited for: a resumed run repeats it."""
        self.saves = False
        self._raise_stop(runner)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Raise what a library has swallowed."""
        self._raise_stop(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """The best checkpoint is saved, if it was one."""
        self._raise_stop(runner)

    def _raise_stop(self, runner: Runner, saved: int | None = None) -> None:
        """Raise what the signal's handler left to us, or a library has swallowed, with what is there to go on from."""
        if self.stop is not None:
            if is_main_process():
                self.stop.message = _describe(runner, self.arguments, saved)
            raise self.stop


def _ignore_ctrl_c(initialize: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if initialize is not None:
        initialize(worker)


@contextlib.contextmanager
def interruptible(runner: Runner, arguments: Sequence[str]) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into :class:`Interrupted`; a second signal ends the process at once.

    Between the first step of an epoch and its last, the run ends after the step, with a checkpoint; elsewhere, in a
    process of several or without the hooks that this takes, at once. Whatever the run was at, the last checkpoint is
    whole, and a resumed run repeats exactly what came after it.

    Args:
        runner: The runner that trains within.
        arguments: What `tools/train.py` was called with, for the word on how to go on.

    Raises:
        Interrupted: Within.
    """
    hook = InterruptionHook(arguments)
    runner.register_hook(hook, priority='LOWEST')
    parent = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != parent:  # a process that loads data, before it has handlers of its own
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        hook.stop = Interrupted(number, _describe(runner, arguments) if is_main_process() else '')
        if not hook.saves and not any(getattr(each, 'is_saving', False) for each in runner.hooks):
            raise hook.stop
        if not hook.saves:
            return  # a checkpoint is being written
        print('stopping after this step; a second signal stops at once', file=sys.stderr, flush=True)

    before = [signal.signal(number, stop) for number in _SIGNALS]
    try:
        yield
        hook._raise_stop(runner)  # a signal while the last checkpoint was saved
    finally:
        if hook.stop is None:
            for number, handler in zip(_SIGNALS, before, strict=True):
                signal.signal(number, handler)


def _describe(runner: Runner, arguments: Sequence[str], saved: int | None = None) -> str:
    """One line: where the run ended, at the step `saved` if there is a checkpoint of that, and how to go on."""
    checkpoint, _ = find_checkpoint(runner.work_dir)
    command = _without_resume(arguments)
    if '--work-dir' not in command and not any(argument.startswith('--work-dir=') for argument in command):
        command += ['--work-dir', runner.work_dir]
    where = f'interrupted {_describe_progress(runner, saved)}'
    if checkpoint is None:
        return f'{where}, with no checkpoint yet; start again with: {command_line("train", *command)}'
    return f'{where}; continue from {checkpoint.name} with: {command_line("train", *command, "--resume")}'


def _describe_progress(runner: Runner, saved: int | None) -> str:
    loop = runner._train_loop
    if isinstance(loop, dict):
        return 'before training'
    if not isinstance(loop, EpochBasedTrainLoop):
        return f'at iteration {saved or loop.iter + 1} of {loop.max_iters}'
    where = f'in epoch {min(loop.epoch + 1, loop.max_epochs)} of {loop.max_epochs}'
    if saved is None:
        return where
    length = loop.max_iters // loop.max_epochs
    return f'{where} after iteration {saved - loop.epoch * length} of {length}'


def _without_resume(arguments: Sequence[str]) -> list[str]:
    """The arguments less `--resume` and its value; CONFIG is never taken for the value, as argparse would not."""
    kept: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == '--resume':
            if rest and not rest[0].startswith('-'):
                rest.pop(0)
        elif not argument.startswith('--resume='):
            kept.append(argument)
    return kept
