"""Reading checkpoints: weights and numbers, and never a line of code, wherever they come from.

A pickle can run any program while it is loaded; `.safetensors` hold none. mmengine itself reads checkpoints this way
once :func:`mmcell.compat.install` is called.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import load_state_dict
from numpy._core import multiarray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from mmcell.errors import InputError
from mmcell.io.addresses import locate, strip_classifier
from mmcell.io.files import check_file, digest_file, write_bytes
from mmcell.io.pickles import check_pickle
from mmcell.io.shipped import read_sums

#: The entry of a safetensors header that holds our facts: it may hold texts only, so they are JSON.
_FACTS = 'mmcell'


def check_checkpoint(path: str | Path) -> None:
    """Refuse a checkpoint that is no file, or is broken or cut off, without reading it.

    Raises:
        InputError: If so.
    """
    try:
        size = check_file(path)
    except InputError as error:
        if names := str(path).isidentifier() and list(read_sums()):
            problem = 'is neither a checkpoint file nor a model that comes with mmcell'
            raise InputError(path, problem, f'check the path, or choose from {", ".join(names)}') from None
        problem = f'is not a checkpoint file: {error.problem}'
        raise InputError(path, problem, 'check the path; training writes them to its work folder') from None
    # A zip, whose end a half-written file lacks; files of torch before 1.6 are bare pickles.
    try:
        with Path(path).open('rb') as file:
            if not zipfile.is_zipfile(file):
                broken = file.seek(0) or file.read(1) != b'\x80'
            else:
                # torch packs nothing: what unpacks to more than the file holds is a bomb.
                broken = sum(each.file_size for each in zipfile.ZipFile(file).infolist()) > size
    except OSError as error:
        raise InputError(path, f'cannot be read ({error.strerror})', 'check its permissions') from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError):
        broken = True
    if broken:
        raise InputError(path, 'is not a checkpoint, or is cut off', 'take another one of the run')


def load_checkpoint(address: str | Path, map_location: Any = 'cpu', mmap: bool = False) -> dict[str, Any]:
    """Read what torch or mmengine saved: tensors, numbers, texts and mmengine's log histories; or `.safetensors`.

    Args:
        address: The checkpoint: a path, a name or an address as :func:`mmcell.io.addresses.locate` takes them.
        map_location: See :func:`torch.load`.
        mmap: Leave tensors in the file until they are used: to see only names and shapes takes no time then.

    Raises:
        InputError: If it cannot be fetched, is no checkpoint, is broken, or holds any other kind of object.
    """
    path = locate(address, _check_fetched)
    if path.suffix == '.safetensors':
        return strip_classifier(address, _read_safetensors(path, map_location))
    check_checkpoint(path)
    is_zip = zipfile.is_zipfile(path)
    try:
        with path.open('rb') as file:
            _check_pickles(file, is_zip)
    except (ValueError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        problem = f'is not a checkpoint, or is broken ({str(error)[:100]})'
        raise InputError(address, problem, 'take another one of the run') from None
    try:
        with torch.serialization.safe_globals(_SAFE):
            content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap and is_zip)
    except Exception as error:  # A broken file can raise anything.
        if found := re.search(r'GLOBAL (\S+)', str(error)):
            problem = f'holds {found[1]}, which is neither weights nor numbers and could run any program'
            raise InputError(address, problem, 'take a checkpoint that training wrote') from None
        reason = str(error).rpartition('WeightsUnpickler error: ')[2].strip()[:100]
        problem = f'is not a checkpoint, or is broken ({type(error).__name__}: {reason})'
        raise InputError(address, problem, 'take another one of the run') from None
    if not isinstance(content, dict):
        problem = f'holds {type(content).__name__} instead of weights by name'
        raise InputError(address, problem, 'take a checkpoint that training wrote')
    if isinstance(content.get('meta'), dict):
        # mmengine would run this text as a config to see how many GPUs there were; nothing of today writes it.
        content['meta'].pop('config', None)
    elif not torch.is_tensor(content.get('meta')):
        content.pop('meta', None)
    return strip_classifier(address, content)


def _check_fetched(path: Path) -> None:
    if path.suffix != '.safetensors':
        check_checkpoint(path)


def _check_pickles(file: io.BufferedReader, is_zip: bool) -> None:
    """Refuse pickles that would keep torch busy.

    Raises:
        ValueError: If there is one.
    """
    if not is_zip:
        while check_pickle(file) and file.peek(1)[:1] == b'\x80':  # one after the other, then bare numbers
            pass
        return
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.filename.endswith('.pkl'):
                with archive.open(member) as inner:
                    raw: Any = inner  # typeshed takes it for one that BufferedReader cannot wrap
                    check_pickle(io.BufferedReader(raw))


def _read_safetensors(path: str | Path, map_location: Any) -> dict[str, Any]:
    """Weights and what :func:`save_safetensors` wrote beside them; other files' metadata are no business of ours."""
    check_file(path)
    try:
        with safe_open(path, 'pt') as file:
            state = {name: file.get_tensor(name).to(map_location) for name in file.keys()}
            facts = json.loads((file.metadata() or {}).get(_FACTS, '{}'))
    except (OSError, ValueError, SafetensorError) as error:
        problem = f'cannot be read as safetensors ({type(error).__name__}: {str(error)[:100]})'
        raise InputError(path, problem, 'check the path, or fetch the file again') from None
    return {'state_dict': state, 'meta': facts if isinstance(facts, dict) else {}}


def save_safetensors(path: str | Path, state: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write weights, and what is to be known of them, as a file that cannot run anything when it is read.

    Args:
        path: The file.
        state: The weights by name.
        facts: What :func:`load_checkpoint` gives as `meta`, ready for JSON.

    Raises:
        InputError: If the file cannot be written.
    """
    metadata = {'format': 'pt', _FACTS: json.dumps(facts, allow_nan=False)}
    write_bytes(path, save({name: value.contiguous() for name, value in state.items()}, metadata))


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


def fingerprint(path: str | Path) -> str:
    """What tells a checkpoint from others, whatever it is called and whenever it was written.

    The checksums of its parts, which a zip lists; of what is none, that of the file.

    Raises:
        InputError: If it is no checkpoint file, or is broken.
    """
    if Path(path).suffix == '.safetensors':
        return digest_file(path)[:16]
    check_checkpoint(path)
    with Path(path).open('rb') as file:
        if not zipfile.is_zipfile(file):
            return digest_file(path)[:16]
        parts = [
            (each.filename.partition('/')[2], each.CRC, each.file_size) for each in zipfile.ZipFile(file).infolist()
        ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def weights_of(content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
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
