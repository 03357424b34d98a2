"""Keeps messages off the terminal that nobody who runs a tool can act on.

Each is named by its exact text; anything else that a library says, and the same message in other words after an
update, is shown. A message that one can act on never belongs here.
"""

from __future__ import annotations

import builtins
import logging
import warnings
from types import ModuleType

from mmcell.compat.imports import after_import

#: What MMDetection and MMEngine say at every start.
MESSAGES = frozenset(
    {
        # mmdet.datasets, twice: an optional package of its makers' own. Meant for debugging (it passes that level), but
        # printed, because it names no logger.
        'Could not import OneDL. Skipping OneDL datasets.',
        # mmengine's CheckpointHook, before training, about itself: no setting of the hook avoids it.
        '"FileClient" will be deprecated in future. Please use io functions in '
        'https://onedl-mmengine.readthedocs.io/en/latest/api/fileio.html#file-io',
        '"HardDiskBackend" is the alias of "LocalBackend" and the former will be deprecated in future.',
    }
)


def _print(*values: object, **options: object) -> None:
    if len(values) != 1 or values[0] not in MESSAGES:
        builtins.print(*values, **options)


def _handle(self: logging.Logger, record: logging.LogRecord) -> None:
    if record.getMessage() not in MESSAGES:
        logging.Logger.handle(self, record)


def silence() -> None:
    """Drop :data:`MESSAGES` in this process, and what tifffile logs about a broken file that we refuse ourselves."""
    after_import('mmengine.logging.logger', _silence_mmengine)
    logging.getLogger('tifffile').setLevel(logging.CRITICAL)
    # torch, of a checkpoint that is no checkpoint: we refuse it in one line that says so.
    warnings.filterwarnings('ignore', 'Detected pickle protocol', UserWarning, r'torch\._weights_only_unpickler')


def _silence_mmengine(module: ModuleType) -> None:
    # The two ways out of mmengine's `print_log`; neither has a setting, and a run makes loggers of its own.
    module.print = _print
    module.MMLogger.handle = _handle
