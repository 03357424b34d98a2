"""mmengine reads local checkpoints as we do, and so runs no code that is in one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from mmcell.compat.imports import after_import


def load_safely() -> None:
    """From now on mmengine reads local files by :func:`mmcell.io.checkpoints.load_checkpoint`, wherever it does so.

    A pickle can run any program while it is loaded, and mmengine falls back to plain unpickling when the safe way
    fails: for weights of a backbone, for a checkpoint to go on from, for one to test.
    """
    after_import('mmengine.runner.checkpoint', _register)


def _register(module: ModuleType) -> None:
    module.CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)


def load_from_local(filename: str, map_location: Any) -> dict[str, Any]:
    """mmengine's loader of local files, by :func:`mmcell.io.checkpoints.load_checkpoint`."""
    from mmcell.io.checkpoints import load_checkpoint

    return load_checkpoint(Path(filename).expanduser(), map_location or 'cpu')
