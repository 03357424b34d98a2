"""mmengine logs a line without importing torch, which takes seconds, only to hear that no other process is there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mmcell.compat.imports import after_import


def log_without_torch() -> None:
    """A logger that is made before torch is imported takes itself for that of the first process, which it is."""
    after_import('mmengine.logging.logger', _ask_torch_only_if_imported)


def _ask_torch_only_if_imported(module: Any) -> None:
    if module._get_rank.__module__ == module.__name__:  # not ours yet
        module._get_rank = _zero_before_torch(module._get_rank)
        module._get_device_id = _zero_before_torch(module._get_device_id)


def _zero_before_torch(ask: Callable[[], int]) -> Callable[[], int]:
    return lambda: ask() if 'torch' in sys.modules else 0
