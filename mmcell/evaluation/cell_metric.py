"""PQ, AJI, Dice and F1 of cells as a metric of the validation and test loops."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmdet.registry import METRICS
from mmengine.logging import MMLogger
from terminaltables import AsciiTable

from mmcell.coco.results import Result
from mmcell.evaluation.metrics import ResultsMetric, to_tags
from mmcell.evaluation.nuclei import RADIUS, CellScores, evaluate_cells


@METRICS.register_module()
class CellMetric(ResultsMetric):
    """PQ, DQ, SQ, AJI, Dice and F1, pooled and by image, for any class and for each.

    The keys are `cell/PQ_pooled`, `cell/PQ_image_<class>`, `cell/score_thr` and so on (see
    :meth:`CellScores.as_dict`); what has no truth is NaN.

    Args:
        ann_file: Annotation file in COCO's format; label i is its i-th category by id.
        score_thr: Predictions that score less are left out. 'auto' picks the threshold of highest PQ on these very
            images: for val. For test, give the `score_thr` that val reported.
        radius: Pixels between the centres of one cell in truth and prediction, for F1.
        collect_device: 'cpu' or 'gpu', for results from several processes.
        prefix: Stands before the names.

    Raises:
        InputError: If the annotation file cannot be used.
    """

    def __init__(
        self,
        ann_file: str | Path,
        score_thr: float | Literal['auto'] = 'auto',
        radius: float = RADIUS,
        collect_device: str = 'cpu',
        prefix: str = 'cell',
    ) -> None:
        super().__init__(ann_file, collect_device, prefix)
        self.score_thr, self.radius = score_thr, radius

    def compute_metrics(self, results: list[tuple[int, list[Result]]]) -> dict[str, float]:
        """Score the results.

        Args:
            results: Image id and result dicts of every image.

        Returns:
            The numbers under their names, and `score_thr`.
        """
        scores = evaluate_cells(self.truth, self.gather(results), self.score_thr, self.radius)
        MMLogger.get_current_instance().info(f'cells that score {scores.score_thr:g} or more\n{_table(scores)}')
        return to_tags(scores.as_dict())


def _table(scores: CellScores) -> str:
    """A row a class and one for any, pooled numbers beside the means over images; below, what has no classes."""
    numbers = scores.as_dict()
    keys = [f'{name}_{how}' for name in ('PQ', 'DQ', 'SQ', 'F1') for how in ('pooled', 'image')]
    rows = [['class', *(key.replace('_', ' ') for key in keys)]]
    for class_name in scores.classes:
        rows.append([class_name, *(f'{numbers[f"{key}/{class_name}"]:.3f}' for key in keys)])
    rows.append(['any', *(f'{numbers[key]:.3f}' for key in keys)])
    others = [f'{name}_{how}' for name in ('AJI', 'AJI_plus', 'Dice', 'mPQ') for how in ('pooled', 'image')]
    return '\n'.join([AsciiTable(rows).table, ', '.join(f'{key} {numbers[key]:.3f}' for key in others)])
