"""Ablations: several configs trained and tested, each in processes of its own.

What is already done is read from the files that training and testing leave, so that an ablation that was killed goes
on where it was, and runs made by hand with `tools/train.py` are picked up.
"""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
import zipfile
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config, DictAction

from mmcell.config import check_fold, diff_bases, diff_configs, fold_of, load_config, over_or_itself, title
from mmcell.engine.hooks.safe_checkpoints import find_checkpoint
from mmcell.errors import InputError, Interrupted, raise_all
from mmcell.evaluation import pool_truths
from mmcell.evaluation.headline import DECIDING
from mmcell.io.checkpoints import fingerprint
from mmcell.io.files import read_json

Stage = Literal['train', 'resume', 'test', 'done']

# What tools/train.py sets, and what it changes on a CPU, where it falls back from mixed to full precision.
_STARTING = ('launcher', 'resume', 'load_from')
_PRECISION = ('type', 'dtype', 'loss_scale', 'use_fp64')


@dataclass(frozen=True)
class Experiment:
    """One config with one seed on one split.

    Attributes:
        path: The config file.
        options: Settings to override, as `KEY=VALUE`.
        config: The config with these settings.
        work_dir: Parent of the runs' folders.
        seed: The seed, or None for the config's own.
        fold: The fold, or None for the config's own split.
        base: The base that the config was put over, or None for its own.
    """

    path: str
    options: tuple[str, ...]
    config: Config
    work_dir: Path
    seed: int | None = None
    fold: int | None = None
    base: str | Path | None = None

    @property
    def group(self) -> str:
        """Name of the config."""
        return Path(self.path).stem

    @property
    def run(self) -> str:
        """Name of the config, with its seed if seeds were asked for."""
        return self.group if self.seed is None else f'{self.group}_seed{self.seed}'

    @property
    def name(self) -> str:
        """Name of the config, with its seed and fold if such were asked for."""
        return self.run if self.fold is None else f'{self.run}_fold{self.fold}'

    @property
    def folder(self) -> Path:
        """Where the run lives: checkpoints and logs, the test in `test/`."""
        return self.work_dir / self.name

    @property
    def length(self) -> tuple[str, int]:
        """What training counts, 'epoch' or 'iter', and how many of them it takes."""
        loop = self.config.train_cfg
        return ('epoch', loop.max_epochs) if 'max_epochs' in loop else ('iter', loop.max_iters)


@dataclass(frozen=True)
class Progress:
    """How far an experiment is.

    Attributes:
        stage: What is to be done next.
        reached: Epochs or iterations of training whose checkpoint there is.
        checkpoint: What to resume from or to test; None to train from the start.
    """

    stage: Stage
    reached: int
    checkpoint: Path | None


def list_experiments(
    paths: Sequence[str],
    work_dir: str | Path,
    seeds: Sequence[int] = (),
    options: Sequence[str] = (),
    folds: bool | Sequence[int] = False,
    base: str | Path | None = None,
) -> list[Experiment]:
    """Every config with every seed on every fold, loaded and checked.

    Args:
        paths: Config files; the first is the one that the others are compared with.
        work_dir: Parent of the runs' folders.
        seeds: Seeds; none for the one that each config has.
        options: Settings to override in all of them, as `KEY=VALUE`.
        folds: Folds to use instead of a config's own split; True for each that there is.
        base: Another base for all configs, except for the one that it is: that is the baseline.

    Raises:
        InputError: If a config, the base or an option cannot be used, two configs have one name, there are no such
            folds, or they cannot be scored as one set of images.
        InputErrors: If a config has several unknown settings.
    """
    experiments: dict[str, Experiment] = {}
    for path in paths:
        over = over_or_itself(path, base)
        for seed in seeds or (None,):
            own = (*options, *(() if seed is None else (f'randomness.seed={seed}',)))
            for config in _load(path, own, over, folds):
                experiment = Experiment(str(path), own, config, Path(work_dir), seed, fold_of(config), over)
                if experiment.name in experiments:
                    problem = f'is a second run with the name {experiment.name!r}'
                    raise InputError(path, problem, 'rename the config or leave it out')
                experiments[experiment.name] = experiment
    # Else what cannot be scored, or not as one set of images, would be found once all is trained.
    truths: dict[str, list[Path]] = {}
    for experiment in experiments.values():
        truths.setdefault(experiment.run, []).append(find_truth(experiment.config))
    if folds:
        for together in set(map(tuple, truths.values())):
            pool_truths(together)
    return list(experiments.values())


