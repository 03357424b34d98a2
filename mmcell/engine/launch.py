"""From command-line arguments to a runner: what train and test have in common."""

from __future__ import annotations

import contextlib
import os
from argparse import Namespace

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from mmcell import checkpoints  # noqa: F401 mmengine then loads checkpoints safely
from mmcell.config import load_config
from mmcell.errors import InputError
from mmcell.torchvision_import import import_torchvision


def config_from(args: Namespace) -> Config:
    """The config that the arguments of :func:`mmcell.cli.add_run_arguments` ask for.

    Raises:
        InputError: See :func:`load_config`.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = load_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    return config


def choose_precision(config: Config, amp: bool) -> str:
    """Train in mixed precision if asked to, by the config or by `amp`, and if this machine can.

    Returns:
        What to tell the user, if the config's choice is changed.

    Raises:
        InputError: If `amp` is set and this machine has no accelerator, which mmengine's mixed precision needs.
    """
    wrapper = config.optim_wrapper
    if get_device() != 'cpu':
        if amp:
            wrapper.type = 'AmpOptimWrapper'
            wrapper.setdefault('loss_scale', 'dynamic')
    elif amp:
        raise InputError('--amp', 'needs an accelerator, and this machine has none', 'leave it out')
    elif wrapper.type == 'AmpOptimWrapper':
        wrapper.type = 'OptimWrapper'
        for key in ('dtype', 'loss_scale', 'use_fp64'):
            wrapper.pop(key, None)
        return 'no accelerator: training in full precision instead of mixed'
    return ''


def build_runner(config: Config) -> Runner:
    """A runner of the config's type; mmengine builds model and loggers, loops and data follow when it runs."""
    # mmengine logs torchvision's version, and breaks off where that is for another build of torch.
    with contextlib.suppress(InputError):
        import_torchvision()
    if 'runner_type' not in config:
        return Runner.from_cfg(config)
    from mmdet.registry import RUNNERS

    return RUNNERS.build(config)
