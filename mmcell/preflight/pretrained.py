"""Can the weights that a backbone starts from be had?"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from mmdet.registry import MODELS
from mmengine.config import Config

from mmcell.errors import InputError


def check_pretrained(config: Config) -> None:
    """Refuse backbone weights that cannot be had, before anything is built.

    Raises:
        InputError: If they are torchvision's and torchvision is not installed, or a file that does not exist, or if
            the backbone's class says so: its class method `check_pretrained(backbone, neck)`, where there is one, takes
            the configs of both.
    """
    model = config.model
    while 'detector' in model:  # tiles and views wrap a detector
        model = model.detector
    backbone = model.get('backbone') or {}
    check = getattr(_find_class(backbone.get('type')), 'check_pretrained', None)
    if check is not None:
        check(backbone, model.get('neck'))
        return
    init = backbone.get('init_cfg') or {}
    checkpoint = init.get('checkpoint') if isinstance(init, dict) else None
    if checkpoint is None:
        return
    cure = 'set model.backbone.init_cfg.checkpoint to a file, or model.backbone.init_cfg=None to start from scratch'
    if checkpoint.startswith(('torchvision://', 'modelzoo://')):
        if importlib.util.find_spec('torchvision') is None:
            raise InputError(
                checkpoint, 'needs torchvision, which is not installed', f'pip install torchvision, or {cure}'
            )
    elif '://' not in checkpoint and not Path(checkpoint).is_file():
        raise InputError(checkpoint, 'does not exist', cure)


def _find_class(name: Any) -> type | None:
    """The class of a config's `type`; None if there is none: building the model says so in better words."""
    if not isinstance(name, str):
        return name
    try:
        return MODELS.get(name)
    except RuntimeError:
        return None
