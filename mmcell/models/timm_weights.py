"""Weights for timm's models: from a file or from the Hugging Face hub."""

from __future__ import annotations

import contextlib
import difflib
from types import ModuleType
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from torch import Tensor

from mmcell.compat.torchvision import import_torchvision
from mmcell.errors import InputError, set_up_again
from mmcell.io.addresses import locate
from mmcell.io.checkpoints import load_checkpoint, weights_of


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
