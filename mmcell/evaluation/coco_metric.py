"""COCO average precision as a metric of the validation and test loops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmdet.registry import METRICS
from mmengine.logging import MMLogger
from terminaltables import AsciiTable

from mmcell.coco.results import Result
from mmcell.errors import InputError
from mmcell.evaluation.coco_ap import MAX_DETS, Backend, CocoScores, IouType, evaluate_coco
from mmcell.evaluation.metrics import ResultsMetric, to_tags
from mmcell.io.files import write_json


@METRICS.register_module()
class DenseCocoMetric(ResultsMetric):
    """mAP, AP50 and AP75, by size and by class, each named with its limit of detections an image.

    The keys are `segm/mAP_1000`, `segm/AP50_1000`, `segm/AP50_1000_<class>` and so on (see
    :meth:`CocoScores.as_dict`); a class without truth is NaN.

    Args:
        ann_file: Annotation file in COCO's format; label i is its i-th category by id.
        iou_type: 'segm' or 'bbox'; list the metric twice for both.
        max_dets: Limits of detections an image.
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
        logger.info(f'{self.iou_type} average precision\n{_table(scores)}')
        return to_tags(scores.as_dict())


_COLUMNS = {'mAP': None, 'AP50': 0.5, 'AP75': 0.75}


def _table(scores: CocoScores) -> str:
    """A row a class and one for all, under headings that name the limit of detections an image."""
    limits = scores.max_dets[::-1]
    columns = [(f'{name} @{limit}', limit, iou) for limit in limits for name, iou in _COLUMNS.items()]
    rows = [['class', *(heading for heading, _, _ in columns)]]
    for class_name in (*scores.classes, None):
        numbers = (scores.mean(limit, iou, class_name=class_name) for _, limit, iou in columns)
        rows.append([class_name or 'all', *(f'{number:.3f}' for number in numbers)])
    note = f'@{limits[0]}: at most {limits[0]} detections of a class in an image, as COCO counts'
    return f'{AsciiTable(rows).table}\n{note}'
