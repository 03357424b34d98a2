"""The numbers of the page, from the evaluation package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmcell.evaluation import confusion_matrix, evaluate_cells, evaluate_coco, load_truth
from mmcell.evaluation.headline import HEADLINES


@dataclass(frozen=True)
class Scores:
    """Numbers of one results file.

    Attributes:
        headline: Name -> number.
        columns: Headings of the table by class.
        rows: Name of a class (the last: all of them) and its numbers, NaN where it has none.
        confusion: Rows are true classes, columns predicted ones; the last column counts misses, the last row false
            alarms.
    """

    headline: dict[str, float]
    columns: list[str]
    rows: list[tuple[str, list[float]]]
    confusion: list[list[int]]


def score_results(truth: str | Path, results: Sequence[Mapping[str, Any]], score_thr: float) -> Scores:
    """Score results.

    Args:
        truth: COCO json with annotations.
        results: Result dicts.
        score_thr: Threshold for what is counted at one threshold: PQ, F1, Dice, AJI and the confusion matrix.

    Raises:
        InputError: If they do not fit.
    """
    loaded = load_truth(truth)
    coco = evaluate_coco(loaded, results)
    cells = evaluate_cells(loaded, results, score_thr)
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
    matrix = confusion_matrix(loaded, results, score_thr)
    return Scores(headline, [*precision, *pooled], rows, matrix.tolist())
