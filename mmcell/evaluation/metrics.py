"""The metrics of the validation and test loops: COCO average precision, and PQ, AJI, Dice and F1 of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from terminaltables import AsciiTable

from mmcell.coco.results import Result, sort_results, to_results
from mmcell.coco.truth import load_truth
from mmcell.errors import InputError
from mmcell.evaluation.coco_ap import MAX_DETS, Backend, CocoScores, IouType, evaluate_coco
from mmcell.evaluation.headline import to_tag
from mmcell.evaluation.nuclei import RADIUS, CellScores, evaluate_cells
from mmcell.io.files import write_json


class ResultsMetric(BaseMetric):
    """What our metrics share: predictions are kept as result dicts, masks as RLE, one entry per image.

    Args:
        ann_file: Annotation file in COCO's format; label i is its i-th category by id.
        collect_device: 'cpu' or 'gpu', for results from several processes.
        prefix: Stands before the names.

    Raises:
        InputError: If the annotation file cannot be used.
    """

    def __init__(self, ann_file: str | Path, collect_device: str, prefix: str) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.truth = load_truth(ann_file)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of one batch: one entry per image, since mmengine drops padding by counting entries.

        Args:
            data_batch: Not used.
            data_samples: Dicts with `img_id` and `pred_instances`, see :func:`to_results`.
        """
        for sample in data_samples:
            predicted = to_results(sample['img_id'], sample['pred_instances'], self.truth.category_ids)
            self.results.append((sample['img_id'], predicted))

    def gather(self, results: Sequence[tuple[int, list[Result]]]) -> list[Result]:
        """Result dicts of all images, sorted; warns when images of the annotation file are missing."""
        missing = len(self.truth.images) - len({image_id for image_id, _ in results})
        if missing:
            MMLogger.get_current_instance().warning(
                f'{missing} images of the annotation file were not predicted: their cells count as missed'
            )
        return sort_results(result for _, predicted in results for result in predicted)


@METRICS.register_module()
class DenseCocoMetric(ResultsMetric):
    """mAP, AP50 and AP75, by size and by class, each named with its limit of detections per image.

    The keys are `segm/mAP_1000`, `segm/AP50_1000`, `segm/AP50_1000_<class>` and so on (see
    :meth:`CocoScores.as_dict`); a class without truth is NaN.

    Args:
        ann_file: Annotation file in COCO's format; label i is its i-th category by id.
        iou_type: 'segm' or 'bbox'; list the metric twice for both.
        max_dets: Limits of detections per image.
        backend: 'faster_coco_eval', or 'pycocotools', which gives the same more slowly.
        out_file: Where to write the results as JSON, sorted by image id and falling score.
        format_only: Only write `out_file`: for images without truth.
        collect_device: 'cpu' or 'gpu', for results from several processes.
        prefix: Stands before the names; `iou_type` unless given.

    Raises:
        InputError: If the annotation file cannot be used, or `format_only` has no `out_file`.
    """

    def __init__(
        self,
        ann_file: str | Path,
        iou_type: IouType = 'segm',
        max_dets: Sequence[int] = MAX_DETS,
        backend: Backend = 'faster_coco_eval',
        out_file: str | Path | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(ann_file, collect_device, prefix or iou_type)
        if format_only and out_file is None:
            raise InputError('DenseCocoMetric', 'format_only has nowhere to write to', 'set out_file')
        self.iou_type, self.max_dets, self.backend = iou_type, max_dets, backend
        self.out_file, self.format_only = out_file, format_only

    def compute_metrics(self, results: list[tuple[int, list[Result]]]) -> dict[str, float]:
        """Write the results if asked to, and score them.

        Args:
            results: Image id and result dicts of every image.

        Returns:
            The numbers under their names; empty if `format_only`.
        """
        logger = MMLogger.get_current_instance()
        instances = self.gather(results)
        if self.out_file is not None:
            write_json(self.out_file, instances)
            logger.info(f'{len(instances)} instances of {len(results)} images written to {self.out_file}')
        if self.format_only:
            return {}
        scores = evaluate_coco(self.truth, instances, self.iou_type, self.max_dets, self.backend)
        logger.info(f'{self.iou_type} average precision\n{_coco_table(scores)}')
        return _to_tags(scores.as_dict())


@METRICS.register_module()
class CellMetric(ResultsMetric):
    """PQ, DQ, SQ, AJI, Dice and F1, pooled and by image, for any class and for each.

    The keys are `cell/PQ_pooled`, `cell/PQ_image_<class>`, `cell/score_thr` and so on (see
    :meth:`CellScores.as_dict`); what has no truth is NaN.

    Args:
        ann_file: Annotation file in COCO's format; label i is its i-th category by id.
        score_thr: Predictions that score less are left out. 'auto' picks the threshold of highest PQ on these same
            images: for val. For test, give the `score_thr` that val reported.
        radius: Pixels between the centers of one cell in truth and prediction, for F1.
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
        MMLogger.get_current_instance().info(f'cells that score {scores.score_thr:g} or more\n{_cell_table(scores)}')
        return _to_tags(scores.as_dict())


_COLUMNS = {'mAP': None, 'AP50': 0.5, 'AP75': 0.75}


def _coco_table(scores: CocoScores) -> str:
    """One row per class and one for all, under headings that name the limit of detections per image."""
    limits = scores.max_dets[::-1]
    columns = [(f'{name} @{limit}', limit, iou) for limit in limits for name, iou in _COLUMNS.items()]
    rows = [['class', *(heading for heading, _, _ in columns)]]
    for class_name in (*scores.classes, None):
        numbers = (scores.mean(limit, iou, class_name=class_name) for _, limit, iou in columns)
        rows.append([class_name or 'all', *(f'{number:.3f}' for number in numbers)])
    note = f'@{limits[0]}: at most {limits[0]} detections of a class in an image, as COCO counts'
    return f'{AsciiTable(rows).table}\n{note}'


def _cell_table(scores: CellScores) -> str:
    """One row per class and one for any, pooled numbers beside the means over images; below, what has no classes."""
    numbers = scores.as_dict()
    keys = [f'{name}_{how}' for name in ('PQ', 'DQ', 'SQ', 'F1') for how in ('pooled', 'image')]
    rows = [['class', *(key.replace('_', ' ') for key in keys)]]
    for class_name in scores.classes:
        rows.append([class_name, *(f'{numbers[f"{key}/{class_name}"]:.3f}' for key in keys)])
    rows.append(['any', *(f'{numbers[key]:.3f}' for key in keys)])
    others = [f'{name}_{how}' for name in ('AJI', 'AJI_plus', 'Dice', 'mPQ') for how in ('pooled', 'image')]
    return '\n'.join([AsciiTable(rows).table, ', '.join(f'{key} {numbers[key]:.3f}' for key in others)])


def _to_tags(numbers: Mapping[str, float]) -> dict[str, float]:
    return {to_tag(name): value for name, value in numbers.items()}
