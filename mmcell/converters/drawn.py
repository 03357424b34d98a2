"""What layouts of outlines drawn by hand share: their files, their points, which of them are cells of which class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcell.converters.base import ImageRecord, Layout
from mmcell.converters.listing import list_names
from mmcell.errors import InputError, show
from mmcell.io.limits import MAX_COVERED
from mmcell.structures.rle import Runs

#: No pixel of an image has a coordinate beyond this.
MAX_COORDINATE = 2**31


@dataclass
class DrawnLayout(Layout):
    """Images with a document each, which names the class of every outline.

    Unless names are given, the classes are those of the data in alphabetical order. Outlines without a class are an
    error, unless none in the data has one or a single name is given: they then are of that class.
    """

    # Files that warnings name.
    _passed_over: list[Path] = field(default_factory=list, init=False, repr=False)
    # The class of outlines without one; None refuses them.
    _unnamed: str | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        given = tuple(self.class_names)
        super().__post_init__()
        if len(given) == 1 or not (given or self._labels):
            self._unnamed = self.class_names[0]
        if not given and len(self.class_names) > 1:
            self.warnings.append('classes are numbered in alphabetical order; --classes names them in another')

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """Names of all classes of the data, in alphabetical order; `cell` if there are none."""
        return tuple(sorted(self._labels)) or ('cell',)

    def names(self) -> list[str]:
        """Paths of the images that have a document, sorted."""
        documents, images = self._pairs
        without = sorted(images.keys() - documents.keys())
        if without:
            self.warnings.append(f'{len(without)} images have no annotations and are left out: {list_names(without)}')
        return sorted(documents)

    def files(self) -> Iterable[Path]:
        """All images, documents, and what has been named as passed over."""
        documents, images = self._pairs
        return [*images.values(), *documents.values(), *self._passed_over]

    @cached_property
    def _labels(self) -> set[str]:
        """All classes that the documents name."""
        raise NotImplementedError

    @cached_property
    def _pairs(self) -> tuple[dict[str, Path], dict[str, Path]]:
        """Documents and images by the image's path within SRC; the second also has images without a document."""
        raise NotImplementedError

    def _warn_of_others(self, why: str) -> None:
        """Name the json files that are passed over."""
        if self._passed_over:
            names = [self._relative(path) for path in self._passed_over]
            self.warnings.append(f'{len(names)} json files are {why} and are skipped: {list_names(names)}')

    def _category(self, path: Path, name: str, label: str) -> int:
        """Category id of a class.

        Args:
            path: The document.
            name: What to call the outline in an error.
            label: Its class, '' for none.

        Raises:
            InputError: If it has none, or one that is not known.
        """
        if label in self.class_names:
            return self.class_names.index(label) + 1
        if label:
            cure = f'name all classes with --classes, now {", ".join(self.class_names):.80}'
            raise InputError(path, f'has {name} of the class {show(label)}', cure)
        if self._unnamed is None:
            cure = 'give every cell a class or remove it; if all have one class, name it with --classes'
            raise InputError(path, f'has {name} without a class', cure)
        return self.class_names.index(self._unnamed) + 1

    def _record_of_drawn(
        self, name: str, masks: Runs, categories: Sequence[int], leaves: Sequence[bool], notes: Counter[str]
    ) -> ImageRecord:
        """The record of an image with N outlines.

        Args:
            name: Name of the image.
            masks: The N outlines, filled. One that is there twice is taken once.
            categories: Category id of each.
            leaves: Whether each reaches beyond the image.
            notes: What has been left out so far, and how often.
        """
        documents, images = self._pairs
        if masks.areas.sum() > MAX_COVERED:
            raise InputError(documents[name], 'holds outlines too large for cells', 'remove those that are none')
        filled = masks.areas > 0
        chosen: dict[int, list[int]] = {}
        seen: set[tuple[int, str]] = set()
        for index, (category, rle) in enumerate(zip(categories, masks.encode())):
            key = category, rle['counts']
            if filled[index] and key in seen:
                notes['cells appear twice with the same class and outline, and are counted once'] += 1
                continue
            seen.add(key)
            chosen.setdefault(category, []).append(index)
            notes['outlines reach beyond their image and are cut off at its edge'] += bool(
                leaves[index] and filled[index]
            )
        cells = {category: [masks.select(np.array(index))] for category, index in chosen.items()}
        return replace(self._record_of_runs(name, images[name], cells), notes={k: v for k, v in notes.items() if v})


def to_points(values: Any) -> NDArray[np.float64]:
    """Points of an outside file, (K, 2) as x, y; further coordinates are dropped.

    Raises:
        ValueError: If they are none, or beyond any image.
    """
    try:
        points = np.array(values)
    except (ValueError, OverflowError):  # Lists of several lengths; deeper ones than arrays can be.
        points = np.array(None)
    if points.size == 0 and isinstance(values, list):
        return np.zeros((0, 2))
    if points.ndim != 2 or points.dtype.kind not in 'iuf' or points.shape[1] < 2:
        raise ValueError('an outline that is not a list of points')
    points = points[:, :2].astype(np.float64)
    # Written so that NaN is refused, too.
    if not (np.abs(points) <= MAX_COORDINATE).all():
        raise ValueError('a coordinate that is not a pixel')
    return points


def leaves_image(rings: Iterable[NDArray[np.float64]], size: tuple[int, int]) -> bool:
    """Whether a corner lies outside an image of height and width `size`."""
    return any((ring < 0).any() or (ring > size[::-1]).any() for ring in rings)
