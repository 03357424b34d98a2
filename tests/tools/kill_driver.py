"""What test_kill.py runs in processes that it kills; imported once, then forked, since imports take seconds."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import mmdet.registry

from mmcell.cli.command import run
from mmcell.engine import launch  # noqa: F401
from mmcell.engine.hooks import interruption  # noqa: F401

for name in ('MODELS', 'DATASETS', 'TRANSFORMS', 'METRICS', 'HOOKS', 'PARAM_SCHEDULERS', 'VISUALIZERS'):
    getattr(mmdet.registry, name).import_from_location()

_TRAIN = Path(__file__).resolve().parents[2] / 'tools/train.py'


def train(log: str, arguments: list[str]) -> None:
    """Run tools/train.py with arguments; its output is appended to a file."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    spec = importlib.util.spec_from_file_location('tools_train', _TRAIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run(module.main, arguments)
