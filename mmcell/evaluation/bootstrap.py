"""How far a number would move with other images: percentile bootstrap over images (Efron 1979).

Whoever asks for the same number of images, samples and the same seed gets the same draws, so values of two models on
the same images are paired: their difference, sample by sample, tells more than two intervals that overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmcell.coco.results import Result
from mmcell.coco.truth import Truth, load_truth
from mmcell.evaluation.coco_ap import MAX_DETS, accumulate, match, resample
from mmcell.evaluation.nuclei import CellScores

#: float64 of shape (1 + samples,): a number, then its value in each sample.
Sampled = NDArray[np.float64]


class Interval(NamedTuple):
    """A number and the interval that holds 95 % of its values over resampled sets of images."""

    value: float
    low: float
    high: float


def bootstrap_coco(
    truth: str | Path | Mapping[str, Any] | Truth,
    results: Sequence[Result],
    max_det: int = MAX_DETS[0],
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, Sampled]:
    """Sample mask mAP and AP50. Matching is done once; each sample accumulates the matches of its images.

    Args:
        truth: Annotation file or its content.
        results: Result dicts with `segmentation`.
        max_det: Limit of detections per image.
        samples: How often images are drawn, with replacement, as many as there are.
        seed: Same seed, same draws.

    Returns:
        `mAP_<max_det>` and `AP50_<max_det>`.

    Raises:
        InputError: If the truth cannot be used or a result does not fit it.
    """
    truth = load_truth(truth)
    evaluator = match(truth, results, 'segm', (max_det,), 'faster_coco_eval')
    draws = _draw(len(truth.images), samples, seed)
    scores = [accumulate(resample(evaluator, draw), truth.classes) for draw in (range(len(truth.images)), *draws)]
    return {
        f'mAP_{max_det}': np.array([score.mean(max_det) for score in scores]),
        f'AP50_{max_det}': np.array([score.mean(max_det, iou=0.5) for score in scores]),
    }


def bootstrap_cells(
    scores: CellScores, ratios: Sequence[str] = ('PQ',), samples: int = 1000, seed: int = 0
) -> dict[str, Sampled]:
    """Sample pooled cell metrics, from the sums that every image contributes.

    Args:
        scores: From :func:`evaluate_cells`.
        ratios: Names in `scores.ratios`.
        samples: How often images are drawn, with replacement, as many as there are.
        seed: Same seed, same draws.

    Returns:
        `<name>_pooled` for each name, `<name>_pooled/<class>` for a class.
    """
    draws = _draw(len(scores.image_ids), samples, seed)
    sampled = {}
    for ratio in ratios:
        name, slash, class_name = ratio.partition('/')
        sums = scores.ratios[ratio][draws].sum(axis=1)
        with np.errstate(invalid='ignore'):
            values = sums[:, 0] / sums[:, 1]
        sampled[f'{name}_pooled{slash}{class_name}'] = np.array([scores.pooled(ratio), *values])
    return sampled


def to_interval(values: Sampled) -> Interval:
    """Interval of sampled values, or of the difference of two that were sampled alike.

    Args:
        values: The number itself, then its value in each sample; samples without such cells (NaN) are left out.
    """
    samples = values[1:][~np.isnan(values[1:])]
    low, high = np.percentile(samples, (2.5, 97.5)) if len(samples) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))


def _draw(images: int, samples: int, seed: int) -> NDArray[np.int64]:
    """Indices of images, (samples, images)."""
    return np.random.default_rng(seed).integers(images, size=(samples, images))
