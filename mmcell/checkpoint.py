"""Checkpoints: refused in one line where they are none, loaded where they are."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcell.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def check_checkpoint(path: str | Path) -> None:
    """Refuse a checkpoint that is no file, or is broken or cut off, before a model is built.

    Raises:
        InputError: If so.
    """
    if not Path(path).is_file():
        raise InputError(path, 'is not a checkpoint file', 'check the path; training writes them to its work folder')
    # A zip, whose end a half-written file lacks; files of torch before 1.6 are bare pickles.
    with Path(path).open('rb') as file:
        if not zipfile.is_zipfile(file) and (file.seek(0) or file.read(1)) != b'\x80':
            raise InputError(path, 'is not a checkpoint, or is cut off', 'take another one of the run')


def load_weights(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Load a checkpoint into a model, all of it into all of the model.

    Nothing that is pickled in the file is executed, except for the few types that mmengine writes.

    Args:
        model: The model, on the CPU.
        path: The checkpoint.

    Returns:
        What else the checkpoint holds, such as `meta`.

    Raises:
        InputError: If it is no checkpoint, or one of another model.
    """
    import torch
    from mmengine.runner.checkpoint import get_torch_safe_globals, load_state_dict

    check_checkpoint(path)
    try:
        with torch.serialization.safe_globals(get_torch_safe_globals()):
            content = torch.load(path, map_location='cpu', weights_only=True)
        load_state_dict(model, content.pop('state_dict', content), strict=True)
    except Exception as error:  # Reading a file that is no checkpoint raises what it likes.
        problem = f'cannot be loaded into the model of the config ({str(error)[:200]})'
        raise InputError(path, problem, 'give a checkpoint of this very config') from None
    return content
