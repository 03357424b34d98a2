"""What a source layout is: how to list its images, and how to read one with its instances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import ClassVar, NoReturn

import numpy as np
from mmengine.registry import Registry
from numpy.typing import NDArray

from mmcell import list_modules
from mmcell.errors import InputError
from mmcell.io.images import read_image_and_opacity, say_turned
from mmcell.structures.rle import Instances, Runs

#: Every source layout, by the name that `tools/convert.py` takes.
LAYOUTS = Registry('layout', scope='mmcell', locations=list_modules('converters'))


def layout_names() -> list[str]:
    """Names of all layouts of mmcell, sorted."""
    LAYOUTS.import_from_location()
    return sorted(LAYOUTS.module_dict)


def find_layout(name: str) -> type[Layout]:
    """The class of a layout.

    Args:
        name: A name in :data:`LAYOUTS`, or `package.module.Class` for a :class:`Layout` of another repository.

    Raises:
        InputError: If there is none.
    """
    if name in layout_names():
        return LAYOUTS.get(name)
    module, _, class_name = name.rpartition('.')
    if not module:
        cure = f'choose from {", ".join(layout_names())}, or name a class of your own as package.module.Class'
        raise InputError('LAYOUT', f'is {name!r}, which is none', cure)
    try:
        found = getattr(import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        raise InputError('LAYOUT', f'cannot be imported ({error})', 'set PYTHONPATH to its folder') from None
    if not (isinstance(found, type) and issubclass(found, Layout)):
        raise InputError('LAYOUT', f'{name} is not a layout', 'derive it from mmcell.converters.Layout')
    return found


@dataclass(frozen=True)
class ImageRecord:
    """One annotated image, as read from its source.

    Attributes:
        name: What the split shuffles and `--group-by` matches.
        file_name: Path of the image, relative to the source folder (to `DST/images` if the converter writes the
            images), with forward slashes.
        size: Height and width in pixels.
        instances: Per category id, its instances.
        opaque: Whether the image has no alpha channel below its maximum.
        blueness: Mean blue minus mean red over the pixels of all instances, in 8-bit steps; NaN without instances.
        crowds: Per category id, its crowd regions: neither cell nor background, ignored in training and scoring.
        empty: Number of annotations that hold no pixel and were left out.
        pieces: In how many connected pieces each cell is, (N,); counted by the converter, for every layout.
        dark: Whether no pixel is brighter than 12 bits are where 16 are due.
        notes: What else was left out or changed, in words that follow a number in the summary, and how often.
    """

    name: str
    file_name: str
    size: tuple[int, int]
    instances: dict[int, Instances]
    opaque: bool = True
    blueness: float = float('nan')
    crowds: dict[int, Instances] = field(default_factory=dict)
    empty: int = 0
    pieces: NDArray[np.int64] | None = None
    dark: bool = False
    notes: Mapping[str, int] = field(default_factory=dict)


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

    Attributes:
        class_counts: How many names `class_names` may hold: one per class of the layout. Empty for any number, if
            the source names the class of each cell.
        group_by: Default of `--group-by`.
        has_image_files: Whether images are files of the source. If not, the converter writes them, from
            :meth:`pixels`.
    """

    class_counts: ClassVar[tuple[int, ...]] = ()
    group_by: ClassVar[str | None] = None
    has_image_files: ClassVar[bool] = True

    source: Path
    class_names: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.source = Path(self.source)
        if not self.source.is_dir():
            raise InputError(self.source, 'is not a folder', 'name the folder that holds the data set')
        self.class_names = tuple(self.class_names) or self.default_class_names
        if len(set(self.class_names)) != len(self.class_names):
            raise InputError('--classes', 'names a class twice', 'give every class its own name')
        if self.class_counts and len(self.class_names) not in self.class_counts:
            self._refuse_names(self.class_counts)

    @property
    @abstractmethod
    def default_class_names(self) -> tuple[str, ...]:
        """Default names of the categories."""

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

    def split(self) -> tuple[list[str], list[str]] | None:
        """Names of train and of val, each sorted, if the source is split already."""
        return None

    def test_images(self) -> list[TestImage] | None:
        """The images to predict on, in the order of their ids; None if the layout has no such list."""
        return None

    def files(self) -> Iterable[Path] | None:
        """Files of the source that are read, or passed over in words of the layout's own; None if it cannot tell.

        What else lies in the source is named in the summary: it may be meant to be read.
        """
        return None

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """An image that is no file of its own: (H, W, 3), colors as stored; called in worker processes.

        It is written to `<name>.png`, which its record has to name.
        """
        raise NotImplementedError

    def _record(self, name: str, image: Path, instances: dict[int, Instances], mask: NDArray[np.bool_]) -> ImageRecord:
        """Read the image of a record and measure its colors under `mask`, shape (H, W)."""
        pixels, opaque = read_image_and_opacity(image)
        blueness = measure_blueness(pixels, mask)
        return ImageRecord(
            name, self._relative(image), pixels.shape[:2], instances, opaque, blueness, dark=is_dark(pixels)
        )

    def _record_of_runs(
        self,
        name: str,
        image: Path,
        cells: Mapping[int, Sequence[Runs]],
        crowds: Mapping[int, Sequence[Runs]] | None = None,
    ) -> ImageRecord:
        """Read the image of a record whose annotations were read one by one, so that they may overlap.

        Args:
            name: Name of the record.
            image: Its image file.
            cells: Per category id, the runs of its cells. Those without a pixel are left out and counted.
            crowds: The same for crowd regions.
        """
        pixels, opaque = read_image_and_opacity(image)
        mask = np.zeros(pixels.shape[1::-1], dtype=bool)  # column by column, as runs count
        for runs in (runs for parts in cells.values() for runs in parts):
            mask.reshape(-1)[runs.pixels] = True
        instances, empty_cells = _join(cells)
        regions, empty_regions = _join(crowds or {})
        return ImageRecord(
            name,
            self._relative(image),
            pixels.shape[:2],
            instances,
            opaque,
            measure_blueness(pixels, mask.T),
            regions,
            empty_cells + empty_regions,
            dark=is_dark(pixels),
        )

    def _refuse_names(self, counts: Sequence[int]) -> NoReturn:
        """Raise that `--classes` has a wrong number of names: some would go to other cells than they are meant for."""
        given, known = len(self.class_names), ' or '.join(map(str, counts))
        problem = f'names {given} {"class" if given == 1 else "classes"} for the {known} of the data'
        names = f'{", ".join(self.default_class_names):.160}'
        cure = 'give one name' if max(counts) == 1 else f'give a name for each, in their order: {names}'
        raise InputError('--classes', problem, cure)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.source).as_posix()


