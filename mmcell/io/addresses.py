"""Checkpoints that are named by an address: https://…, torchvision://resnet50, open-mmlab://… .

MMEngine has a loader for each kind of address, which unpickles what it fetches. Here an address becomes a file, whole
and with the hash that its name promises, and one loader reads all files.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.client
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import url2pathname, urlopen

from tqdm import tqdm

from mmcell.errors import InputError
from mmcell.io.files import atomic_path, digest_file, locked, read_json
from mmcell.io.shipped import find_weights, read_sums

#: Seconds without a word of the other side after which it is given up.
TIMEOUT = 15
_SCHEME = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*)://')
#: `resnet50-0676ba61.pth`: the name ends with the beginning of the content's SHA-256.
_HASH = re.compile(r'-([0-9a-f]{8,64})\.[A-Za-z0-9.]+$')
_CURE = 'download it where that works, and give the file'


def scheme_of(address: str | Path) -> str:
    """What stands in front of `://`, in lower case; empty for a path."""
    found = _SCHEME.match(str(address))
    return found[1].lower() if found else ''


def locate(address: str | Path, check: Callable[[Path], None] | None = None) -> Path:
    """The file of a checkpoint that is named by a path or an address; it is fetched if it is not there yet.

    A file whose name carries a hash lies where torch keeps those, in `$TORCH_HOME/hub/checkpoints`, and is held against
    the hash each time; another one in a folder of its own address, so that two `best.pth` are not mixed up.

    Args:
        address: A path, the name of a model that comes with mmcell, or an address: `file://`, `http://`, `https://`,
            `torchvision://` (or `modelzoo://`), `open-mmlab://` (or `openmmlab://`), `mmcls://`.
        check: Called with what was fetched before it is kept; raises :class:`InputError` if that is of no use.

    Raises:
        InputError: If there is no such address, it cannot be fetched, or is not the file that its name promises.
    """
    scheme = scheme_of(address)
    if not scheme:
        path = Path(address).expanduser()
        named = str(address) in read_sums() and not path.exists()
        return find_weights(str(address)) if named else path
    address = str(address)
    if scheme == 'file':
        parts = urlsplit(address)
        if parts.netloc not in ('', 'localhost'):
            raise InputError(address, f'is a file of another machine, {parts.netloc}', _CURE)
        return Path(url2pathname(parts.path))
    if scheme in _CATALOGUES:
        name = address.partition('://')[2]
        names = _CATALOGUES[scheme]()
        if name not in names:
            raise InputError(address, f'is none of the {len(names)} names that MMEngine knows', _CURE)
        target = names[name]
        return _fetch(address, target, check) if scheme_of(target) else Path(target)
    if scheme in ('http', 'https'):
        return _fetch(address, address, check)
    kinds = ', '.join(f'{each}://' for each in ('file', 'http', 'https', *_CATALOGUES))
    raise InputError(address, f'is no address that can be loaded safely, which are {kinds}', _CURE)


def promised_hash(name: str) -> str | None:
    """The beginning of the SHA-256 that a file's name carries, None if it carries none; a date is none.

    >>> promised_hash('resnet50-0676ba61.pth'), promised_hash('mine-20260131.pth'), promised_hash('best.pth')
    ('0676ba61', None, None)
    """
    found = _HASH.search(name)
    if found is None:
        return None
    try:
        datetime.datetime.strptime(found[1], '%Y%m%d')
    except ValueError:
        return found[1]
    return None


def _torchvision() -> dict[str, str]:
    import mmengine
    from mmengine.runner.checkpoint import get_torchvision_models

    # Those of old releases stand in a file, and need no torchvision.
    names = read_json(Path(mmengine.__path__[0], 'hub/torchvision_0.12.json'))
    if importlib.util.find_spec('torchvision') is not None:
        with contextlib.suppress(Exception):  # one for another torch raises what it likes
            names |= get_torchvision_models()
    return names


def _open_mmlab() -> dict[str, str]:
    from mmengine.runner import checkpoint

    names = checkpoint.get_external_models()
    # Files may be named from MMEngine's folder.
    home = checkpoint._get_mmengine_home()
    names = {name: target if scheme_of(target) else str(Path(home, target)) for name, target in names.items()}
    new = checkpoint.get_deprecated_model_names()
    return names | {old: names[name] for old, name in new.items() if name in names}


def _mmcls() -> dict[str, str]:
    from mmengine.runner.checkpoint import get_mmcls_models

    return get_mmcls_models()


#: What lists the addresses of names, by the scheme of these.
_CATALOGUES = {
    'torchvision': _torchvision,
    'modelzoo': _torchvision,
    'open-mmlab': _open_mmlab,
    'openmmlab': _open_mmlab,
    'mmcls': _mmcls,
}


def _fetch(address: str, url: str, check: Callable[[Path], None] | None) -> Path:
    """The file of a URL, from the cache or from there; several processes fetch it once."""
    from torch.hub import get_dir

    name = Path(url2pathname(urlsplit(url).path)).name or 'checkpoint.pth'
    promised = promised_hash(name)
    folder = Path(get_dir(), 'checkpoints')
    target = folder / name if promised else folder / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if not target.is_file():
        with locked(folder / f'.{target.parent.name}.{name}.lock'):
            if not target.is_file():
                _download(address, url, target, promised, check)
    elif not promised:
        print(f'{address}: taken from {target}; remove that to download it again', file=sys.stderr)
    _check_hash(target, target, promised, 'remove it, and it is downloaded again')
    return target


def _download(address: str, url: str, target: Path, promised: str | None, check: Callable[[Path], None] | None) -> None:
    where = address if address == url else f'{address} ({url})'
    with atomic_path(target) as temporary:
        try:
            with urlopen(url, timeout=TIMEOUT) as response, temporary.open('wb') as file:
                print(f'fetching {url} to {target}', file=sys.stderr, flush=True)
                size = int(response.headers.get('Content-Length') or 0)
                with tqdm(total=size or None, unit='B', unit_scale=True, file=sys.stderr, disable=None) as bar:
                    while chunk := response.read(2**20):
                        file.write(chunk)
                        bar.update(len(chunk))
            missing = size - temporary.stat().st_size
        except (URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
            reason = str(getattr(error, 'reason', '') or error or type(error).__name__)
            raise InputError(where, f'cannot be fetched ({reason[:80]})', _CURE) from None
        if missing > 0:
            raise InputError(where, f'ended {missing} bytes too early', 'try again')
        _check_hash(where, temporary, promised, _CURE)
        try:
            if check is not None:
                check(temporary)
        except InputError as error:
            raise InputError(where, error.problem, _CURE) from None


def _check_hash(where: str | Path, path: Path, promised: str | None, cure: str) -> None:
    if promised is None:
        return
    found = digest_file(path)
    if not found.startswith(promised):
        problem = f'is not the file that its name promises (SHA-256 {found[: len(promised)]}… instead of {promised})'
        raise InputError(where, problem, cure)


def strip_classifier(address: str | Path, content: dict[str, Any]) -> dict[str, Any]:
    """What MMEngine takes of a classifier's checkpoint that is named by `mmcls://`: the backbone."""
    if scheme_of(address) != 'mmcls':
        return content
    state = content.get('state_dict', content)
    return {'state_dict': {name[9:]: value for name, value in state.items() if name.startswith('backbone.')}}
