"""Reading checkpoints: weights and numbers, and never a line of code.

A pickle can run any program while it is loaded. mmengine itself reads files this way once
:func:`mmcell.compat.install` is called.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import load_state_dict
from numpy._core import multiarray
from torch import nn

from mmcell.errors import InputError


def check_checkpoint(path: str | Path) -> None:
    """Refuse a checkpoint that is no file, or is broken or cut off, without reading it.

    Raises:
        InputError: If so.
    """
    if not Path(path).is_file():
        raise InputError(path, 'is not a checkpoint file', 'check the path; training writes them to its work folder')
    # A zip, whose end a half-written file lacks; files of torch before 1.6 are bare pickles.
    with Path(path).open('rb') as file:
        if not zipfile.is_zipfile(file) and (file.seek(0) or file.read(1)) != b'\x80':
            raise InputError(path, 'is not a checkpoint, or is cut off', 'take another one of the run')


def load_checkpoint(path: str | Path, map_location: Any = 'cpu', mmap: bool = False) -> dict[str, Any]:
    """Read what torch or mmengine saved: tensors, numbers, texts and mmengine's log histories.

    Args:
        path: The checkpoint.
        map_location: See :func:`torch.load`.
        mmap: Leave tensors in the file until they are used: to see only names and shapes takes no time then.

    Raises:
        InputError: If it is no checkpoint, is broken, or holds any other kind of object.
    """
    check_checkpoint(path)
    try:
        with torch.serialization.safe_globals(_SAFE):
            content = torch.load(
                path, map_location=map_location, weights_only=True, mmap=mmap and zipfile.is_zipfile(path)
            )
    except Exception as error:  # A broken file can raise anything.
        if found := re.search(r'GLOBAL (\S+)', str(error)):
            problem = f'holds {found[1]}, which is neither weights nor numbers and could run any program'
            raise InputError(path, problem, 'take a checkpoint that training wrote') from None
        reason = str(error).rpartition('WeightsUnpickler error: ')[2].strip()[:100]
        problem = f'is not a checkpoint, or is broken ({type(error).__name__}: {reason})'
        raise InputError(path, problem, 'take another one of the run') from None
    if not isinstance(content, dict):
        problem = f'holds {type(content).__name__} instead of weights by name'
        raise InputError(path, problem, 'take a checkpoint that training wrote')
    return content


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint into a model, all of it into all of the model.

    Raises:
        InputError: If it is no checkpoint, or one of another model.
    """
    content = load_checkpoint(path)
    try:
        load_state_dict(model, content.get('state_dict', content), strict=True)
    except RuntimeError as error:
        problem = f'does not fit the model of the config ({str(error)[:200]})'
        raise InputError(path, problem, 'give a checkpoint of this very config') from None


def weights_of(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint by name, as mmengine looks for them; other entries are left out."""
    state = content.get('state_dict', content)
    if not isinstance(state, dict):
        return {}
    # What DistributedDataParallel puts in front.
    return {re.sub(r'^module\.', '', str(name)): value for name, value in state.items() if torch.is_tensor(value)}


def _get_statistic(owner: type, name: str) -> Any:
    """What pickle calls `getattr` for in a checkpoint of mmengine: the methods that a history refers to.

    With the real one a file could reach any attribute of any class, such as the globals of a function.
    """
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise ValueError(f'no checkpoint of mmengine refers to {name!r}')
    return getattr(owner, name)


#: Beyond what torch allows itself; pairs are stand-ins and the name that they have in a file.
_SAFE = [
    HistoryBuffer,
    (_get_statistic, 'builtins.getattr'),
    slice,
    np.ndarray,
    np.dtype,
    # Modules were renamed in numpy 2; files of both are read by both.
    *((multiarray._reconstruct, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((multiarray.scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
    *{type(np.dtype(kind)) for kind in '?bBhHiIlLqQefdgFDUS'},
]
