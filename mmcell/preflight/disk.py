"""Do the checkpoints that a training will write fit on the disk?"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from torch import nn

from mmcell.errors import InputError

#: Buffers of an optimizer as large as the weights that it changes; AdamW's are the two moments.
_BUFFERS = {'SGD': 1, 'AdamW': 2, 'Adam': 2, 'RMSprop': 1}
_GIB = 2**30


def check_disk(config: Config, model: nn.Module) -> tuple[list[InputError], list[str]]:
    """Compare the free space in the work folder with what the checkpoints of the config will take.

    Returns:
        An error if not even one fits, a warning if not all that are kept do.
    """
    folder = Path(config.work_dir).absolute()
    size, count = estimate_checkpoint(config, model), count_checkpoints(config)
    if not count:
        return [], []
    # Those of an earlier start, which will be removed in time, are not needed once more.
    present = sum(path.stat().st_size for path in folder.glob('*.pth'))
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size:
        problem = f'has {free / _GIB:.2f} GiB free, but a checkpoint takes {size / _GIB:.2f} GiB'
        return [InputError(config.work_dir, problem, 'free some space, or give --work-dir on another disk')], []
    if free + present < count * size:
        text = (
            f'{config.work_dir}: {free / _GIB:.1f} GiB are free, {count} checkpoints take {count * size / _GIB:.1f} GiB'
        )
        return [], [text]
    return [], []


def estimate_checkpoint(config: Config, model: nn.Module) -> int:
    """Bytes of a checkpoint: weights, a second set of them with an EMA, and what the optimizer keeps."""
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if any(str(hook.get('type')).endswith('EMAHook') for hook in config.get('custom_hooks') or ()):
        weights *= 2
    if not _hook(config).get('save_optimizer', True):
        return weights
    optimizer = config.optim_wrapper.get('optimizer') or {}
    trained = sum(value.numel() * value.element_size() for value in model.parameters() if value.requires_grad)
    return weights + _BUFFERS.get(str(optimizer.get('type')), 2) * trained


def count_checkpoints(config: Config) -> int:
    """How many checkpoints there are at most at a time: those kept, the best ones, and one being written."""
    hook = _hook(config)
    if not hook:
        return 0
    best = hook.get('save_best') or []
    best = len(best) if isinstance(best, (list, tuple)) else 1
    interval, kept = hook.get('interval', -1), hook.get('max_keep_ckpts', -1)
    if interval < 1:  # The last one only.
        kept = 1
    elif kept < 0:
        loop = config.train_cfg
        kept = int((loop.get('max_epochs') or loop.get('max_iters') or 1) // interval)
    return kept + best + 1


def _hook(config: Config) -> Mapping:
    return (config.get('default_hooks') or {}).get('checkpoint') or {}
