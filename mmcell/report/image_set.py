"""The images of a COCO json, with what pages, pictures and exports need to know of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcell.coco.cells import cells_of
from mmcell.coco.results import Result
from mmcell.coco.schema import image_sizes, read_coco
from mmcell.coco.truth import Truth, load_truth
from mmcell.errors import InputError
from mmcell.io.images import ChannelOrder, read_image
from mmcell.io.output_names import unique_stems
from mmcell.structures.cells import Cells


@dataclass(frozen=True)
class ImageSet:
    """Images and classes of a COCO json.

    Attributes:
        path: The json.
        images: Image dicts (`id`, `file_name`, `height`, `width`), ordered by id.
        categories: Category dicts (`id`, `name`), ordered by id.
        channel_order: Order of the colors in the image files.
        mpp: Microns per pixel of images that do not say another number themselves; None if that is not known.
    """

    path: Path
    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    channel_order: ChannelOrder
    mpp: float | None = None

    @classmethod
    def load(cls, path: str | Path) -> ImageSet:
        """Read a COCO json, with or without annotations.

        Raises:
            InputError: If it cannot be read or used.
        """
        content = read_coco(path)
        images, categories = (sorted(content[key], key=lambda each: each['id']) for key in ('images', 'categories'))
        info = content.get('info', {})
        return cls(Path(path), images, categories, info.get('channel_order', 'rgb'), info.get('mpp'))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return tuple(category['name'] for category in self.categories)

    @property
    def image_root(self) -> Path:
        """Where the images lie unless the user says otherwise: ROOT/images for ROOT/annotations/<name>.json."""
        return self.path.parent.parent / 'images'

    @cached_property
    def names(self) -> dict[int, str]:
        """For each image id what its own files are called, see :func:`mmcell.io.output_names.unique_stems`."""
        stems = unique_stems([image['file_name'] for image in self.images])
        return {image['id']: stem for image, stem in zip(self.images, stems)}

    def mpp_of(self, image: Mapping[str, Any]) -> float | None:
        """Microns per pixel of an image; None if that is not known."""
        return image.get('mpp', self.mpp)

    def found(
        self, results: Sequence[Result], score_thr: float = 0.0, where: str | Path = 'results'
    ) -> Iterator[tuple[Mapping[str, Any], Cells]]:
        """Each image with the cells in it that score `score_thr` or more, each once.

        Args:
            results: Result dicts with masks; checked before the first image is given.
            score_thr: The threshold.
            where: Where they are from, for errors.

        Raises:
            InputError: If the results do not fit the images.
        """
        cells = cells_of(results, self.images, self.categories, score_thr, where=where)
        return ((image, group) for image, (_, group) in zip(self.images, cells))

    def read(self, image: Mapping[str, Any], root: str | Path) -> NDArray[np.uint8]:
        """Read one image, (H, W, 3) RGB.

        Raises:
            InputError: If it cannot be read or has another size than the json says.
        """
        path = Path(root) / image['file_name']
        pixels = read_image(path, self.channel_order)
        height, width = pixels.shape[:2]
        if (height, width) != (image['height'], image['width']):
            problem = f'is {width} x {height}, but {self.path} says {image["width"]} x {image["height"]}'
            raise InputError(path, problem, 'convert the data again')
        return pixels

    def truth(self, path: str | Path) -> Truth:
        """Annotations of these images from a COCO json.

        Raises:
            InputError: If it cannot be used, or is of other images or classes.
        """
        truth = load_truth(path)
        if truth.image_sizes != image_sizes(self.images) or (truth.category_ids, truth.classes) != (
            [category['id'] for category in self.categories],
            self.classes,
        ):
            raise InputError(path, f'has other images or categories than {self.path}', 'give files of the same images')
        return truth
