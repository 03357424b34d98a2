"""Can the weights that a backbone starts from be had?"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mmengine.config import Config

from mmcell.errors import InputError


def check_pretrained(config: Config) -> None:
    """Refuse backbone weights that cannot be had, before anything is built.

    Raises:
        InputError: If they are torchvision's and torchvision is not installed, or a file that does not exist, or those
            of a TimmBackbone cannot be had.
    """
    model = config.model
    while 'detector' in model:  # tiles and views wrap a detector
        model = model.detector
    if model.get('backbone', {}).get('type') == 'TimmBackbone':
        from mmcell.models.timm_backbone import check_timm_backbone

        check_timm_backbone(model.backbone, model.get('neck'))
        return
    init = model.get('backbone', {}).get('init_cfg') or {}
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