def find_progress(experiment: Experiment) -> Progress:
    """How far an experiment is, by its files.

    Training is finished when the checkpoint of the last epoch is there; the test, when `test/metrics.json` is of the
    checkpoint in which :data:`DECIDING` is highest, else of the last.

    Raises:
        InputError: If the folder holds a run with other settings.
    """
    _check_settings(experiment)
    unit, length = experiment.length
    reached, latest = _newest(experiment.folder, rf'{unit}_(\d+)\.pth')
    if reached < length:
        # What a signal ended lies further on, in the midst of an epoch.
        latest, _ = find_checkpoint(experiment.folder)
    if latest is None:
        return Progress('train', 0, None)
    if reached < length:
        return Progress('resume', reached, latest)
    best = _newest(experiment.folder, rf'{DECIDING.best_checkpoint}{unit}_(\d+)\.pth')[1] or latest
    return Progress('done' if _is_tested(experiment.folder, best) else 'test', reached, best)


def describe(experiment: Experiment, progress: Progress) -> str:
    """One line of the plan."""
    unit, length = experiment.length
    done = f'{unit} {progress.reached} of {length}'
    what = {
        'train': f'train {length} {unit}s, then test',
        'resume': f'resume after {done}, then test',
        'test': f'test {progress.checkpoint}',
        'done': f'done ({progress.checkpoint})',
    }
    return f'{experiment.name}: {what[progress.stage]}'


def run_experiments(
    experiments: Sequence[Experiment], work_dir: str | Path, tools: str | Path, verbose: bool = False
) -> list[InputError]:
    """Train and test what is not yet, in processes of their own: one that crashes does not stop the others.

    Args:
        experiments: From :func:`list_experiments`.
        work_dir: As there.
        tools: The folder of `train.py` and `test.py`.
        verbose: Whether they show MMEngine's whole log.

    Returns:
        An error for each experiment that did not get to its end.

    Raises:
        InputError: If a folder cannot be written to or holds a run with other settings.
    """
    errors = []
    with _sole_use(Path(work_dir)) as lock:
        for experiment in experiments:
            for stages in (('train', 'resume'), ('test',)):
                progress = find_progress(experiment)
                if progress.stage not in stages:
                    continue
                print(f'=== {describe(experiment, progress)}', flush=True)
                command = _command(experiment, progress, Path(tools)) + ['--verbose'] * verbose
                status = _run(command, lock)
                if status or find_progress(experiment).stage in stages:
                    problem = f'failed to {progress.stage} (exit status {status})'
                    cure = 'see its messages above, then run the command again: finished work is not repeated'
                    errors.append(InputError(experiment.folder, problem, cure))
                    break
    return errors


def _run(command: Sequence[str], lock: int) -> int:
    """Run a tool that holds the lock, too; one that is stopped with this process comes to its own end."""
    process = subprocess.Popen(command, pass_fds=(lock,))
    try:
        return process.wait()
    except Interrupted:
        process.terminate()
        raise
    finally:
        process.wait()  # a terminal sends Ctrl-C to both


def _load(path: str, options: Sequence[str], base: str | Path | None, folds: bool | Sequence[int]) -> list[Config]:
    """A config on its own split, on certain folds, or on each fold of its data set whose annotation file is there."""

    def load(fold: int | None) -> Config:
        return load_config(path, _parse_options(options), base, fold)

    if folds is not True:
        configs = [load(fold) for fold in folds or (None,)]
        for config in configs:
            check_fold(config)
        return configs
    configs = [load(0)]
    check_fold(configs[0])
    while find_truth(config := load(len(configs))).is_file():
        if find_truth(config) == find_truth(configs[0]):
            cure = 'leave the ann_file of val_evaluator out of --cfg-options'
            raise InputError(title(config), 'has the same val images in each fold', cure)
        configs.append(config)
    return configs


