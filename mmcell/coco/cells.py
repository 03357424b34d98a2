"""Cells of results and of annotations, image by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.coco.results import Result, probabilities_of
from mmcell.coco.schema import image_sizes, raise_first, result_problems
from mmcell.coco.truth import Truth
from mmcell.errors import InputError
from mmcell.structures.cells import Cells
from mmcell.structures.resolve import resolve, take_once
from mmcell.structures.rle import Runs, decode

# Least share of its box that the mask of a model's result fills. Round cells fill three quarters; a diagonal spindle
# ten times as long as wide fills a fifth.
_LEAST_FILL = 0.1


def cells_of(
    results: Sequence[Result],
    images: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
    score_thr: float = 0.0,
    where: str | Path = 'results',
    **how: Any,
) -> Iterator[tuple[int, Cells]]:
    """What was found in each image, each cell once.

    All results are checked before the first image is given; cells are made one image at a time. They have the
    probabilities of their results where all of an image have them, else those that scores make up. Results with
    probabilities are a model's own: of these, boxes of which the mask fills less than a tenth are left out. They lie
    between cells, and the mask head finds no more than a few pixels there.

    Args:
        results: Result dicts with `segmentation`, in any order.
        images: Image dicts with `id`, `height` and `width`.
        categories: Category dicts with `id` and `name`; label i is the i-th by id.
        score_thr: Cells that score less are left out.
        where: Where the results are from, for errors.
        how: See :func:`mmcell.structures.resolve.resolve`.

    Returns:
        Id and cells of every image, in the order of `images`; without results there are none.

    Raises:
        InputError: If a result does not fit the images and categories, or has no mask.
    """
    raise_first(where, result_problems(results, images, categories, needs=('segmentation',)))
    sizes = image_sizes(images)
    categories = sorted(categories, key=lambda category: category['id'])
    label_of = {category['id']: label for label, category in enumerate(categories)}
    by_image = _by_image(results)

    def stream() -> Iterator[tuple[int, Cells]]:
        for image_id, size in sizes.items():
            found = by_image.pop(image_id, [])
            masks = decode([result['segmentation'] for result in found], size)
            if all('probabilities' in result and 'bbox' in result for result in found):
                boxes = np.array([result['bbox'] for result in found]).reshape(-1, 4)
                kept = np.flatnonzero(masks.areas >= _LEAST_FILL * boxes[:, 2] * boxes[:, 3])
                found, masks = [found[index] for index in kept], masks.select(kept)
            scores = [result['score'] for result in found]
            labels = [label_of[result['category_id']] for result in found]
            probabilities = probabilities_of(found, len(categories))
            names = [category['name'] for category in categories]
            cells = resolve(masks, scores, labels, names, probabilities, **how)
            yield image_id, cells.above(score_thr)

    return stream()


def true_cells(truth: Truth) -> Iterator[tuple[int, Cells, Runs]]:
    """The annotated cells of each image.

    Where two overlap, the earlier annotation has the pixel; one of which nothing is left is no cell.

    Returns:
        Id, cells and crowds of every image, in the order of `truth.images`. Crowds are no single cells.

    Raises:
        InputError: If an annotation has no mask.
    """
    label_of = {category_id: label for label, category_id in enumerate(truth.category_ids)}
    by_image = _by_image(truth.annotations)

    def stream() -> Iterator[tuple[int, Cells, Runs]]:
        for image_id, size in truth.image_sizes.items():
            annotated = by_image.pop(image_id, [])
            masks = decode([annotation['segmentation'] for annotation in annotated], size)
            crowd = np.array([annotation['iscrowd'] for annotation in annotated], dtype=bool)
            labels = np.array([label_of[annotation['category_id']] for annotation in annotated], dtype=np.int64)
            kept, left = take_once(masks.select(np.flatnonzero(~crowd)))
            yield (
                image_id,
                Cells.certain(left, labels[~crowd][kept], truth.classes),
                masks.select(np.flatnonzero(crowd)),
            )

    return stream()


def _by_image(instances: Iterable[Result]) -> dict[int, list[Result]]:
    groups = defaultdict(list)
    for instance in instances:
        if 'segmentation' not in instance:
            raise InputError(f'image {instance["image_id"]}', 'has cells without masks', 'cells need masks')
        groups[instance['image_id']].append(instance)
    return groups
