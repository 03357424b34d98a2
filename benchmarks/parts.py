"""Our parts of a config, exchanged for those of MMDetection."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmdet.registry import HOOKS
from mmengine.config import Config
from torch import nn

from mmcell.engine.weights import check_weights
from mmcell.errors import raise_all
from mmcell.io.checkpoints import check_values, load_checkpoint
from mmcell.preflight.model import build_model

#: A side: the masks as we hold them, between loading and RLE; all else is MMDetection's.
MASKS_ALONE = 'our masks alone'
#: A side: MMDetection, but for the classes of the data set and how images are read.
MMDETECTION = 'MMDetection'

_MASKS = {'LoadCellAnnotations': 'LoadAnnotations', 'BoxedRLEMaskHead': 'FCNMaskHead'}
_NETWORK = {
    'SparseMaxIoUAssigner': 'MaxIoUAssigner',
    'DenseRPNHead': 'RPNHead',
    'DenseRoIHead': 'StandardRoIHead',
    'DenseCascadeRoIHead': 'CascadeRoIHead',
    'DenseRoIExtractor': 'SingleRoIExtractor',
}


def use_parts(config: Config, side: str) -> None:
    """Leave to a side those of our parts that it has.

    The weights are the same, and so are losses and results but for the last bits of sums.

    Args:
        config: Changed in place.
        side: :data:`MASKS_ALONE` or :data:`MMDETECTION`; any other keeps all.
    """
    if side not in (MASKS_ALONE, MMDETECTION):
        return
    _exchange(config.model, _NETWORK if side == MASKS_ALONE else _NETWORK | _MASKS)
    if side == MMDETECTION:
        _exchange(config.train_dataloader, _MASKS)
    config.default_hooks.pop('memory_format', None)


def check_start(config: Config, checkpoint: Path | None, strict: bool) -> None:
    """Refuse a checkpoint that the model of a config cannot start from, before anything is measured.

    Args:
        config: The config.
        checkpoint: Its weights; None for none.
        strict: See :func:`mmcell.engine.weights.check_weights`.

    Raises:
        InputError: If so.
    """
    if checkpoint is not None:
        content = load_checkpoint(checkpoint, mmap=True)
        check_values(checkpoint, content)
        raise_all(check_weights(config, checkpoint, content, build_model(config), strict)[0])


def _exchange(node: Any, types: dict[str, str]) -> None:
    if isinstance(node, dict):
        if node.get('type') in types:
            node['type'] = types[node['type']]
        if types is not _MASKS:
            node.pop('split_thr', None)  # of the suppression of proposals, level by level
        node = node.values()
    if not isinstance(node, str) and hasattr(node, '__iter__'):
        for each in list(node):
            _exchange(each, types)


def choose_layout(model: nn.Module, config: Config) -> None:
    """Turn the weights of a model that is to be trained as the config's hook does, if it has one."""
    if 'memory_format' in config.default_hooks:
        HOOKS.build(config.default_hooks.memory_format).before_train(SimpleNamespace(model=model))
