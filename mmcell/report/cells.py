"""The cells of an image, read from results or annotations, as everything in this package needs them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcell.coco.masks import to_rle
from mmcell.coco.schema import image_sizes, raise_first, read_coco, result_problems
from mmcell.errors import InputError
from mmcell.io.images import read_image
from mmcell.io.output_names import unique_stems
from mmcell.structures.rle import Runs, decode


@dataclass(frozen=True)
class Cells:
    """The N cells of one image.

    Attributes:
        labels: Class of each, an index into the class names, (N,) int64.
        scores: Score of each, (N,) float64; 1 for truth.
        runs: Masks of them.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    runs: Runs

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """Tight boxes, (N, 4) as x, y, w, h in pixels; zeros for a cell without pixels."""
        return self.runs.boxes

    def select(self, index: NDArray[np.integer]) -> Cells:
        """Some of the cells, in the order of `index`."""
        return Cells(self.labels[index], self.scores[index], self.runs.select(index))

    def above(self, score_thr: float) -> Cells:
        """The cells that score `score_thr` or more."""
        return self.select(np.flatnonzero(self.scores >= score_thr))

    def counts(self, num_classes: int) -> list[int]:
        """Number of cells of each class."""
        return np.bincount(self.labels, minlength=num_classes).tolist()


@dataclass(frozen=True)
class ImageSet:
    """Images and classes of a COCO json.

    Attributes:
        path: The json.
        images: Image dicts (`id`, `file_name`, `height`, `width`), ordered by id.
        classes: Class names, ordered by category id.
        category_ids: Category id of each class.
        channel_order: Order of the colours in the image files.
        annotations: Annotation dicts.
    """

    path: Path
    images: list[dict[str, Any]]
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    channel_order: str
    annotations: list[dict[str, Any]]

    @classmethod
    def load(cls, path: str | Path) -> ImageSet:
        """Read a COCO json, with or without annotations.

        Raises:
            InputError: If it cannot be read or lacks images or categories.
        """
        path, content = Path(path), read_coco(path)
        images = sorted(content['images'], key=lambda image: image['id'])
        categories = sorted((category['id'], category['name']) for category in content['categories'])
        return cls(
            path,
            images,
            tuple(name for _, name in categories),
            tuple(category_id for category_id, _ in categories),
            content.get('info', {}).get('channel_order', 'rgb'),
            content.get('annotations', []),
        )

    @property
    def image_root(self) -> Path:
        """Where the images lie unless the user says otherwise: ROOT/images for ROOT/annotations/<name>.json."""
        return self.path.parent.parent / 'images'

    @cached_property
    def names(self) -> dict[int, str]:
        """For each image id what its own files are called, see :func:`mmcell.io.output_names.unique_stems`."""
        stems = unique_stems([image['file_name'] for image in self.images])
        return {image['id']: stem for image, stem in zip(self.images, stems)}

    def read(self, image: Mapping[str, Any], root: str | Path) -> NDArray[np.uint8]:
        """Read one image, (H, W, 3) RGB.

        Raises:
            InputError: If it cannot be read or has another size than the json says.
        """
        path = Path(root) / image['file_name']
        pixels = read_image(path, self.channel_order)
        self._check_size(path, image, pixels.shape[:2])
        return pixels

    def _check_size(self, path: Path, image: Mapping[str, Any], size: tuple[int, int]) -> None:
        if size != (image['height'], image['width']):
            problem = f'is {size[1]} x {size[0]}, but {self.path} says {image["width"]} x {image["height"]}'
            raise InputError(path, problem, 'convert the data again')

    def truth(self, path: str | Path | None = None) -> dict[int, Cells]:
        """The annotated cells of every image by its id; crowds are left out, since they are no single cells.

        Args:
            path: COCO json with annotations of these images; None takes the annotations of this one.

        Raises:
            InputError: If the other json is of other images or categories, or a cell has no mask.
        """
        annotated = self if path is None else ImageSet.load(path)
        problem = f'has other images or categories than {self.path}'
        if not annotated._sizes.items() <= self._sizes.items() or annotated.category_ids != self.category_ids:
            raise InputError(annotated.path, problem, 'give two files of the same images')
        cells = [cell for cell in annotated.annotations if not cell.get('iscrowd')]
        if not all(cell.get('segmentation') for cell in cells):
            raise InputError(annotated.path, 'has annotations without a mask', 'convert the data again')
        # Truth is certain, whatever score the file may give.
        return self._group([{**cell, 'score': 1} for cell in cells])

    def gather(self, results: Sequence[Mapping[str, Any]], where: str | Path = 'results') -> dict[int, Cells]:
        """Group results by image, in the given order.

        Args:
            results: Result dicts with masks.
            where: Where they are from, for error messages.

        Returns:
            Cells by image id, with an entry for every image of the json.

        Raises:
            InputError: At the first of :func:`mmcell.coco.schema.result_problems`, of which no mask is one here.
        """
        categories = [{'id': category_id} for category_id in self.category_ids]
        raise_first(where, result_problems(results, self.images, categories, needs=('segmentation',)))
        return self._group(results)

    @property
    def _sizes(self) -> dict[int, tuple[int, int]]:
        return image_sizes(self.images)

    def _group(self, instances: Sequence[Mapping[str, Any]]) -> dict[int, Cells]:
        """Annotations or results that were checked, by image."""
        labels = {category_id: label for label, category_id in enumerate(self.category_ids)}
        groups = defaultdict(list)
        for instance in instances:
            groups[instance['image_id']].append(instance)
        cells = {}
        for image_id, size in self._sizes.items():
            group = groups[image_id]
            cells[image_id] = Cells(
                np.array([labels[instance['category_id']] for instance in group], dtype=np.int64),
                np.array([instance['score'] for instance in group], dtype=np.float64),
                decode([to_rle(instance['segmentation'], size) for instance in group], size),
            )
        return cells
