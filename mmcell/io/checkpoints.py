"""Reading checkpoints: weights and numbers, and never a line of code, wherever they come from.

A pickle can run any program while it is loaded; `.safetensors` hold none. mmengine itself reads checkpoints this way
once :func:`mmcell.compat.install` is called.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import load_state_dict
from numpy._core import multiarray
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from mmcell.errors import InputError, show
from mmcell.io.addresses import locate, strip_classifier
from mmcell.io.files import check_file, digest_file, write_bytes
from mmcell.io.pickles import check_pickle
from mmcell.io.shipped import read_sums

#: Where checkpoints hold weights by name, if not at the top: MMEngine's, and timm's.
_WEIGHTS = ('state_dict', 'ema_state_dict', 'state_dict_ema', 'model_ema', 'model')
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
        mmap: Leave tensors in the file until they are used: to see only names and shapes takes no time then. What they
            hold is not looked at, see :func:`check_values`.

    Raises:
        InputError: If it cannot be fetched, is no checkpoint, is broken, holds any other kind of object, or weights
            that no model can have.
    """
    path = locate(address, _check_fetched)
    is_safe = path.suffix == '.safetensors'
    content = _read_safetensors(path, map_location) if is_safe else _read_pickled(address, path, map_location, mmap)
    _check_tensors(address, content)
    if not mmap:
        check_values(address, content)
    return strip_classifier(address, content)


def _read_pickled(address: str | Path, path: Path, map_location: Any, mmap: bool) -> dict[str, Any]:
    check_checkpoint(path)
    is_zip = zipfile.is_zipfile(path)
    try:
        with path.open('rb') as file:
            _check_pickles(file, is_zip, whole=not mmap)
    except (ValueError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        problem = f'is not a checkpoint, or is broken ({str(error)[:100]})'
        raise InputError(address, problem, 'take another one of the run') from None
    try:
        with torch.serialization.safe_globals(_SAFE), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # on how torch rebuilds what it wrote itself
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
    for part in (content, content.get('state_dict')):
        _strip_attributes(part)
    return content


def meta_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """What training noted beside the weights; empty if it noted nothing."""
    meta = content.get('meta')
    return meta if isinstance(meta, dict) else {}


def _strip_attributes(state: Any) -> None:
    """Leave a dict of weights nothing beside them but the versions of the modules, which torch looks up."""
    if isinstance(state, OrderedDict):
        versions = vars(state).get('_metadata')
        vars(state).clear()
        if isinstance(versions, dict) and all(
            isinstance(each, dict) and isinstance(each.get('version', 1), int) for each in versions.values()
        ):
            vars(state)['_metadata'] = versions


def _check_tensors(where: str | Path, content: Mapping[str, Any]) -> None:
    """Refuse what torch can load and no training writes: tensors that a few bytes make as large as they like."""
    rest: list[Any] = [content]
    seen = set()
    while rest:
        value = rest.pop()
        if torch.is_tensor(value):
            plain = value.layout == torch.strided and not (value.is_quantized or value.is_meta)
            if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                problem = (
                    'holds a tensor that is sparse, quantized, without values, or larger than what is stored of it'
                )
                raise InputError(where, problem, 'save plain tensors: tensor.to_dense().contiguous()')
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            rest += value.values() if isinstance(value, dict) else value


def check_values(where: str | Path, content: Mapping[str, Any]) -> None:
    """Refuse weights that are complex, NaN or infinite: a model that has some finds nothing, without a word.

    Args:
        where: The checkpoint, for errors.
        content: Its content.

    Raises:
        InputError: If there are some.
    """
    for part in (content, *(content.get(key) for key in _WEIGHTS)):
        for name, value in part.items() if isinstance(part, dict) else ():
            if not torch.is_tensor(value) or str(name).endswith('mask'):  # that of an attention may be infinite
                continue
            if what := _find_fault(value):
                problem = f'holds {show(name)}, which is {what}'
                raise InputError(where, problem, 'take a checkpoint of a training that converged')


def _find_fault(value: torch.Tensor) -> str:
    if value.is_complex():
        return 'complex'
    try:
        # Numbers of one byte know no isfinite.
        numbers = value.float() if value.element_size() == 1 else value
    except NotImplementedError:
        return f'in {value.dtype}, which torch itself does not compute with'
    return '' if numbers.isfinite().all() else 'not finite'


def _check_fetched(path: Path) -> None:
    if path.suffix != '.safetensors':
        check_checkpoint(path)


def _check_pickles(file: io.BufferedReader, is_zip: bool, whole: bool) -> None:
    """Refuse pickles that would keep torch busy, and if `whole` numbers that are not those of their checksum.

    Raises:
        ValueError: If there is one.
        zipfile.BadZipFile: If there are some; torch does not look.
    """
    if not is_zip:
        # torch's old format: magic number, version, sizes of types, content, names of storages; then bare numbers
        # that may look like another pickle.
        for _ in range(5):
            if not check_pickle(file) or file.peek(1)[:1] != b'\x80':
                break
        return
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.filename.endswith('.pkl'):
                with archive.open(member) as inner:
                    raw: Any = inner  # typeshed takes it for one that BufferedReader cannot wrap
                    check_pickle(io.BufferedReader(raw))
            if whole:
                with archive.open(member) as inner:
                    while inner.read(2**20):  # compares the checksum at the end
                        pass


def _read_safetensors(path: str | Path, map_location: Any) -> dict[str, Any]:
    """Weights and what :func:`save_safetensors` wrote beside them; other files' metadata are no business of ours."""
    check_file(path)
    try:
        with safe_open(path, 'pt') as file:
            state = {name: file.get_tensor(name).to(map_location) for name in file.keys()}
            facts = json.loads((file.metadata() or {}).get(_FACTS, '{}'))
    except Exception as error:  # A broken file can raise anything.
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
    weights, cure = weights_of(load_checkpoint(path)), 'give a checkpoint of this config'
    if wrong := unlike(weights, model.state_dict()):
        raise InputError(path, f'holds {wrong[0]} in {weights[wrong[0]].dtype}, which are not weights', cure)
    try:
        load_state_dict(model, weights, strict=True)
    except RuntimeError as error:
        raise InputError(path, f'does not fit the model of the config ({str(error)[:200]})', cure) from None


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


def weights_of(content: Mapping[str, Any]) -> OrderedDict[str, torch.Tensor]:
    """The weights of a checkpoint by name, as mmengine looks for them; other entries are left out."""
    state = content.get('state_dict', content)
    if not isinstance(state, dict):
        return OrderedDict()
    # What DistributedDataParallel puts in front.
    names = {name: re.sub(r'^module\.', '', str(name)) for name, value in state.items() if torch.is_tensor(value)}
    weights = OrderedDict((new, state[name]) for name, new in names.items())
    vars(weights).update(vars(state) if isinstance(state, OrderedDict) else {})  # versions of the modules
    return weights


def unlike(found: Mapping[str, torch.Tensor], wanted: Mapping[str, Any]) -> list[str]:
    """Names of weights that a model has in floating point and a checkpoint in whole numbers: of a quantized model."""
    return [
        name
        for name, value in found.items()
        if torch.is_tensor(wanted.get(name)) and wanted[name].is_floating_point() and not value.is_floating_point()
    ]


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
