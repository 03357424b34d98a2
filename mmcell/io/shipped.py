"""The models that come with the package, by name: a config in `configs/models/` and its weights."""

from __future__ import annotations

from pathlib import Path

from mmcell.errors import InputError
from mmcell.io.files import digest_file

_PACKAGE = Path(__file__).resolve().parents[1]
#: The configs, where an installed package has them too.
CONFIGS = _PACKAGE / '.mim' / 'configs' / 'models'
#: The weights and their checksums, as `sha256sum --check` reads them.
WEIGHTS, SUMS = _PACKAGE / 'weights', 'SHA256SUMS'


def read_sums() -> dict[str, str]:
    """SHA-256 of the weights of each model, by the model's name."""
    path = WEIGHTS / SUMS
    lines = path.read_text().splitlines() if path.is_file() else []
    return {name.removesuffix('.safetensors'): digest for digest, name in (line.split('  ', 1) for line in lines)}


def find_config(name: str) -> Path:
    """The config of a model that we ship.

    Raises:
        InputError: If there is no such model; it lists those that there are.
    """
    sums = read_sums()
    if name not in sums:
        raise InputError(name, 'is not a model that comes with mmcell', f'choose from {", ".join(sums)}')
    return CONFIGS / f'{name}.py'


def find_weights(name: str) -> Path:
    """The weights of a model that we ship, checked to be those that we ship.

    Raises:
        InputError: If there is no such model, or its file is missing or another one.
    """
    find_config(name)
    path = WEIGHTS / f'{name}.safetensors'
    found, expected = digest_file(path), read_sums()[name]
    if found != expected:
        problem = f'is not the file that comes with mmcell (SHA-256 {found[:12]}… instead of {expected[:12]}…)'
        raise InputError(path, problem, 'restore it, or install mmcell again')
    return path
