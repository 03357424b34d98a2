"""Numbers in a config that are out of range, and names of scores that no metric gives.

What uses them would say so after an epoch, or never.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmcell.coco.truth import load_truth
from mmcell.config import title
from mmcell.errors import InputError, show
from mmcell.evaluation.coco_ap import evaluate_coco
from mmcell.evaluation.headline import to_tag
from mmcell.evaluation.metrics import CellMetric, DenseCocoMetric
from mmcell.evaluation.nuclei import evaluate_cells
from mmcell.io.limits import MAX_SEED

#: By the end of their path: the smallest and the largest whole number, and what else may stand there.
_WHOLE: dict[str, tuple[int, float, tuple[Any, ...]]] = {
    'train_cfg.max_epochs': (1, math.inf, ()),
    'train_cfg.max_iters': (1, math.inf, ()),
    'train_cfg.val_interval': (1, math.inf, ()),
    'train_cfg.val_begin': (0, math.inf, ()),
    'train_dataloader.batch_size': (1, math.inf, ()),
    'val_dataloader.batch_size': (1, math.inf, ()),
    'test_dataloader.batch_size': (1, math.inf, ()),
    'train_dataloader.num_workers': (0, 1024, ()),
    'val_dataloader.num_workers': (0, 1024, ()),
    'test_dataloader.num_workers': (0, 1024, ()),
    'randomness.seed': (0, MAX_SEED, (None,)),
    'default_hooks.checkpoint.interval': (1, math.inf, (-1,)),
    'default_hooks.checkpoint.max_keep_ckpts': (1, math.inf, (-1,)),
    'default_hooks.logger.interval': (1, math.inf, ()),
    'optim_wrapper.accumulative_counts': (1, math.inf, ()),
}
#: The same of numbers: whether zero may stand there.
_POSITIVE = {
    'optim_wrapper.optimizer.lr': False,
    'optim_wrapper.optimizer.weight_decay': True,
    'optim_wrapper.clip_grad.max_norm': False,
}


def check_settings(config: Config, skip: Sequence[str] = ()) -> list[InputError]:
    """Check numbers that no code looks at before it uses them.

    Args:
        config: The config.
        skip: Settings to leave out, since the run does not use them.
    """
    return [
        InputError(title(config), f'{key} is {show(value)}', f'set it to {wanted}')
        for key, value, wanted in _find_bad(config)
        if key.partition('.')[0] not in skip
    ]


def _find_bad(config: Config) -> Iterator[tuple[str, Any, str]]:
    for key, (least, most, others) in _WHOLE.items():
        value = _get(config, key)
        if value is _MISSING or any(value is other or value == other for other in others):
            continue
        if type(value) is not int or not least <= value <= most:
            yield key, value, f'a whole number from {least}' + (f' to {most}' if most < math.inf else '')
    for key, may_be_zero in _POSITIVE.items():
        value = _get(config, key)
        if value is _MISSING:
            continue
        fits = type(value) in (int, float) and math.isfinite(value) and (value > 0 or (may_be_zero and value == 0))
        if not fits:
            yield key, value, 'a number from 0' if may_be_zero else 'a number above 0'


def check_best(config: Config, classes: Sequence[str]) -> list[InputError]:
    """Check that the scores which choose the best checkpoint are those that the metrics of the config give.

    Args:
        config: The config.
        classes: Names of the classes of the data.
    """
    best = _get(config, 'default_hooks.checkpoint.save_best')
    names = list_scores(config, classes)
    if best is _MISSING or best in (None, 'auto') or names is None:
        return []
    errors = []
    for name in [best] if isinstance(best, str) else best:
        if name not in names:
            near = [each for each in names if each.startswith(str(name))]
            near = near or difflib.get_close_matches(str(name), names, n=1, cutoff=0.3)
            cure = f'did you mean {near[0]!r}?' if near else 'name a score of val_evaluator'
            problem = f'default_hooks.checkpoint.save_best is {show(name)}, which no metric gives'
            errors.append(InputError(title(config), problem, cure))
    return errors


def list_scores(config: Config, classes: Sequence[str]) -> list[str] | None:
    """Names of the scores that a validation gives, the main ones first; None if it has a metric that is not ours.

    Args:
        config: The config.
        classes: Names of the classes of the data.
    """
    evaluators = config.get('val_evaluator') or []
    categories = [{'id': number, 'name': name} for number, name in enumerate(classes, start=1)]
    nothing = load_truth({'images': [_IMAGE], 'annotations': [], 'categories': categories})
    names: list[str] = []
    for metric in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
        kind = metric.get('type') if isinstance(metric, Mapping) else None
        if kind in (DenseCocoMetric, 'DenseCocoMetric', 'mmcell.DenseCocoMetric'):
            prefix = metric.get('prefix') or metric.get('iou_type', 'segm')
            how = {key: metric[key] for key in ('max_dets',) if key in metric}
            numbers = evaluate_coco(nothing, [], metric.get('iou_type', 'segm'), **how).as_dict()
        elif kind in (CellMetric, 'CellMetric', 'mmcell.CellMetric'):
            prefix, numbers = metric.get('prefix', 'cell'), evaluate_cells(nothing, [], 0.5).as_dict()
        else:
            return None
        names += [f'{prefix}/{to_tag(name)}' for name in numbers]
    return names


_MISSING = object()
_IMAGE = {'id': 1, 'file_name': 'a', 'height': 8, 'width': 8}


def _get(config: Config, key: str) -> Any:
    value: Any = dict(config.items())
    for part in key.split('.'):
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value
