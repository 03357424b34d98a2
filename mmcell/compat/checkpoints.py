"""mmengine reads checkpoints as we do, from wherever, and so runs no code that is in one."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from mmcell.compat.imports import after_import

#: The kinds of addresses that mmengine has loaders of its own for; the first is that of paths.
SCHEMES = (
    '',
    'http://',
    'https://',
    'pavi://',
    r'(\S+\:)?s3://',
    r'(\S+\:)?petrel://',
    'modelzoo://',
    'torchvision://',
    'open-mmlab://',
    'openmmlab://',
    'mmcls://',
)


def load_safely() -> None:
    """From now on mmengine reads checkpoints by :func:`mmcell.io.checkpoints.load_checkpoint`, wherever it does so.

    A pickle can run any program while it is loaded, and mmengine falls back to plain unpickling when the safe way
    fails, or begins with it where a checkpoint has an address: for weights of a backbone, for a checkpoint to go on
    from, for one to test. Whoever else calls :func:`torch.load` in this process, or in those that it starts, loads
    weights only.
    """
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)  # torch takes one of the two
    after_import('mmengine.runner.checkpoint', _register)


def _register(module: ModuleType) -> None:
    module.CheckpointLoader.register_scheme(SCHEMES, loader=load_from_anywhere, force=True)


def load_from_anywhere(filename: str, map_location: Any) -> dict[str, Any]:
    """mmengine's loader, by :func:`mmcell.io.checkpoints.load_checkpoint`."""
    from mmcell.io.checkpoints import load_checkpoint

    return load_checkpoint(filename, map_location or 'cpu')
