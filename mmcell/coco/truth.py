"""The annotation file as the evaluators need it: checked, sorted, every mask an RLE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from mmcell.coco.masks import to_rle
from mmcell.coco.schema import find_problems, image_sizes, raise_first
from mmcell.errors import InputError
from mmcell.io.files import read_json
from mmcell.structures.rle import compress


@dataclass(frozen=True)
class Truth:
    """Ground truth in COCO's terms.

    Attributes:
        images: Image dicts, sorted by id.
        categories: Category dicts, sorted by id: the model's label i is the i-th of them.
        annotations: Annotation dicts with ids 1, 2, …, `iscrowd`, `area` and `segmentation` as compressed RLE (absent
            where the file has none). They are copies.
    """

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    annotations: list[dict[str, Any]]

    @property
    def image_sizes(self) -> dict[int, tuple[int, int]]:
        """(height, width) by image id."""
        return image_sizes(self.images)

    @property
    def category_ids(self) -> list[int]:
        """Category id of each label."""
        return [category['id'] for category in self.categories]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class name of each label."""
        return tuple(category['name'] for category in self.categories)


def load_truth(source: str | Path | Mapping[str, Any] | Truth) -> Truth:
    """Read ground truth in COCO's format; a file without annotations is fine.

    Args:
        source: An annotation file, its content, or what this function returned.

    Raises:
        InputError: If it cannot be read, or at the first of :func:`mmcell.coco.schema.find_problems`.
    """
    if isinstance(source, Truth):
        return source
    where: str | Path
    if isinstance(source, Mapping):
        # Who samples images may have one twice: annotations that are no file's need no ids of their own.
        where, content = 'annotations', {**source, 'annotations': _number(source.get('annotations', []))}
    else:
        where, content = source, read_json(source)
    raise_first(where, find_problems(content))
    images = sorted(content['images'], key=lambda image: image['id'])
    categories = sorted(content['categories'], key=lambda category: category['id'])
    sizes, annotations = image_sizes(images), []
    # Ids are given anew: COCO's matching marks the unmatched with 0, so an annotation of id 0 would never match.
    for index, annotation in enumerate(content.get('annotations', ()), start=1):
        annotation = {'iscrowd': 0, **annotation, 'id': index}
        if annotation.get('segmentation'):
            rle = compress(to_rle(annotation['segmentation'], sizes[annotation['image_id']]))
            annotation['segmentation'] = rle
            if 'area' not in annotation:
                annotation['area'] = float(coco_mask.area(rle))
        else:
            annotation.pop('segmentation', None)
            if 'bbox' in annotation:
                annotation.setdefault('area', annotation['bbox'][2] * annotation['bbox'][3])
        annotations.append(annotation)
    return Truth(images, categories, annotations)


def _number(annotations: Any) -> Any:
    if not isinstance(annotations, list):
        return annotations
    return [
        {**each, 'id': index} if isinstance(each, dict) else each for index, each in enumerate(annotations, start=1)
    ]


def pool_truths(sources: Sequence[str | Path]) -> Truth:
    """Read the ground truth of several sets of images as one set, such as of all folds' val images.

    Args:
        sources: Annotation files.

    Raises:
        InputError: If one cannot be used, has other categories than the first, or an image id of one before it.
    """
    truths = [load_truth(source) for source in sources]
    known: set[int] = set()
    for source, truth in zip(sources, truths):
        ids = {image['id'] for image in truth.images}
        if (truth.category_ids, truth.classes) != (truths[0].category_ids, truths[0].classes):
            raise InputError(source, f'has other categories than {sources[0]}', 'convert them in one go')
        if both := known & ids:
            problem = f'has the image id {min(both)}, as another of the sets does'
            raise InputError(source, problem, 'give sets of different images, converted in one go')
        known |= ids
    images = sorted((image for truth in truths for image in truth.images), key=lambda image: image['id'])
    annotations = [annotation for truth in truths for annotation in truth.annotations]
    numbered = [{**annotation, 'id': index} for index, annotation in enumerate(annotations, start=1)]
    return Truth(images, truths[0].categories, numbered)
