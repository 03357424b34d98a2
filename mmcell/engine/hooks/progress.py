"""How far a run is, in one line of the terminal, and the numbers that it found."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from tqdm import tqdm

from mmcell.evaluation.headline import COMPARED, DECIDING
from mmcell.report.console import format_scores

#: Steps whose mean is the loss that is shown.
WINDOW = 50
#: Seconds between two lines where there is no terminal to draw a bar on.
PAUSE = 300.0


class _Bar:
    """A progress bar on standard error; where that is no terminal, a line now and then on standard output.

    Args:
        doing: What is being done.
        total: Steps in all.
        done: Steps that an earlier run has done.
        unit: What a step is.
    """

    def __init__(self, doing: str, total: int, done: int = 0, unit: str = 'step') -> None:
        self._doing, self._total, self._first, self._unit = doing, total, done, unit
        self._done, self._start = done, time.monotonic()
        self._next = self._start + PAUSE
        # Smoothed over the whole run: validations belong to the time that is left.
        self._bar = tqdm(
            total=total, initial=done, desc=doing, unit=unit, leave=False, smoothing=0, file=sys.stderr, disable=None
        )

    def update(self, **numbers: float) -> None:
        """Count a step, and show numbers with it."""
        self._done += 1
        shown = {name: f'{value:.3f}' for name, value in numbers.items()}
        if not self._bar.disable:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + PAUSE
            seconds = (time.monotonic() - self._start) / (self._done - self._first) * (self._total - self._done)
            words = [f'{self._doing}: {self._unit} {self._done} of {self._total}']
            words += [f'{name} {value}' for name, value in shown.items()]
            say(', '.join([*words, f'{timedelta(seconds=round(seconds))} left']))

    def close(self) -> None:
        """Leave the terminal to others."""
        self._bar.close()


def say(line: str) -> None:
    """Print a line on standard output, above a progress bar if there is one."""
    tqdm.write(line)
    sys.stdout.flush()


class ProgressHook(Hook):
    """Shows a run of a first process: step, loss, time left, the AP of the last validation.

    It only reads. `tools/train.py` and `tools/test.py` add it by :func:`progress`; no config has it.

    Args:
        draws: Whether to show anything before the end.
    """

    def __init__(self, draws: bool) -> None:
        self._draws = draws and is_main_process()
        self._bars: dict[str, _Bar] = {}
        self._shown: dict[str, float] = {}
        self._validations: list[tuple[str, Mapping[str, float]]] = []

    def before_train(self, runner: Runner) -> None:
        """Begin where the run does."""
        self._open('train', 'training', runner.max_iters, runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """One step more."""
        history = runner.message_hub.log_scalars.get('train/loss')
        loss = {} if history is None else {'loss': float(history.mean(WINDOW))}
        self._update('train', **loss, **self._shown)

    def before_val_epoch(self, runner: Runner) -> None:
        """A second bar, for as long as the validation takes."""
        self._open('val', 'validating', len(runner.val_dataloader), unit='batch')

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """One batch more."""
        self._update('val')

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        """A line of what was found."""
        self._close('val')
        if not metrics:
            return
        when = _describe_progress(runner)
        self._validations.append((when, metrics))
        if DECIDING.logged in metrics:
            self._shown = {DECIDING.name: metrics[DECIDING.logged]}
        numbers = {each.title: metrics[each.logged] for each in COMPARED if each.logged in metrics}
        if self._draws:
            say(', '.join([f'{when}: validated', *(f'{name} {number:.3f}' for name, number in numbers.items())]))

    def before_test_epoch(self, runner: Runner) -> None:
        """A test has one bar."""
        self._open('test', 'predicting', len(runner.test_dataloader), unit='batch')

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """One batch more."""
        self._update('test')

    def after_test_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        """The numbers are for the caller of the runner."""
        self._close('test')

    def close(self) -> None:
        """Remove what a run that broke off has left on the terminal."""
        for name in [*self._bars]:
            self._close(name)

    def summarise(self, runner: Runner, suggest: Callable[[Path], str]) -> list[str]:
        """Lines of text at the end of a training: the best of its validations, what it wrote where, and what is next.

        Args:
            runner: Has trained.
            suggest: The command that tests a checkpoint.

        Returns:
            The lines; none on all processes but the first.
        """
        if not is_main_process():
            return []
        lines = []
        if self._validations:
            when, best = max(self._validations, key=lambda each: each[1].get(DECIDING.logged, 0.0))
            several = f', the best of {len(self._validations)} validations' if len(self._validations) > 1 else ''
            classes: Sequence[str] = runner.val_dataloader.dataset.metainfo.get('classes', ())
            lines += ['', f'{when}{several}:', format_scores(best, classes), '']
        kept = find_kept(runner.work_dir)
        log = _relative(Path(runner.log_dir))
        lines += [f'wrote {", ".join(path.name for path in kept)} to {log.parent}, log and curves to {log.name}/ in it']
        return [*lines, *(f'next: {suggest(path)}' for path in kept[:1])]

    def _open(self, name: str, *arguments: Any, **settings: Any) -> None:
        if self._draws:
            self._bars[name] = _Bar(*arguments, **settings)

    def _update(self, name: str, **numbers: float) -> None:
        if name in self._bars:
            self._bars[name].update(**numbers)

    def _close(self, name: str) -> None:
        if name in self._bars:
            self._bars.pop(name).close()


@contextlib.contextmanager
def progress(runner: Runner, draws: bool = True) -> Iterator[ProgressHook]:
    """Show on the terminal how far a runner is, for as long as the block lasts.

    Args:
        runner: Trains or tests within.
        draws: False where MMEngine's own log says it.
    """
    hook = ProgressHook(draws)
    runner.register_hook(hook, priority='LOWEST')
    try:
        yield hook
    finally:
        hook.close()


def _describe_progress(runner: Runner) -> str:
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop):
        return f'epoch {loop.epoch} of {loop.max_epochs}'
    return f'iteration {loop.iter} of {loop.max_iters}'


def find_kept(work_dir: str | Path) -> list[Path]:
    """What a training leaves to be tested, the checkpoint that decides first: the best ones, or else the last."""

    def order(path: Path) -> tuple[bool, int]:
        return not path.name.startswith(DECIDING.best_checkpoint), -path.stat().st_mtime_ns

    folder = Path(work_dir)
    best = sorted(folder.glob('best_*.pth'), key=order)
    return [_relative(path) for path in best or sorted(folder.glob('*.pth'), key=order)[:1]]


def _relative(path: Path) -> Path:
    """As it was typed, where that is shorter: mmengine keeps absolute paths."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
