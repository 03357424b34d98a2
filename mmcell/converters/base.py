"""What a source layout is: how to list its images, and how to read one with its instances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.registry import Registry
from numpy.typing import NDArray

from mmcell.errors import InputError
from mmcell.images import read_image_and_opacity
from mmcell.structures.rle import Instances

#: Every source layout, by the name that `tools/convert.py` takes.
LAYOUTS = Registry('layout', scope='mmcell', locations=['mmcell.converters'])


@dataclass(frozen=True)
class ImageRecord:
    """One annotated image, as read from its source.

    Attributes:
        name: What the split shuffles and `--group-by` matches.
        file_name: Path of the image, relative to the source folder, with forward slashes.
        size: Height and width in pixels.
        instances: Per category id, its instances.
        opaque: Whether the image has no alpha channel below its maximum.
        blueness: Mean blue minus mean red over the pixels of all instances, in 8-bit steps; NaN without instances.
    """

    name: str
    file_name: str
    size: tuple[int, int]
    instances: dict[int, Instances]
    opaque: bool = True
    blueness: float = float('nan')


@dataclass(frozen=True)
class TestImage:
    """One image to predict on: its id in the submission, its path relative to the source, its size (H, W)."""

    __test__ = False  # Not a pytest class, whatever its name says.

    id: int
    file_name: str
    size: tuple[int, int]


@dataclass
class Layout(ABC):
    """A source folder in one layout.

    Args:
        source: The folder.
        class_names: Names of the categories; category ids count from 1 in this order.
    """

    source: Path
    class_names: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.source = Path(self.source)
        self.class_names = tuple(self.class_names) or self.default_class_names
        if not self.source.is_dir():
            raise InputError(self.source, 'is not a folder', 'name the folder that holds the data set')
        if len(set(self.class_names)) != len(self.class_names):
            raise InputError('--classes', 'names a class twice', 'give every class its own name')

    @property
    @abstractmethod
    def default_class_names(self) -> tuple[str, ...]:
        """Names of the categories unless the user says otherwise."""

    @abstractmethod
    def names(self) -> list[str]:
        """Names of all annotated images, sorted.

        Raises:
            InputError: If there are none.
        """

    @abstractmethod
    def read(self, name: str) -> ImageRecord:
        """Read one annotated image; called in worker processes.

        Raises:
            InputError: If a file of it is missing or broken.
        """

    def test_images(self) -> list[TestImage] | None:
        """The images to predict on, in the order of their ids; None if the layout has no such list."""
        return None

    def _record(self, name: str, image: Path, instances: dict[int, Instances], mask: NDArray[np.bool_]) -> ImageRecord:
        """Read the image of a record and measure its colours under `mask`, shape (H, W)."""
        pixels, opaque = read_image_and_opacity(image)
        cells = pixels[mask]
        blueness = float(cells[:, 2].mean() - cells[:, 0].mean()) if len(cells) else float('nan')
        return ImageRecord(
            name, image.relative_to(self.source).as_posix(), pixels.shape[:2], instances, opaque, blueness
        )
