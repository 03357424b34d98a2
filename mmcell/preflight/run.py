"""All checks of a training and of a test, in the order in which one would fix what they find."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, init_dist, is_distributed, is_main_process
from mmengine.registry import init_default_scope
from mmengine.runner import find_latest_checkpoint

from mmcell.config import blame
from mmcell.engine.resuming import check_optimizer, check_schedules, check_state, check_tensors
from mmcell.engine.weights import check_recorded_classes, check_recorded_fold, check_weights, skip_pretrained
from mmcell.errors import InputError, raise_all
from mmcell.io.checkpoints import check_values, load_checkpoint
from mmcell.preflight.annotations import check_annotations
from mmcell.preflight.arguments import check_arguments
from mmcell.preflight.disk import check_disk
from mmcell.preflight.images import check_images, read_sizes
from mmcell.preflight.labels import check_labels
from mmcell.preflight.model import build_model, check_layouts, check_num_classes
from mmcell.preflight.pretrained import check_initial_weights, check_pretrained
from mmcell.preflight.settings import check_best, check_settings
from mmcell.preflight.splits import Split, check_splits, find_seen, read_splits


@dataclass
class _Report:
    errors: list[InputError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    images: list[int] = field(default_factory=list)

    def add(self, found: tuple[Sequence[InputError], Sequence[str]]) -> None:
        self.errors += found[0]
        self.warnings += found[1]


def check_training(config: Config) -> None:
    """Check what a training will read and write; prints one line on what was checked, and warnings.

    Args:
        config: The config, with `work_dir`, `resume` and `load_from` as they will be.

    Raises:
        InputError: If something is wrong.
        InputErrors: If several things are; everything that can be told at once.
    """

    def check(report: _Report) -> None:
        # The test images are none of training's business.
        skip = 'test_dataloader', 'test_evaluator', 'test_cfg'
        report.errors += [*check_settings(config, skip), *check_arguments(config, skip)]
        checkpoint = config.get('load_from')
        # mmengine announces that there is none, and will do so again.
        if config.get('resume') and not checkpoint and (Path(config.work_dir) / 'last_checkpoint').is_file():
            checkpoint = find_latest_checkpoint(config.work_dir)
        if not checkpoint:
            _collect(report, check_pretrained, config)
        splits = _check_data(report, config, ('train', 'val'), scored='val')
        if splits:
            report.errors += check_best(config, splits[0].classes)
        if _validates(config):
            report.warnings += find_seen(*([one for one in splits if one.name == name] for name in ('val', 'train')))
        report.add(check_labels(config, splits))
        model = _check_model(report, config, splits)
        content = None
        if checkpoint:
            resumed = bool(config.get('resume'))
            content = _check_checkpoint(report, config, checkpoint, model, splits, strict=resumed, fold=resumed)
            if content is not None:
                _check_start(report, config, checkpoint, model, content)
        if model is not None:
            if content is not None or not checkpoint:
                report.errors += check_initial_weights(model)
            report.add(check_disk(config, model))

    _run(config, check)


def check_testing(config: Config, split: str, scored: bool) -> None:
    """Check what a test run will read; prints one line on what was checked, and warnings.

    Args:
        config: The config, with the checkpoint as `load_from` and the data of the split as `test_dataloader`.
        split: Name of the split, 'val' or 'test'.
        scored: Whether there has to be truth.

    Raises:
        InputError: If something is wrong.
        InputErrors: If several things are.
    """

    def check(report: _Report) -> None:
        others = {'train', 'val', 'test'} - {split}
        skip = [f'{name}_{what}' for name in others for what in ('dataloader', 'evaluator', 'cfg')]
        skip += ['optim_wrapper', 'param_scheduler']
        report.errors += [*check_settings(config, [*skip, 'default_hooks']), *check_arguments(config, skip)]
        splits = _check_data(report, config, (split,), scored=split if scored else None)
        if scored:  # What was trained on need not be there any more.
            report.warnings += find_seen(splits, read_splits(config, ('train',))[0])
        model = _check_model(report, config, splits)
        _check_checkpoint(report, config, config.load_from, model, splits, strict=True, fold=scored)

    _run(config, check)


def _run(config: Config, check: Callable[[_Report], None]) -> None:
    """Run checks in the first of all processes; the others wait, and stop with it if it finds something."""
    if config.get('launcher', 'none') != 'none' and not is_distributed():
        init_dist(config.launcher, **config.get('env_cfg', {}).get('dist_cfg', {}))
    report = _Report()
    start = time.perf_counter()
    if is_main_process():
        init_default_scope(config.get('default_scope', 'mmdet'))
        # A million annotations are millions of objects, none of them in a cycle: searching them for some takes longer
        # than all else.
        collecting = gc.isenabled()
        gc.disable()
        try:
            with blame(config, 'cannot be checked'):
                check(report)
        except InputError as error:
            report.errors.append(error)
        finally:
            if collecting:
                gc.enable()
    if is_distributed():
        shared: list[Any] = [report.errors]
        broadcast_object_list(shared)
        if shared[0] and not is_main_process():
            raise SystemExit(2)  # The first process says why.
    raise_all(list({str(error): error for error in report.errors}.values()))
    for warning in report.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    if is_main_process():
        counts = ' + '.join(map(str, report.images))
        print(f'checked {counts} images in {time.perf_counter() - start:.1f} s', flush=True)


def _validates(config: Config) -> bool:
    """Whether a training scores its val images at all."""
    loop = config.get('train_cfg') or {}
    return loop.get('val_begin', 1) <= loop.get('max_epochs', loop.get('max_iters', 1))


def _collect(report: _Report, check: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns that raises what is wrong; None if it did."""
    try:
        return check(*arguments)
    except InputError as error:
        report.errors.append(error)
        return None


