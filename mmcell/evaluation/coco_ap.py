"""COCO average precision for images that hold up to a thousand instances.

MMDetection's metrics mix limits in one row: mAP at 100 detections per image, AP50 at the largest limit. Here every
number carries its limit in its name, and is read from the precision array by us, so that both backends give the same.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import faster_coco_eval
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
import pycocotools.mask as mask_utils
from numpy.typing import NDArray

from mmcell.coco.results import Result
from mmcell.coco.schema import raise_first, result_problems
from mmcell.coco.truth import Truth, load_truth
from mmcell.errors import InputError
from mmcell.structures.rle import compress

Backend = Literal['faster_coco_eval', 'pycocotools']
IouType = Literal['segm', 'bbox']

#: Detections an image: the headline, and what a default scorer would count.
MAX_DETS = (1000, 100)

_KEYS = {'segm': 'segmentation', 'bbox': 'bbox'}
_BACKENDS = {
    # Without `separate_eval` the matches of the images are not kept, which the bootstrap needs.
    'faster_coco_eval': (faster_coco_eval.COCO, partial(faster_coco_eval.COCOeval_faster, separate_eval=True)),
    'pycocotools': (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
}

#: COCO's area ranges, in the order of the precision array: s up to 32x32 pixels, m up to 96x96.
AREAS = ('all', 's', 'm', 'l')


@dataclass(frozen=True)
class CocoScores:
    """Precision of one evaluation and the means over it.

    Attributes:
        precision: float64 of shape (IoU thresholds, 101 recall steps, classes, areas, limits); -1 where a class has no
            truth in that area range.
        iou_thrs: float64 of shape (10,), 0.5 to 0.95.
        classes: Class names, in the order of their category ids.
        max_dets: Limits of detections per image, rising as in `precision`.
    """

    precision: NDArray[np.float64]
    iou_thrs: NDArray[np.float64]
    classes: tuple[str, ...]
    max_dets: tuple[int, ...]

    def mean(self, max_det: int, iou: float | None = None, area: str = 'all', class_name: str | None = None) -> float:
        """Mean precision over recall steps, and over IoU thresholds and classes unless one is given.

        Args:
            max_det: The limit, one of `max_dets`.
            iou: One IoU threshold, or all of them.
            area: 'all', 's', 'm' or 'l'.
            class_name: One class, or all that have truth.

        Returns:
            0 to 1; NaN where no class has truth.
        """
        values = self.precision[..., AREAS.index(area), self.max_dets.index(max_det)]
        if iou is not None:
            values = values[np.isclose(self.iou_thrs, iou)]
        if class_name is not None:
            values = values[..., self.classes.index(class_name)]
        values = values[values > -1]
        return float(values.mean()) if values.size else math.nan

    def as_dict(self) -> dict[str, float]:
        """Every number under its name, the largest limit first.

        `mAP_1000`, `AP50_1000`, `AP75_1000`, `mAP_s_1000`, `mAP_m_1000`, `mAP_l_1000`; for each class
        `mAP_1000/<class>` and `AP50_1000/<class>`; then the same at 100.
        """
        numbers = {}
        for limit in reversed(self.max_dets):
            numbers[f'mAP_{limit}'] = self.mean(limit)
            numbers[f'AP50_{limit}'] = self.mean(limit, iou=0.5)
            numbers[f'AP75_{limit}'] = self.mean(limit, iou=0.75)
            for area in AREAS[1:]:
                numbers[f'mAP_{area}_{limit}'] = self.mean(limit, area=area)
            for name in self.classes:
                numbers[f'mAP_{limit}/{name}'] = self.mean(limit, class_name=name)
                numbers[f'AP50_{limit}/{name}'] = self.mean(limit, iou=0.5, class_name=name)
        return numbers


def evaluate_coco(
    truth: str | Path | Mapping[str, Any] | Truth,
    results: Sequence[Result],
    iou_type: IouType = 'segm',
    max_dets: Sequence[int] = MAX_DETS,
    backend: Backend = 'faster_coco_eval',
) -> CocoScores:
    """Score results as COCO does (Lin et al. 2014), at several limits in one run.

    Every image and every class of the annotation file counts. Classes without truth are left out of the means, crowds
    may be hit or missed without effect, no results give 0.

    Args:
        truth: Annotation file or its content.
        results: Result dicts; `segm` needs `segmentation`, `bbox` needs `bbox`. They are not changed.
        iou_type: What IoU and area are measured on.
        max_dets: Limits of detections per image (of each class, as COCO counts).
        backend: The library that matches; both give the same to 1e-12.

    Raises:
        InputError: If the truth cannot be used or a result does not fit it.
    """
    truth = load_truth(truth)
    evaluator = match(truth, results, iou_type, max_dets, backend)
    return accumulate(evaluator, truth.classes)


def match(truth: Truth, results: Sequence[Result], iou_type: IouType, max_dets: Sequence[int], backend: Backend) -> Any:
    """Match detections with truth in every image; :func:`accumulate` turns the matches into precision.

    Returns:
        The backend's evaluator after `evaluate()`.
    """
    if iou_type not in _KEYS or backend not in _BACKENDS:
        raise InputError(f'{iou_type}, {backend}', 'is no IoU type and backend', f'use {[*_KEYS]} and {[*_BACKENDS]}')
    field = _KEYS[iou_type]
    raise_first('results', result_problems(results, truth.images, truth.categories, needs=(field,)))
    for annotation in truth.annotations:
        if field not in annotation:
            where = f'annotation of image {annotation["image_id"]}'
            raise InputError(where, f'has no {field}', f'do not evaluate {iou_type}')
    detections = [_detection(result, index, iou_type) for index, result in enumerate(results, start=1)]
    # Ours, since the libraries change what they are given.
    annotations = [dict(annotation) for annotation in truth.annotations]
    coco, evaluator_class = _BACKENDS[backend]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = evaluator_class(_index(coco, truth, annotations), _index(coco, truth, detections), iou_type)
        evaluator.params.maxDets = sorted(max_dets)
        evaluator.evaluate()
    return evaluator


def accumulate(evaluator: Any, classes: tuple[str, ...]) -> CocoScores:
    """Turn the matches that an evaluator holds into precision."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    params = evaluator.params
    return CocoScores(np.asarray(evaluator.eval['precision']), params.iouThrs, classes, tuple(params.maxDets))