def find_truth(config: Config) -> Path:
    """Annotation file of the val images.

    Raises:
        InputError: If no metric of `val_evaluator` names one.
    """
    evaluators = config.val_evaluator if isinstance(config.val_evaluator, list) else [config.val_evaluator]
    for evaluator in evaluators:
        if evaluator and evaluator.get('ann_file'):
            return Path(evaluator.ann_file)
    problem = 'names no annotation file to score against'
    raise InputError(f'val_evaluator of {title(config)}', problem, "use dict(type='DenseCocoMetric', ann_file=...)")


def _parse_options(options: Sequence[str]) -> dict[str, Any]:
    unfit = [
        InputError('--cfg-options', f'{option!r} is not a setting', 'write KEY=VALUE')
        for option in options
        if '=' not in option
    ]
    raise_all(unfit)
    parser = ArgumentParser()
    parser.add_argument('--options', nargs='*', action=DictAction, default={})
    return parser.parse_args(['--options', *options]).options


def _newest(folder: Path, pattern: str) -> tuple[int, Path | None]:
    """Number and path of the checkpoint with the highest number; 0 and None if there is none.

    A process that is killed while it saves leaves half a file. Checkpoints are zip archives, whose end tells.
    """
    found = [(int(match[1]), path) for path in folder.glob('*.pth') if (match := re.fullmatch(pattern, path.name))]
    return max((each for each in found if zipfile.is_zipfile(each[1])), default=(0, None))


def _is_tested(folder: Path, checkpoint: Path) -> bool:
    metrics = folder / 'test/metrics.json'
    if not metrics.is_file():
        return False
    record = read_json(metrics)
    # Not by the times of the files: clocks are set back, and copies get new ones.
    return isinstance(record, dict) and record.get('fingerprint') == fingerprint(checkpoint)


def _check_settings(experiment: Experiment) -> None:
    """Refuse to pass a run for one of another config: mmengine leaves the config in the run's folder."""
    dumped = experiment.folder / Path(experiment.path).name
    if not dumped.is_file() or not dumped.stat().st_size:  # a kill while mmengine itself dumped it
        return
    there = load_config(dumped)
    changed = diff_configs(_essence(there), _essence(experiment.config))
    if changed:
        changed = [*diff_bases(there, experiment.config), *changed]
        problem = f'holds a run with other settings ({changed[0]}{", …" if len(changed) > 1 else ""})'
        raise InputError(experiment.folder, problem, 'choose another --work-dir, or remove that run')


def _essence(config: Config) -> dict[str, Any]:
    """Settings without what depends on how and where training was started."""
    settings = {key: value for key, value in config.to_dict().items() if key not in _STARTING}
    wrapper = {key: value for key, value in settings['optim_wrapper'].items() if key not in _PRECISION}
    return {**settings, 'optim_wrapper': wrapper}


def _command(experiment: Experiment, progress: Progress, tools: Path) -> list[str]:
    options = [] if experiment.base is None else ['--base', str(experiment.base)]
    options += [] if experiment.fold is None else ['--fold', str(experiment.fold)]
    options += ['--cfg-options', *experiment.options] if experiment.options else []
    if progress.stage == 'test':
        command = [tools / 'test.py', experiment.path, progress.checkpoint, '--out', experiment.folder / 'test']
    else:
        command = [tools / 'train.py', experiment.path, '--work-dir', experiment.folder]
        command += ['--resume', progress.checkpoint] if progress.checkpoint else []
    return [sys.executable, *map(str, command), *options]


@contextmanager
def _sole_use(folder: Path) -> Iterator[int]:
    """Keep other ablations out of a folder; yields a file descriptor for the processes that are started to inherit.

    They hold the lock with it: a training that outlives its killed ablation is waited for, not started twice.
    """
    path = folder / '.lock'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open('w')
    except OSError as error:
        raise InputError(path, f'cannot be written ({error.strerror})', 'choose another --work-dir') from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'{folder}: another run is active in this folder; waiting for it to end', file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
