"""Can the weights that parts of a model start from be had, and are they those of these parts?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.model.weight_init import PretrainedInit
from torch import nn

from mmcell.engine.weights import check_part
from mmcell.errors import InputError
from mmcell.io.checkpoints import check_values, load_checkpoint


def check_pretrained(config: Config) -> None:
    """Refuse a backbone that says of itself that it cannot be had, before anything is built.

    Raises:
        InputError: If the backbone's class says so: its class method `check_pretrained(backbone, neck)`, where there is
            one, takes the configs of both.
    """
    model = config.model
    while 'detector' in model:  # tiles and views wrap a detector
        model = model.detector
    backbone = model.get('backbone') or {}
    check = getattr(_find_class(backbone.get('type')), 'check_pretrained', None)
    if check is not None:
        check(backbone, model.get('neck'))


def check_initial_weights(model: nn.Module) -> list[InputError]:
    """Fetch and read what parts of a model start from (`init_cfg` of type Pretrained), and compare it with these parts.

    MMEngine does so when all is built, and starts anew what is not in there. Parts that rename weights of other
    projects by an `init_weights` of their own are not compared.

    Args:
        model: The model; its weights may be without memory.

    Returns:
        An error for each part whose weights cannot be had or are another model's.
    """
    errors = []
    for name, part, init in _find_pretrained(model):
        key = f'model.{name}.init_cfg' if name else 'model.init_cfg'
        address = init['checkpoint']
        try:
            content = load_checkpoint(address, mmap=True)
            check_values(address, content)
        except InputError as error:
            cure = f'set {key}.checkpoint=FILE, or {key}=None to start from scratch'
            errors.append(InputError(error.where, error.problem, cure))
            continue
        if getattr(type(part), 'init_weights', None) is BaseModule.init_weights:
            errors += check_part(address, content, part, key, init.get('prefix'))
    return errors


def _find_pretrained(model: nn.Module) -> Iterator[tuple[str, nn.Module, dict[str, Any]]]:
    """Name, part and setting of all parts that start from a checkpoint and do not look after it themselves."""
    for name, part in model.named_modules():
        settings = getattr(part, 'init_cfg', None) or []
        if hasattr(type(part), 'check_pretrained') or not hasattr(part, 'init_weights'):
            continue
        for init in [settings] if isinstance(settings, dict) else settings:
            if init.get('type') in ('Pretrained', PretrainedInit) and init.get('checkpoint'):
                yield name, part, init


def _find_class(name: Any) -> type | None:
    """The class of a config's `type`; None if there is none: building the model says so in better words."""
    if not isinstance(name, str):
        return name
    try:
        return MODELS.get(name)
    except RuntimeError:
        return None
