"""Ctrl-C and `kill` end a training in order, with a word on how to go on."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcell.engine.safe_checkpoints import find_checkpoint
from mmcell.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptionHook(Hook):
    """Lets the processes that load data ignore Ctrl-C, which a terminal sends to all, and ends the run after a signal.

    The signal's handler raises at once; where a library swallows that, the next step raises again.
    """

    def __init__(self) -> None:
        self.stop: Interrupted | None = None

    def before_train(self, runner: Runner) -> None:
        """Prepare the loaders, before their processes start."""
        loops = [runner.train_loop] + ([runner.val_loop] if runner.val_loop is not None else [])
        for loader in (loop.dataloader for loop in loops):
            if loader.num_workers:
                loader.worker_init_fn = partial(_ignore_ctrl_c, loader.worker_init_fn)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Raise what was swallowed."""
        if self.stop is not None:
            raise self.stop

    before_val_iter = before_train_iter


def _ignore_ctrl_c(initialize: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if initialize is not None:
        initialize(worker)


@contextlib.contextmanager
def interruptible(runner: Runner, arguments: Sequence[str]) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into :class:`Interrupted`; a second signal ends the process at once.

    Whatever the run was at, the last checkpoint is whole, and a resumed run repeats exactly what came after it.

    Args:
        runner: The runner that trains within.
        arguments: What `tools/train.py` was called with, for the word on how to go on.

    Raises:
        Interrupted: Within.
    """
    hook = InterruptionHook()
    runner.register_hook(hook, priority='LOWEST')
    parent = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != parent:  # a process that loads data, before it has handlers of its own
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        hook.stop = Interrupted(number, _describe(runner, arguments) if is_main_process() else '')
        raise hook.stop

    before = [signal.signal(number, stop) for number in _SIGNALS]
    try:
        yield
    finally:
        if hook.stop is None:
            for number, handler in zip(_SIGNALS, before, strict=True):
                signal.signal(number, handler)


def _describe(runner: Runner, arguments: Sequence[str]) -> str:
    checkpoint, _ = find_checkpoint(runner.work_dir)
    if isinstance(runner._train_loop, dict):
        where = 'interrupted before training'
    else:
        where = f'interrupted in epoch {min(runner.epoch + 1, runner.max_epochs)} of {runner.max_epochs}'
    command = _without_resume(arguments)
    if '--work-dir' not in command and not any(argument.startswith('--work-dir=') for argument in command):
        command += ['--work-dir', runner.work_dir]
    if checkpoint is None:
        return f'{where}, with no checkpoint yet; begin again with: {_join(command)}'
    return f'{where}; go on from {checkpoint.name} with: {_join([*command, "--resume"])}'


def _join(arguments: Sequence[str]) -> str:
    return shlex.join(['python', 'tools/train.py', *arguments])


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
