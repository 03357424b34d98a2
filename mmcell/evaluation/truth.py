"""The annotation file as the evaluators need it: checked, sorted, every mask an RLE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pycocotools.mask as mask_utils

from mmcell.errors import InputError
from mmcell.files import read_json


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
        return {image['id']: (image['height'], image['width']) for image in self.images}

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
        InputError: If it cannot be read, has no images or categories, or an annotation belongs to neither.
    """
    if isinstance(source, Truth):
        return source
    where, content = ('annotations', source) if isinstance(source, Mapping) else (source, read_json(source))
    if not isinstance(content, Mapping) or not content.get('images') or not content.get('categories'):
        raise InputError(where, 'has no images or no categories', 'give an annotation file made by tools/convert.py')
    images = sorted(content['images'], key=lambda image: image['id'])
    categories = sorted(content['categories'], key=lambda category: category['id'])
    sizes = {image['id']: (image['height'], image['width']) for image in images}
    category_ids = {category['id'] for category in categories}
    annotations = []
    # Ids are given anew: COCO's matching marks the unmatched with 0, so an annotation of id 0 would never match.
    for index, annotation in enumerate(content.get('annotations', ()), start=1):
        if annotation['image_id'] not in sizes or annotation['category_id'] not in category_ids:
            raise InputError(where, f'annotation {annotation.get("id")} has no such image or category', 'convert again')
        annotation = {**annotation, 'id': index, 'iscrowd': int(annotation.get('iscrowd', 0))}
        if annotation.get('segmentation'):
            annotation['segmentation'] = _to_rle(annotation['segmentation'], *sizes[annotation['image_id']])
            annotation.setdefault('area', float(mask_utils.area(annotation['segmentation'])))
        elif 'bbox' in annotation:
            annotation.setdefault('area', annotation['bbox'][2] * annotation['bbox'][3])
        annotations.append(annotation)
    return Truth(images, categories, annotations)


def _to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Polygons, uncompressed or compressed RLE -> compressed RLE, as pycocotools' `annToRLE` does."""
    if isinstance(segmentation, list):
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    if isinstance(segmentation['counts'], list):
        return mask_utils.frPyObjects(segmentation, height, width)
    return dict(segmentation)
