"""From a training checkpoint to the file of weights that the package carries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import mmcell
from mmcell.coco.schema import category_names, read_coco
from mmcell.coco.threshold import THRESHOLD_KEY, threshold_of
from mmcell.engine.classes import recorded_classes
from mmcell.engine.predictor import load_model
from mmcell.errors import InputError
from mmcell.io.checkpoints import load_checkpoint, meta_of, save_safetensors
from mmcell.io.files import digest_file, write_bytes
from mmcell.io.shipped import CONFIGS, SUMS, WEIGHTS, read_sums

#: What a clone should carry at most for one model, bytes.
MAX_WEIGHTS = 16 << 20


def publish(
    checkpoint: str | Path,
    name: str,
    annotations: str | Path,
    *,
    score_thr: float | None = None,
    mpp: float | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write the weights of a checkpoint to `mmcell/weights/` in half precision, and their SHA-256 beside them.

    The weights are those that a test of the checkpoint would take: averaged ones, if the training averaged. With them
    are written the names of the classes, the score threshold and microns per pixel, and what they were trained by: the
    config, how long, and on what.

    Args:
        checkpoint: What training wrote.
        name: Name of the model; its config is `configs/models/NAME.py`.
        annotations: The annotation file that it was trained on.
        score_thr: The score from which cells are counted; None for what the training found on val.
        mpp: Microns per pixel of what it was trained on; None for what the training recorded, if it did.
        facts: What else is to be known of the model, ready for JSON.

    Returns:
        Lines that say what was written.

    Raises:
        InputError: If checkpoint and config are not of one model, the checkpoint names no classes or no threshold is
            known, a weight cannot be written in half precision, or the file would be too large.
    """
    config = CONFIGS / f'{name}.py'
    if not config.is_file():
        names = ', '.join(sorted(path.stem for path in CONFIGS.glob('*.py')))
        raise InputError(config, 'does not exist', f'write it first, or choose a name from {names}')
    content = load_checkpoint(checkpoint, mmap=True)
    meta = meta_of(content)
    found = threshold_of(meta) if score_thr is None else score_thr
    if found is None:
        raise InputError(checkpoint, 'holds no score threshold', 'give one that was found on folds: --score-thr')
    if recorded_classes(content) is None:
        raise InputError(checkpoint, 'names no classes', 'take a checkpoint that training wrote')
    model = load_model(config, checkpoint, 'cpu')
    mpp = model.mpp if mpp is None else mpp
    truth = read_coco(annotations)
    if category_names(truth) != model.classes:
        problem = f'has the classes {", ".join(category_names(truth))}, not {", ".join(model.classes)}'
        raise InputError(annotations, problem, 'give the file that the model was trained on')
    state = {key: _halve(checkpoint, key, value) for key, value in model.network.state_dict().items()}
    path = WEIGHTS / f'{name}.safetensors'
    size = sum(value.numel() * value.element_size() for value in state.values())
    if size > MAX_WEIGHTS:
        problem = f'needs {size / (1 << 20):.1f} MB in half precision'
        raise InputError(checkpoint, problem, f'train a model that needs at most {MAX_WEIGHTS >> 20}')
    known: dict[str, Any] = {
        'dataset_meta': {'classes': model.classes} | ({} if mpp is None else {'mpp': mpp}),
        THRESHOLD_KEY: found,
        'config': f'configs/models/{config.name}',
        'epoch': _whole(meta.get('epoch')),
        'steps': _whole(meta.get('iter')),
        'images': len(truth['images']),
        'cells': len(truth['annotations']),
        'annotations_sha256': digest_file(annotations),
        'mmcell_version': mmcell.__version__,
    }
    # Checkpoints of others may not say how long they were trained; then the facts may.
    save_safetensors(
        path, state, {**(facts or {}), **{key: value for key, value in known.items() if value is not None}}
    )
    digest = digest_file(path)
    sums = sorted({**read_sums(), name: digest}.items())
    write_bytes(WEIGHTS / SUMS, ''.join(f'{one}  {each}.safetensors\n' for each, one in sums).encode())
    return [f'wrote {path}: {path.stat().st_size / (1 << 20):.1f} MB, SHA-256 {digest}', f'wrote {WEIGHTS / SUMS}']


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _halve(checkpoint: str | Path, name: str, value: torch.Tensor) -> torch.Tensor:
    """A weight in half precision; integers, such as counters, stay."""
    if not value.is_floating_point():
        return value
    half = value.half()
    if not half.isfinite().all():
        problem = f'holds {name}, which is not finite in half precision'
        raise InputError(checkpoint, problem, 'take a checkpoint of a training that converged')
    return half
