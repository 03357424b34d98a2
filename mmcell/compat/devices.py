"""Processes that join over gloo on machines without an accelerator: mmengine's launchers choose one in each, always."""

from __future__ import annotations

from typing import Any

from mmcell.compat.imports import after_import


def allow_no_device() -> None:
    """From now on `torch.cuda.set_device` does nothing where there is no device; torch raises there."""
    after_import('torch.cuda', _choose_if_any)


def _choose_if_any(module: Any) -> None:
    choose = module.set_device
    if choose.__module__ != module.__name__:  # ours already
        return

    def set_device(device: object) -> None:
        if module.is_available():
            choose(device)

    module.set_device = set_device