def _check_data(report: _Report, config: Config, names: Sequence[str], scored: str | None) -> list[Split]:
    splits, errors = read_splits(config, names)
    report.errors += errors
    report.errors += check_splits(config, splits, scored)
    sizes = read_sizes(split.images / image['file_name'] for split in splits for image in split.content['images'])
    for split in splits:
        images = split.content['images']
        report.errors += check_images(split.ann_file, images, split.images, sizes)
        report.errors += check_annotations(split.ann_file, split.content)
        report.images.append(len(images))
    return splits


def _check_model(report: _Report, config: Config, splits: Sequence[Split]) -> Any:
    """The model, or None if it cannot be built."""
    # Building it would only say again what its arguments say.
    sound = not any(error.problem.startswith('model') for error in report.errors)
    if splits:
        report.errors += check_num_classes(config, splits[0].classes)
    model = _collect(report, build_model, config) if sound else None
    if model is not None:
        report.errors += check_layouts(config, model)
    return model


def _check_start(report: _Report, config: Config, path: str, model: Any, content: dict[str, Any]) -> None:
    """What a training takes from a checkpoint beside the weights, and what it then need not have."""
    errors = check_state(path, content) if config.get('resume') else []
    report.errors += errors
    if model is None:
        return
    skip_pretrained(model, content)
    if config.get('resume') and not errors:
        report.errors += [*check_tensors(path, content, model), *check_schedules(config, path, content, model)]
        report.add(check_optimizer(config, path, content, model))


def _check_checkpoint(
    report: _Report, config: Config, path: str, model: Any, splits: Sequence[Split], strict: bool, fold: bool
) -> dict[str, Any] | None:
    """The content of the checkpoint; None if it cannot be read."""
    content = _collect(report, lambda: load_checkpoint(path, mmap=True))
    if content is None:
        return None
    _collect(report, check_values, path, content)
    if model is not None:
        report.add(check_weights(config, path, content, model, strict))
    if fold:
        report.errors += check_recorded_fold(config, path, content)
    if splits and strict:
        report.add(check_recorded_classes(path, content, splits[0].classes))
    return content
