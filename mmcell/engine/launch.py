"""From command-line arguments to a runner: what train and test have in common."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed, is_main_process
from mmengine.runner import Runner

from mmcell.config import blame, check_fold, load_config, run_name, title
from mmcell.engine.bfloat16 import has_bfloat16
from mmcell.engine.dumping import WholeConfig
from mmcell.engine.hooks.resume_notes import ResumeNotesHook
from mmcell.engine.hooks.safe_checkpoints import find_checkpoint
from mmcell.engine.weights import skip_pretrained
from mmcell.errors import InputError
from mmcell.io.checkpoints import load_checkpoint
from mmcell.io.files import check_writable, locked

#: What each launcher sets in the processes that it starts, and how to start them.
_LAUNCHERS = {
    'pytorch': ('RANK WORLD_SIZE MASTER_ADDR MASTER_PORT', 'start it with tools/dist_train.sh or tools/dist_test.sh'),
    'slurm': ('SLURM_PROCID SLURM_NTASKS SLURM_NODELIST', 'start it with tools/slurm_train.sh or tools/slurm_test.sh'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_LOCAL_RANK OMPI_COMM_WORLD_SIZE MASTER_ADDR',
        "start it with Open MPI's mpirun and MASTER_ADDR, or with tools/dist_train.sh or tools/slurm_train.sh",
    ),
}
_DAY = 86_400  # seconds

#: What may go on once in a folder, which it locks by a file of that name, and the option that names the folder.
_SOLE = {'training': '--work-dir', 'test': '--out'}


def config_from(args: Namespace) -> Config:
    """The config that the arguments of :func:`mmcell.cli.command.add_run_arguments` ask for.

    Raises:
        InputError: See :func:`load_config`, and if the fold is not there or the config shards the model and there is no
            launcher.
    """
    check_launcher(args.launcher)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = load_config(args.config, args.cfg_options, args.base, args.fold)
    check_fold(config)
    config.launcher = args.launcher
    if args.launcher == 'none' and config.get('strategy', {}).get('type') in ('FSDPStrategy', 'DeepSpeedStrategy'):
        raise InputError(title(config), 'shards the model over processes', 'start it with tools/dist_train.sh')
    if args.launcher != 'none' and get_device() == 'cpu':
        _join_on_cpu(config)
    return config


def check_launcher(launcher: str) -> None:
    """Refuse a launcher that has not launched this process, and none in one of several processes.

    Raises:
        InputError: If so.
    """
    if launcher == 'none':
        count = os.environ.get('WORLD_SIZE', '1')
        if 'TORCHELASTIC_RUN_ID' in os.environ and count != '1':
            problem = f'would make each of the {count} processes of torchrun do all the work, in one folder'
            raise InputError('--launcher none', problem, 'add --launcher pytorch, or use tools/dist_train.sh')
        return
    names, cure = _LAUNCHERS[launcher]
    for name in names.split():
        value = os.environ.get(name)
        if value is None or (not name.endswith(('ADDR', 'NODELIST')) and not value.isdigit()):
            problem = f'needs {name}, which {"is not set" if value is None else f"is {value[:20]!r}, no number"}'
            raise InputError(f'--launcher {launcher}', problem, f'{cure}, or leave --launcher out')


def join(launcher: str, local_rank: int) -> None:
    """Join the other processes of a launcher, if there is one; they exchange objects, no tensors, over gloo.

    Args:
        launcher: Which.
        local_rank: Place among the processes of this machine, where no variable says it.

    Raises:
        InputError: See :func:`check_launcher`.
    """
    check_launcher(launcher)
    if launcher != 'none':
        os.environ.setdefault('LOCAL_RANK', str(local_rank))
        # One may wait for the last region of another, or for the files of a slide, for as long as that takes.
        init_dist(launcher, backend='gloo', timeout=_DAY)


def _join_on_cpu(config: Config) -> None:
    """Join the other processes over gloo.

    mmengine's launchers expect an accelerator in each, see :mod:`mmcell.compat.devices`.
    """
    options: dict[str, Any] = {'env_cfg.dist_cfg.backend': 'gloo'}
    if config.get('strategy', {}).get('type') == 'FSDPStrategy':
        options['strategy.model_wrapper.device_id'] = 'cpu'
    elif 'runner_type' in config:
        options['strategy'] = dict(type='DDPStrategy', model_wrapper=dict(device_ids=None))
    else:
        unused = config.get('find_unused_parameters', False)
        wrapper = config.get('model_wrapper_cfg', dict(broadcast_buffers=False, find_unused_parameters=unused))
        options['model_wrapper_cfg'] = dict(wrapper, device_ids=None)
    config.merge_from_dict(options)
    init_dist(config.launcher, **config.env_cfg.dist_cfg)


def choose_work_dir(config: Config, args: Namespace) -> str:
    """The folder of a training: as asked for, or `work_dirs/` and the name of the run.

    What the config itself says counts only for the config itself, not for other bases and folds.
    """
    asked = args.work_dir or (args.cfg_options or {}).get('work_dir')
    if not asked and args.base is None and args.fold is None:
        asked = config.get('work_dir')
    return asked or f'work_dirs/{run_name(config)}'


def choose_precision(config: Config, amp: bool) -> str:
    """Train in mixed precision if asked to, by the config or by `amp`, and if this machine can.

    On a CPU that is bfloat16, and only if `amp` asks for it.

    Returns:
        What the first process is to tell the user, if the config's choice is changed.

    Raises:
        InputError: If `amp` is set and this machine has neither an accelerator nor instructions for bfloat16.
    """
    wrapper = config.optim_wrapper
    if get_device() != 'cpu':
        if amp:
            wrapper.type = 'AmpOptimWrapper'
            wrapper.setdefault('loss_scale', 'dynamic')
        return ''
    if amp and not has_bfloat16():
        problem = 'needs an accelerator or a CPU with AVX512-BF16 or AMX, and this machine has neither'
        raise InputError('--amp', problem, 'leave it out')
    if not amp and wrapper.type != 'AmpOptimWrapper':
        return ''
    for key in ('dtype', 'loss_scale', 'use_fp64'):
        wrapper.pop(key, None)
    wrapper.type = 'BFloat16OptimWrapper' if amp else 'OptimWrapper'
    note = 'mixed precision is bfloat16' if amp else 'training in full precision instead of mixed'
    return f'no accelerator: {note}' if is_main_process() else ''


def choose_checkpoint(config: Config, resume: str | None) -> list[str]:
    """Set what a training resumes from.

    Args:
        config: The config, whose `resume`, without `load_from`, means 'auto' as well.
        resume: A checkpoint; 'auto' for the last one of the run that is whole; None to leave it to the config.

    Returns:
        What the first process is to tell the user.
    """
    if resume not in (None, 'auto'):
        config.resume, config.load_from = True, resume
        return []
    if resume is None and (not config.get('resume') or config.get('load_from')):
        return []
    checkpoint, broken = find_checkpoint(config.work_dir)
    notes = [f'{path} is broken or cut off: skipping it' for path in broken]
    config.resume = checkpoint is not None
    if checkpoint is None:
        notes.append(f'no checkpoint in {config.work_dir}: starting from the beginning')
    else:
        config.load_from = str(checkpoint)
    return notes if is_main_process() else []


def scale_learning_rate(config: Config) -> None:
    """Let mmengine scale the learning rate with the global batch (Goyal et al., arXiv:1706.02677, section 2.1).

    Raises:
        InputError: If the config does not say which batch its learning rate is meant for.
    """
    if 'base_batch_size' not in (config.get('auto_scale_lr') or {}):
        cure = 'set it to the global batch that the learning rate is meant for'
        raise InputError('--auto-scale-lr', 'needs auto_scale_lr.base_batch_size in the config', cure)
    config.auto_scale_lr.enable = True


def command_line(tool: str, *arguments: object) -> str:
    """A command to type, in the form in which this process was started: `mmcell test …` or `python tools/test.py …`.

    >>> command_line('test', 'my config.py')
    "python tools/test.py 'my config.py'"
    """
    installed = Path(sys.argv[0]).name.startswith('mmcell ')
    return shlex.join([*(['mmcell', tool] if installed else ['python', f'tools/{tool}.py']), *map(str, arguments)])


def suggest_test(args: Namespace, checkpoint: Path) -> str:
    """The command that tests what was trained with these arguments."""
    base = [] if args.base is None else ['--base', args.base]
    fold = [] if args.fold is None else ['--fold', args.fold]
    return command_line('test', args.config, checkpoint, *base, *fold)


@contextmanager
def sole(config: Config, what: Literal['training', 'test']) -> Iterator[None]:
    """Keep others of the kind out of the work folder, as long as this process lives.

    Args:
        config: The config.
        what: What is going on.

    Raises:
        InputError: If another one is going on in it, or the folder cannot be written to.
    """
    if config.launcher != 'none' and not is_distributed():
        init_dist(config.launcher, **config.get('env_cfg', {}).get('dist_cfg', {}))
    if not is_main_process():
        yield
        return

    def refuse(holder: str) -> NoReturn:
        problem = f'another {what} is running in this folder ({holder})'
        raise InputError(config.work_dir, problem, f'wait until it ends, or choose another {_SOLE[what]}')

    with locked(Path(config.work_dir) / f'.{what}.lock', refuse):
        yield


def build_runner(config: Config, *loops: str) -> Runner:
    """A runner of the config's type.

    Args:
        config: The config.
        loops: Which of its loops, 'train_loop', 'val_loop' and 'test_loop', to build as well, with their data; mmengine
            builds the others when they run.

    Raises:
        InputError: If something cannot be built, or the work folder not be written to.
    """
    if is_main_process():
        check_writable(config.work_dir)
    with blame(config, 'cannot be run'):
        runner = _build(config)
        for loop in loops:
            getattr(runner, loop)
    return runner


def _build(config: Config) -> Runner:
    from mmdet.registry import RUNNERS

    config = WholeConfig.of(config)
    if 'runner_type' in config:
        runner = RUNNERS.build(config)
    else:
        runner = Runner.from_cfg(config)
        if config.get('load_from'):
            skip_pretrained(runner.model, load_checkpoint(config.load_from, mmap=True))
    runner.register_hook(ResumeNotesHook())
    return runner