def resample(evaluator: Any, images: Sequence[int]) -> Any:
    """An evaluator of the matches in other images, without matching again; it knows the area range 'all' only.

    Args:
        evaluator: From :func:`match`, backend 'faster_coco_eval'.
        images: As many indices as there are images, each as often as its image is to count.
    """
    resampled = copy.copy(evaluator)
    resampled.params = copy.copy(evaluator.params)
    resampled.params.areaRng = evaluator.params.areaRng[:1]
    resampled._paramsEval = resampled.params
    # By class, then area range, then image.
    stride = len(evaluator.params.areaRng) * len(evaluator.params.imgIds)
    starts = range(0, len(evaluator._evalImgs_cpp), stride)
    resampled._evalImgs_cpp = [evaluator._evalImgs_cpp[start + image] for start in starts for image in images]
    return resampled


def _index(coco: type, truth: Truth, instances: list[dict[str, Any]]) -> Any:
    """`loadRes` is not used: it fails on no results, and takes the box's area where a result has both box and mask."""
    index = coco()
    index.dataset = {'images': truth.images, 'categories': truth.categories, 'annotations': instances}
    index.createIndex()
    return index


def _detection(result: Result, index: int, iou_type: IouType) -> dict[str, Any]:
    fields = {**result, 'id': index, 'iscrowd': 0}
    if iou_type == 'segm':
        fields['segmentation'] = compress(result['segmentation'])
        return fields | {'area': float(mask_utils.area(fields['segmentation']))}
    return fields | {'area': result['bbox'][2] * result['bbox'][3]}
