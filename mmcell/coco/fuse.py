"""Results of several models, folds or scales as one: files in, a file or a submission out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.coco.schema import read_results
from mmcell.coco.submission import write_submission
from mmcell.errors import InputError
from mmcell.io.files import read_json, write_json
from mmcell.structures.fusion import Method, Predictions, fuse
from mmcell.structures.rle import decode

#: {'image_id', 'bbox' [x, y, w, h], 'score', 'category_id', 'segmentation' {'size' [h, w], 'counts' str}}
Result = dict[str, Any]

RESULTS_NAME = 'results.json'
_CURE = 'give results files made by tools/test.py or tools/infer.py'


def fuse_files(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    images_json: str | Path | None = None,
    submission: bool = False,
    weights: Sequence[float] | None = None,
    iou_thr: float = 0.55,
    method: Method = 'wbf',
    score_thr: float = 0.0,
    max_per_img: int | None = None,
) -> list[Path]:
    """Fuse results files of one list of images by :func:`mmcell.structures.fusion.fuse`.

    Args:
        paths: Results files, one a member: lists of result dicts.
        out: Folder for `results.json`, or for `test-results.json` and `test-results.zip`.
        images_json: COCO json of the images that were predicted on, needs no annotations; the results must be theirs.
        submission: Write a validated submission; needs `images_json`.
        weights: See :func:`fuse`.
        iou_thr: See :func:`fuse`.
        method: See :func:`fuse`.
        score_thr: Lowest score that is written.
        max_per_img: The best so many of each image are written; None writes all.

    Returns:
        The paths of what was written.

    Raises:
        InputError: If a file is no list of results with masks, a result does not fit the images, or two files are of
            different images. Nothing is written then.
    """
    sizes = None if images_json is None else _image_sizes(images_json)
    members = [_read(path, sizes, images_json) for path in paths]
    _check_same_images(paths, members)
    results = fuse_results(members, weights, iou_thr, method, score_thr, max_per_img)
    if submission:
        if images_json is None:
            raise ValueError('a submission needs images_json')
        return write_submission(results, images_json, out)
    path = Path(out) / RESULTS_NAME
    write_json(path, results)
    return [path]


def fuse_results(
    members: Sequence[Sequence[Result]],
    weights: Sequence[float] | None = None,
    iou_thr: float = 0.55,
    method: Method = 'wbf',
    score_thr: float = 0.0,
    max_per_img: int | None = None,
) -> list[Result]:
    """Fuse the results of several members; arguments as :func:`fuse_files`.

    Returns:
        Result dicts by image id, then by falling score.
    """
    by_image: dict[int, list[list[Result]]] = defaultdict(lambda: [[] for _ in members])
    for index, results in enumerate(members):
        for result in results:
            by_image[result['image_id']][index].append(result)
    fused = []
    for image_id, groups in sorted(by_image.items()):
        size = tuple(next(result for group in groups for result in group)['segmentation']['size'])
        predictions = fuse([_gather(group, size) for group in groups], weights, iou_thr, method)
        kept = np.flatnonzero(predictions.scores >= score_thr)[:max_per_img]
        fused += _to_results(image_id, predictions.select(kept))
    return fused


def _gather(results: Sequence[Result], size: tuple[int, int]) -> Predictions:
    boxes = np.array([result['bbox'] for result in results], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Predictions(
        boxes,
        np.array([result['score'] for result in results], dtype=np.float64),
        np.array([result['category_id'] for result in results], dtype=np.int64),
        decode([result['segmentation'] for result in results], size),
    )


def _to_results(image_id: int, predictions: Predictions) -> list[Result]:
    boxes = predictions.boxes.copy()
    boxes[:, 2:] -= boxes[:, :2]
    columns = boxes.tolist(), predictions.scores.tolist(), predictions.labels.tolist(), predictions.masks.encode()
    return [
        {'image_id': image_id, 'bbox': box, 'score': score, 'category_id': category, 'segmentation': mask}
        for box, score, category, mask in zip(*columns)
    ]


def _image_sizes(path: str | Path) -> dict[int, tuple[int, int]]:
    content = read_json(path)
    try:
        return {image['id']: (image['height'], image['width']) for image in content['images']}
    except (KeyError, TypeError) as error:
        problem = f'is not COCO json ({type(error).__name__}: {error})'
        raise InputError(path, problem, 'give a json made by tools/convert.py') from None


def _read(
    path: str | Path, sizes: Mapping[int, tuple[int, int]] | None, images_json: str | Path | None
) -> list[Result]:
    results = read_results(path)
    for index, result in enumerate(results):
        if (problem := _problem(result)) is not None:
            raise InputError(path, f'result {index} {problem}', _CURE)
        image_id, size = result['image_id'], tuple(result['segmentation']['size'])
        if sizes is not None and sizes.get(image_id) != size:
            problem = f'result {index} is of image {image_id} of height and width {list(size)}'
            raise InputError(path, f'{problem}, which {images_json} does not list', 'give the json it was predicted on')
    for image_id, group in _by_image(results).items():
        try:
            decode([result['segmentation'] for result in group], tuple(group[0]['segmentation']['size']))
        except (ValueError, TypeError) as error:  # pycocotools raises the latter for malformed lists of counts
            raise InputError(path, f'image {image_id}: {error}', _CURE) from None
    return results


def _by_image(results: Sequence[Result]) -> dict[int, list[Result]]:
    groups = defaultdict(list)
    for result in results:
        groups[result['image_id']].append(result)
    return groups


def _problem(result: Any) -> str | None:
    """What keeps a result from being fused."""
    if not isinstance(result, dict):
        return 'is not a result'
    if 'segmentation' not in result:
        return 'has no mask'
    if any(type(result.get(key)) is not int for key in ('image_id', 'category_id')):
        return 'has no whole numbers as image_id and category_id'
    score, box, mask = result.get('score'), result.get('bbox'), result['segmentation']
    if not _is_number(score) or not 0 <= score <= 1:
        return f'has the score {score!r}, which is not between 0 and 1'
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)) or min(box[2:]) < 0:
        return f'has the box {box!r}'
    if not isinstance(mask, dict) or not isinstance(mask.get('counts'), (str, list)):
        return 'has a mask that is not RLE'
    size = mask.get('size')
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        return f'has a mask of size {size!r}'
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _check_same_images(paths: Sequence[str | Path], members: Sequence[Sequence[Result]]) -> None:
    """Refuse files that cannot be of one list of images: an image id with two sizes, or no image in common."""
    known: dict[int, tuple[list[int], str | Path]] = {}
    for path, results in zip(paths, members):
        found = {result['image_id']: result['segmentation']['size'] for result in results}
        if known and found and not known.keys() & found.keys():
            raise InputError(path, f'has no image in common with {paths[0]}', 'fuse results of the same images')
        for image_id, size in found.items():
            expected, first = known.setdefault(image_id, (size, path))
            if size != expected:
                problem = f'has masks of size {size} for image {image_id}, but {first} of {expected}'
                raise InputError(path, problem, 'fuse results of the same images')
