"""The model of a config: built without memory, and compared with the data."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmcell.config import blame, title
from mmcell.engine.classes import find_num_classes
from mmcell.errors import InputError
from mmcell.models.dense_roi_extractor import takes_any_layout
from mmcell.models.timm_backbone import TimmBackbone


def build_model(config: Config) -> nn.Module:
    """The model of a config without its weights: names and shapes are all that it has.

    Raises:
        InputError: If it cannot be built.
    """
    init_default_scope(config.get('default_scope', 'mmdet'))
    # Constructors change the config that they are given, and draw random numbers.
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device('meta'):
                return MODELS.build(copy.deepcopy(config.model))
        except Exception:  # Perhaps only because a constructor looks at values, such as `torch.linspace(…).tolist()`.
            pass
        with blame(config, 'has a model that cannot be built'):
            return MODELS.build(copy.deepcopy(config.model))


def check_num_classes(config: Config, classes: Sequence[str]) -> list[InputError]:
    """Check that every head predicts as many classes as the data have.

    Args:
        config: The config.
        classes: Names of the classes of the data.
    """
    keys = defaultdict(list)
    for key, number in find_num_classes(config.model):
        if number != len(classes):
            keys[number].append(key)
    errors = []
    for number, wrong in keys.items():
        problem = f'{" and ".join(wrong)} = {number}, but the data have {len(classes)} classes ({", ".join(classes)})'
        if number == len(classes) + 1:
            problem += '; MMDetection does not count the background'
        cure = f'--cfg-options {" ".join(f"{key}={len(classes)}" for key in wrong)}'
        errors.append(InputError(title(config), problem, cure))
    return errors


def check_layouts(config: Config, model: nn.Module) -> list[InputError]:
    """Refuse mmcv's operators behind a backbone of timm, whose features may be `channels_last`: they read other pixels.

    Args:
        config: The config.
        model: What it describes.
    """
    if takes_any_layout(model) or not any(isinstance(part, TimmBackbone) for part in model.modules()):
        return []
    problem = "reads features of TimmBackbone, which may be channels_last, with mmcv's operators, which then go wrong"
    cure = "set type='DenseRoIExtractor' for bbox_roi_extractor and mask_roi_extractor, and no deformable convolutions"
    return [InputError(title(config), problem, cure)]
