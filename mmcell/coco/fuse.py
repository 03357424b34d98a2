"""Results of several models, folds or scales as one: files in, a file or a submission out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmcell.coco.results import Result, probabilities_of
from mmcell.coco.schema import read_coco, read_results
from mmcell.coco.submission import write_submission
from mmcell.errors import InputError
from mmcell.io.files import write_json
from mmcell.structures.fusion import Method, Predictions, fuse
from mmcell.structures.rle import decode

RESULTS_NAME = 'results.json'


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
    listed = (None, None)
    if images_json is not None:
        content = read_coco(images_json)
        listed = content['images'], content['categories']
    members = [read_results(path, *listed, needs=('bbox', 'segmentation')) for path in paths]
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
        probabilities_of(results),
    )


def _to_results(image_id: int, predictions: Predictions) -> list[Result]:
    boxes = predictions.boxes.copy()
    boxes[:, 2:] -= boxes[:, :2]
    columns = boxes.tolist(), predictions.scores.tolist(), predictions.labels.tolist(), predictions.masks.encode()
    results = [
        {'image_id': image_id, 'bbox': box, 'score': score, 'category_id': category, 'segmentation': mask}
        for box, score, category, mask in zip(*columns)
    ]
    if predictions.probabilities is not None:
        for result, row in zip(results, predictions.probabilities.round(6).tolist()):
            result['probabilities'] = row
    return results


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
