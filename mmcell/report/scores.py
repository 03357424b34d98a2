"""The numbers of the page, from the evaluation package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmcell.coco.results import Result
from mmcell.coco.truth import Truth
from mmcell.evaluation import (
    Calibration,
    confusion_matrix,
    evaluate_calibration,
    evaluate_cells,
    evaluate_coco,
)
from mmcell.evaluation.headline import HEADLINES
from mmcell.structures.cells import Cells


@dataclass(frozen=True)
class Scores:
    """Numbers of one results file.

    Attributes:
        headline: Name -> number.
        columns: Headings of the table by class.
        rows: Name of a class (the last: all of them) and its numbers, NaN where it has none.
        confusion: Rows are true classes, columns predicted ones; the last column counts misses, the last row false
            alarms.
        calibration: Of the class probabilities.
    """

    headline: dict[str, float]
    columns: list[str]
    rows: list[tuple[str, list[float]]]
    confusion: list[list[int]]
    calibration: Calibration


def score_results(truth: Truth, results: Sequence[Result], found: Mapping[int, Cells], score_thr: float) -> Scores:
    """Score results, and the cells that were made of them.

    Args:
        truth: What is true.
        results: Result dicts, for average precision.
        found: Cells of each image by its id, for all else.
        score_thr: Threshold for what is counted at one threshold: PQ, F1, Dice, AJI, the confusion matrix, calibration.

    Raises:
        InputError: If they do not fit.
    """
    coco = evaluate_coco(truth, results)
    cells = evaluate_cells(truth, found, score_thr)
    precision = {
        f'{name} @{limit}': (limit, iou)
        for limit in reversed(coco.max_dets)
        for name, iou in (('mAP', None), ('AP50', 0.5), ('AP75', 0.75))
    }
    pooled = ('PQ', 'DQ', 'SQ', 'F1')
    rows = [
        (
            name,
            [coco.mean(limit, iou, class_name=name) for limit, iou in precision.values()]
            + [cells.pooled(f'{ratio}/{name}') for ratio in pooled],
        )
        for name in coco.classes
    ]
    overall = [coco.mean(limit, iou) for limit, iou in precision.values()]
    rows.append(('all', overall + [cells.pooled(ratio) for ratio in pooled]))
    numbers = {**coco.as_dict(), **cells.as_dict()}
    headline = {each.title: numbers[each.score] for each in HEADLINES}
    matrix = confusion_matrix(truth, found, score_thr)
    calibration = evaluate_calibration(truth, found, score_thr)
    return Scores(headline, [*precision, *pooled], rows, matrix.tolist(), calibration)
