"""A test run: predict, then score or write the submission, then draw."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process

from mmcell.coco.schema import read_coco
from mmcell.coco.submission import RESULTS_NAME, ZIP_NAME, write_submission
from mmcell.coco.threshold import METRICS_NAME, RECORD_NAME, THRESHOLD_KEY, choose_threshold, threshold_of, write_record
from mmcell.config import blame, fold_of, run_name, title
from mmcell.engine.hooks.progress import progress
from mmcell.engine.launch import build_runner, sole
from mmcell.engine.predictor import describe_model
from mmcell.errors import InputError
from mmcell.io.addresses import locate
from mmcell.io.checkpoints import fingerprint, load_checkpoint, meta_of
from mmcell.io.files import check_writable, read_json, write_json
from mmcell.report.console import format_scores


def test(
    config: Config,
    checkpoint: str | Path,
    *,
    out: str | Path | None = None,
    format_only: bool = False,
    split: Literal['val', 'test'] = 'val',
    show_dir: str | Path | None = None,
    score_thr: float | None = None,
    check: Callable[[Config, str, bool], None] | None = None,
    verbose: bool = False,
) -> list[str]:
    """Run a model over the images of a split.

    Args:
        config: The config.
        checkpoint: Weights of the model.
        out: Folder for what is written: with `format_only` `test-results.json`, `test-results.zip` and `model.json`
            (which model made them), else `metrics.json` and `<split>-results.json`. None takes
            `work_dirs/<name of the run>/test`.
        format_only: Write a submission instead of scoring.
        split: Which dataloader of the config to use.
        show_dir: Folder for pictures of the predictions.
        score_thr: Lowest score that is drawn; None takes what val found.
        check: Called first with the config as it will be run, the split and whether there has to be truth; raises what
            does not fit together, such as :func:`mmcell.preflight.run.check_testing`.
        verbose: Whether MMEngine's log says how far it is, instead of a progress bar.

    Returns:
        The numbers as a small table, and lines that say what was written where; empty on all processes but the first.

    Raises:
        InputError: If the checkpoint is none, the data cannot be read, a split without truth is to be scored, or
            another test writes to the folder.
        InputErrors: If `check` finds several things.
    """
    out = Path(out or f'work_dirs/{run_name(config)}/test')
    files: tuple[str, ...] = (
        (RESULTS_NAME, ZIP_NAME, RECORD_NAME) if format_only else (f'{split}-results.json', METRICS_NAME)
    )
    if is_main_process():
        check_writable(out, files)
        if show_dir is not None:
            check_writable(show_dir)
    with blame(config, 'cannot be tested'):
        images_json = _use_split(config, split)
    if not format_only and not read_coco(images_json).get('annotations'):
        raise InputError(images_json, 'has no annotations to score against', 'add --format-only or choose --split val')
    config.load_from, config.resume = str(checkpoint), False
    config.work_dir = str(out)
    if check is not None:
        check(config, split, not format_only)
    found = threshold_of(meta_of(load_checkpoint(checkpoint, mmap=True)))
    if split == 'test' and found is not None:
        _fix_threshold(config, found)
    with sole(config, 'test'), tempfile.TemporaryDirectory(prefix='mmcell-') as scratch:
        # Every process has its own scratch folder; the metric writes on the first one only.
        raw = Path(scratch) / 'results.json'
        config.test_evaluator[0].update(out_file=str(raw), format_only=format_only)
        runner = build_runner(config, 'test_loop')
        with progress(runner, not verbose):
            metrics = runner.test()
        results: Any = read_json(raw) if is_main_process() else None
        lines = []
        if is_main_process():
            if format_only:
                names = ' and '.join(path.name for path in write_submission(results, images_json, out))
                lines += [f'wrote {names} to {out}']
                write_record(out / RESULTS_NAME, describe_model(config, checkpoint), found)
            else:
                name = files[0]
                if split == 'val':
                    found = _found_threshold(metrics, found)
                described = _describe(config, checkpoint, split, metrics)
                # Of other results: where it is, it is of those beside it.
                (out / METRICS_NAME).unlink(missing_ok=True)
                write_json(out / name, results)
                write_json(out / METRICS_NAME, {**described, 'results': name, THRESHOLD_KEY: found})
                categories = sorted(read_coco(images_json)['categories'], key=lambda category: category['id'])
                lines += [format_scores(metrics, [category['name'] for category in categories])]
                lines += [f'wrote {name} and {METRICS_NAME} to {out}']
            if show_dir is not None:
                score_thr, line = choose_threshold(score_thr, found)
                lines += [line, *_draw(config, results, images_json, Path(show_dir), score_thr)]
        barrier()
    return lines


def _use_split(config: Config, split: str) -> Path:
    """Point the test loop at a split; returns the path of its annotation file."""
    if split == 'val':
        config.test_dataloader, config.test_evaluator = config.val_dataloader, config.val_evaluator
    if not isinstance(config.test_evaluator, list):
        config.test_evaluator = [config.test_evaluator]
    if config.test_evaluator[0].type != 'DenseCocoMetric':
        raise InputError(title(config), 'does not have DenseCocoMetric as its first evaluator', 'put it first')
    return Path(config.test_evaluator[0].ann_file)


def _fix_threshold(config: Config, found: float) -> None:
    """Score with what val found: a threshold picked on the test images would flatter."""
    for evaluator in config.test_evaluator:
        if evaluator.type == 'CellMetric' and evaluator.get('score_thr', 'auto') == 'auto':
            evaluator.score_thr = found


def _found_threshold(metrics: dict[str, Any], otherwise: float | None) -> float | None:
    """The threshold that a validation used, by the name that :class:`CellMetric` gives it."""
    values = [value for name, value in metrics.items() if name.endswith(f'/{THRESHOLD_KEY}')]
    return threshold_of({THRESHOLD_KEY: values[0]}) if values else otherwise


def _describe(config: Config, checkpoint: str | Path, split: str, metrics: dict[str, Any]) -> dict[str, Any]:
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }
    described = {**describe_model(config, checkpoint), 'fingerprint': fingerprint(locate(checkpoint))}
    return {**described, 'fold': fold_of(config), 'split': split, 'metrics': finite}


def _draw(config: Config, results: list, images_json: Path, show_dir: Path, score_thr: float) -> list[str]:
    from mmcell.report.overlay import write_overlays

    dataset = config.test_dataloader.dataset
    root = Path(dataset.data_root) / dataset.data_prefix.img
    truth = images_json if read_coco(images_json).get('annotations') else None
    paths = write_overlays(results, images_json, root, show_dir, score_thr, truth=truth)
    return [f'wrote {len(paths)} pictures to {show_dir}']
