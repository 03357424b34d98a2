"""Which class is taken for which, with misses and false alarms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_utils
from numpy.typing import NDArray

from mmcell.coco.results import Result, check_results, sort_results
from mmcell.coco.truth import Truth, load_truth


def confusion_matrix(
    truth: str | Path | Mapping[str, Any] | Truth, results: Sequence[Result], score_thr: float, iou_thr: float = 0.5
) -> NDArray[np.int64]:
    """Count pairs of true and predicted class.

    In each image, predictions take by falling score the free true cell of highest mask IoU, of whatever class, if it is
    at least `iou_thr`. Predictions that take none, but lie in a crowd for that share of their area, are not counted.

    Args:
        truth: Annotation file or its content.
        results: Result dicts with `segmentation`.
        score_thr: Predictions that score less are left out.
        iou_thr: Least IoU of a pair.

    Returns:
        (C + 1, C + 1) int64: rows are the true classes in the order of their category ids, columns the predicted ones;
        the last column counts misses, the last row false alarms, their corner is 0.

    Raises:
        InputError: If the truth cannot be used or a result does not fit it.
    """
    truth = load_truth(truth)
    check_results(results, truth.image_sizes, set(truth.category_ids))
    label_of = {category_id: label for label, category_id in enumerate(truth.category_ids)}
    cells, predictions = defaultdict(list), defaultdict(list)
    for annotation in truth.annotations:
        cells[annotation['image_id']].append(annotation)
    for result in sort_results(result for result in results if result['score'] >= score_thr):
        predictions[result['image_id']].append(result)
    background = len(label_of)
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    for image_id in truth.image_sizes:
        true = np.array([label_of[cell['category_id']] for cell in cells[image_id]], dtype=np.int64)
        pred = np.array([label_of[result['category_id']] for result in predictions[image_id]], dtype=np.int64)
        crowd = np.array([cell['iscrowd'] for cell in cells[image_id]], dtype=bool)
        taken, counted = _match(cells[image_id], predictions[image_id], crowd, iou_thr)
        hit = taken >= 0
        missed = ~crowd
        missed[taken[hit]] = False
        np.add.at(matrix, (true[taken[hit]], pred[hit]), 1)
        np.add.at(matrix, (true[missed], background), 1)
        np.add.at(matrix, (background, pred[counted & ~hit]), 1)
    return matrix


def _match(
    cells: Sequence[Mapping[str, Any]], predictions: Sequence[Result], crowd: NDArray[np.bool_], iou_thr: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each prediction, by falling score: the index of the cell that it takes, or -1; and whether it counts."""
    taken, counted = np.full(len(predictions), -1), np.ones(len(predictions), dtype=bool)
    if not len(cells) or not len(predictions):
        return taken, counted
    masks = [cell['segmentation'] for cell in cells]
    # pycocotools compares boxes first and walks the runs of those masks only whose boxes meet.
    ious = mask_utils.iou([result['segmentation'] for result in predictions], masks, crowd.astype(int).tolist())
    counted = ~(ious[:, crowd] >= iou_thr).any(axis=1)
    ious[:, crowd] = 0
    for i, row in enumerate(ious):
        best = int(row.argmax())
        if row[best] >= iou_thr:
            taken[i] = best
            ious[:, best] = 0
    return taken, counted
