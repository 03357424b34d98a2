"""One prediction of the model as result dicts, the form in which results are stored, submitted and evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_utils
from numpy.typing import NDArray

from mmcell.errors import InputError
from mmcell.io.files import read_json

#: {'image_id', 'bbox' [x, y, w, h], 'score', 'category_id', 'segmentation' {'size' [h, w], 'counts' str}}, and
#: 'probabilities' of each class and of none of these where the model gives them; evaluation and submission leave them
#: out.
Result = dict[str, Any]


def to_results(image_id: int, prediction: Mapping[str, Any], category_ids: Sequence[int]) -> list[Result]:
    """Turn the predicted instances of one image into result dicts, one an instance, in the given order.

    Args:
        image_id: The image's id in the annotation file.
        prediction: `bboxes` (N, 4) as x1, y1, x2, y2 in pixels, `scores` (N,), `labels` (N,) from 0, and, where masks
            were predicted, `masks`: N RLE dicts, or a bool array of shape (N, H, W) as MMDetection's mask head gives.
            Tensors or arrays. Where the model gives them, `probabilities` (N, C + 1), the last of none of the classes.
        category_ids: The category id of each label.

    Returns:
        Dicts with the keys `image_id`, `bbox` (x, y, width, height), `score`, `category_id` and, with masks,
        `segmentation`, with probabilities `probabilities` (to six digits): ready for JSON.

    Raises:
        InputError: If a label has no category.
    """
    boxes, scores = _array(prediction['bboxes']).reshape(-1, 4).astype(float), _array(prediction['scores'])
    labels = _array(prediction['labels'])
    if len(labels) and labels.max() >= len(category_ids):
        raise InputError(
            'num_classes',
            f'the model predicts label {labels.max()}, but the annotation file has {len(category_ids)} categories',
            'set num_classes of the heads to the number of categories',
        )
    boxes[:, 2:] -= boxes[:, :2]
    results = [
        {'image_id': int(image_id), 'bbox': box, 'score': score, 'category_id': int(category_ids[label])}
        for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist())
    ]
    for result, mask in zip(results, prediction.get('masks', ())):
        result['segmentation'] = _to_rle(mask)
    if 'probabilities' in prediction:
        for result, row in zip(results, _array(prediction['probabilities']).astype(float).round(6).tolist()):
            result['probabilities'] = row
    return results


def probabilities_of(results: Sequence[Result], num_classes: int | None = None) -> NDArray[np.float64] | None:
    """The probabilities of each class and of none of these, (N, C + 1); None unless all results have them.

    Rows are divided by their sums, which rounding has moved a little away from 1.

    Args:
        results: Result dicts of one model.
        num_classes: C; None takes any, the same for all.

    Raises:
        InputError: If some are no probabilities of as many classes.
    """
    if not results or not all('probabilities' in result for result in results):
        return None
    cure = 'predict again, or remove the probabilities of all results'
    try:
        values = np.array([result['probabilities'] for result in results], dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        values = np.empty(0)
    if values.ndim != 2 or (num_classes is not None and values.shape[1] != num_classes + 1):
        count = 'as many numbers' if num_classes is None else f'{num_classes + 1} numbers'
        raise InputError('results', f'have probabilities that are not {count} each', cure)
    totals = values.sum(axis=1)
    # Written so that NaN is refused, too.
    if not ((values >= 0).all() and (np.abs(totals - 1) < 1e-3).all()):
        raise InputError('results', 'have probabilities that do not sum up to 1', cure)
    return values / totals[:, None]


def sort_results(results: Iterable[Result]) -> list[Result]:
    """Sort by image id, then by falling score; equal scores keep their order."""
    return sorted(results, key=lambda result: (result['image_id'], -result['score']))


def open_results(source: str | Path | Sequence[Result]) -> tuple[str | Path, Any]:
    """A name for errors, and what a results file holds, or what is given; to be checked by who knows the images.

    Raises:
        InputError: If the file cannot be read.
    """
    return (source, read_json(source)) if isinstance(source, (str, Path)) else ('results', source)


def _array(values: Any) -> NDArray:
    """Tensors of any device and precision (numpy has no bfloat16), lists and arrays."""
    if hasattr(values, 'detach'):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)


def _to_rle(mask: Any) -> dict[str, Any]:
    """One RLE dict or one (H, W) bitmap -> an RLE dict that JSON can hold."""
    if not isinstance(mask, Mapping):
        mask = mask_utils.encode(np.asfortranarray(_array(mask), dtype=np.uint8))
    counts = mask['counts']
    return {
        'size': [int(side) for side in mask['size']],
        'counts': counts.decode() if isinstance(counts, bytes) else counts,
    }