def is_dark(pixels: NDArray[np.uint8]) -> bool:
    """Whether an image, (H, W, 3), is nearly black, as one of 12 bits is that says it has 16."""
    return int(pixels.max()) <= 16


def measure_blueness(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Mean blue minus mean red of an image, (H, W, 3), under a mask, (H, W); NaN if that is empty."""
    cells = pixels[mask]
    return float(cells[:, 2].mean() - cells[:, 0].mean()) if len(cells) else float('nan')


def check_same_size(path: Path, size: tuple[int, int], image: Path, image_size: tuple[int, int]) -> None:
    """Check that a mask has the size (H, W) of its image.

    Raises:
        InputError: If not.
    """
    if tuple(size) != tuple(image_size):
        problem = f'is {size[1]} x {size[0]}, but {image.name} is {image_size[1]} x {image_size[0]}'
        problem += say_turned(size, image_size)
        raise InputError(path, problem, 'export the mask again at the size of the image')


def to_label_map(where: str | Path, values: NDArray) -> NDArray[np.int32]:
    """Instance ids of an array that may hold them as floats, as MATLAB and numpy files do.

    Args:
        where: What to name in an error.
        values: (H, W) of any dtype; 0 is background.

    Raises:
        InputError: If it is not two-dimensional or holds anything but whole numbers from 0 to 2**31 - 1.
    """
    if values.ndim != 2 or values.dtype.kind not in 'biuf':
        problem = f'holds {values.dtype} of shape {values.shape} where ids are expected'
        raise InputError(where, problem, 'restore it from its source')
    with np.errstate(invalid='ignore'):  # What does not fit is found below.
        ids = values.astype(np.int32)
    if not np.array_equal(ids, values) or ids.min(initial=0) < 0:
        problem = 'holds ids that are not whole numbers from 0 to 2147483647'
        raise InputError(where, problem, 'restore it from its source')
    return ids


def _join(parts: Mapping[int, Sequence[Runs]]) -> tuple[dict[int, Instances], int]:
    """Per category the instances that have pixels, in the order given, and how many have none."""
    joined, empty = {}, 0
    for category, runs in ((category, Runs.cat(some)) for category, some in parts.items() if some):
        filled = np.flatnonzero(runs.areas)
        empty += len(runs) - len(filled)
        runs = runs.select(filled)
        joined[category] = Instances(np.arange(1, len(runs) + 1), runs.boxes, runs.areas, runs.encode())
    return joined, empty
