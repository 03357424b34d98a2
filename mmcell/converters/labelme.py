"""Json files of labelme, one per image."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from mmcell.converters.base import LAYOUTS, ImageRecord
from mmcell.converters.drawn import DrawnLayout, leaves_image, to_points
from mmcell.converters.listing import few, find_files, find_images
from mmcell.errors import InputError, raise_all, show
from mmcell.io.files import read_json
from mmcell.io.images import read_size, say_turned
from mmcell.structures.fill import fill_circle, fill_polygons, unite
from mmcell.structures.rle import Runs, find_box_runs

#: Types of shapes with an area, and how many points each has.
_KINDS = {
    'polygon': range(3, 2**31),
    'rectangle': (2, 4),
    'oriented_rectangle': (4,),
    'rotation': (4,),
    'circle': (2,),
    'mask': (2,),
}
_LINES = ('point', 'points', 'line', 'linestrip')
#: Labels that labelme's own scripts keep apart from classes.
_NO_CLASSES = ('__ignore__', '_background_')

_SAVE_AGAIN = 'save it again in labelme'


@dataclass(frozen=True)
class _Shape:
    """One shape with an area.

    Attributes:
        name: What to call it in an error.
        cell: What it is a part of: label, group, and its number if it has no group.
        kind: Its type, a key of :data:`_KINDS`.
        points: (K, 2) as x, y.
        mask: Of a mask the PNG in base64, unchecked.
    """

    name: str
    cell: tuple[str, int | str | None, int]
    kind: str
    points: NDArray[np.float64]
    mask: Any


@LAYOUTS.register_module('labelme')
@dataclass
class Labelme(DrawnLayout):
    """`<name>.json` of labelme, beside `<name>.png` or with an `imagePath` within SRC, in SRC or below.

    Polygons, rectangles, circles and masks are cells; shapes of one label and one `group_id` are parts of one cell.
    Points, lines and the labels `__ignore__` and `_background_` are left out and counted. Flags and `imageData` are not
    read: the image is the file.

    Coordinates are pixels from the upper left corner of the image, as labelme draws them, and a pixel belongs to a
    shape if its center lies in it; labelme's own scripts also take the pixels that the outline touches.

    Source: `_label_file.py` and `utils/shape.py` in https://github.com/wkentaro/labelme.
    """

    def read(self, name: str) -> ImageRecord:
        """Read one image and its json."""
        documents, images = self._pairs
        path, image = documents[name], images[name]
        notes: Counter[str] = Counter()
        size, content = read_size(image), _read(path)
        height, width = content.get('imageHeight'), content.get('imageWidth')
        if height not in (None, size[0]) or width not in (None, size[1]):
            problem = (
                f'was drawn on {show(width)} x {show(height)} pixels, but {image.name:.60} has {size[1]} x {size[0]}'
            )
            problem += say_turned(size, (height, width))
            raise InputError(path, problem, 'restore the image that it was drawn on')
        shapes = list(_shapes(path, content, notes))
        # The first shape of each cell.
        cells: dict[tuple, _Shape] = {}
        for shape in shapes:
            cells.setdefault(shape.cell, shape)
        numbers = {cell: number for number, cell in enumerate(cells)}
        owners = np.array([numbers[shape.cell] for shape in shapes], dtype=np.int64)
        masks = unite(_fill(path, shapes, size), owners, len(cells))
        categories = [self._category(path, shape.name, shape.cell[0]) for shape in cells.values()]
        beyond = {shape.cell for shape in shapes if leaves_image([_extent(shape)], size)}
        return self._record_of_drawn(name, masks, categories, [cell in beyond for cell in cells], notes)

    @cached_property
    def _labels(self) -> set[str]:
        documents, _ = self._pairs
        shapes = (shape for path in documents.values() for shape in _shapes(path, _read(path), Counter()))
        return {shape.cell[0] for shape in shapes} - {''}

    @cached_property
    def _pairs(self) -> tuple[dict[str, Path], dict[str, Path]]:
        images = find_images(self.source)
        stems: dict[str, list[str]] = {}
        for listed, image in images.items():
            stems.setdefault(listed.removesuffix(image.suffix), []).append(listed)
        documents: dict[str, Path] = {}
        errors = []
        for path in find_files(self.source, ['.json']):
            content = read_json(path)
            stem = path.relative_to(self.source).as_posix().removesuffix(path.suffix)
            if not is_labelme(content):
                self._passed_over.append(path)
                continue
            name = self._image_of(path, content, images)
            beside = stems.get(stem, [])
            if name is None and len(beside) == 1:
                name = beside[0]
            if name is None:
                problem = f'has no image ({show(content.get("imagePath"))})'
                errors.append(InputError(path, problem, 'put it beside the json under the same name'))
            elif name in documents:
                problem = f'belongs to {few([name])}, as does {documents[name].name:.60}'
                errors.append(InputError(path, problem, 'remove one of them'))
            else:
                documents[name] = path
        raise_all(errors)
        self._warn_of_others('not of labelme')
        if not documents:
            raise InputError(self.source, 'holds no labelme json', 'lay pairs out as <name>.png and <name>.json')
        return documents, images

    def _image_of(self, path: Path, content: Mapping[str, Any], images: Mapping[str, Path]) -> str | None:
        """The image that a json names: where it says, or beside it; within the source."""
        given = content.get('imagePath')
        if not isinstance(given, str):
            return None
        given = PurePosixPath(given.replace('\\', '/'))
        folder = path.parent.relative_to(self.source)
        for candidate in (_join(folder, given), _join(folder, PurePosixPath(given.name))):
            if candidate in images:
                return candidate
        return None


def is_labelme(content: Any) -> bool:
    """Whether the content of a json is what labelme writes."""
    return isinstance(content, Mapping) and isinstance(content.get('shapes'), list)


def _join(folder: Path, path: PurePosixPath) -> str | None:
    """A path relative to a folder, with `..` resolved; None if it leads out of the source."""
    parts = list(folder.parts)
    for part in path.parts:
        if part == '..' and not parts:
            return None
        if part == '..':
            parts.pop()
        else:
            parts.append(part)
    return '/'.join(parts)


def _read(path: Path) -> Mapping[str, Any]:
    content = read_json(path)
    if not is_labelme(content):
        raise InputError(path, 'is not labelme json', _SAVE_AGAIN)
    return content


def _shapes(path: Path, content: Mapping[str, Any], notes: Counter[str]) -> Iterator[_Shape]:
    """The shapes that may be cells; the others are counted."""
    for number, shape in enumerate(content['shapes'], start=1):
        name = f'shape {number}'
        if not isinstance(shape, Mapping):
            raise InputError(path, f'has {show(shape)} for {name}', _SAVE_AGAIN)
        label, group = shape.get('label'), shape.get('group_id')
        label = '' if label is None else label
        # Old versions knew polygons only, and wrote no type.
        kind = 'polygon' if shape.get('shape_type') is None else shape['shape_type']
        if not isinstance(label, str) or not label.isprintable() or not isinstance(group, int | str | None):
            raise InputError(path, f'has {name} with the label {show(label)} and the group {show(group)}', _SAVE_AGAIN)
        if kind in _LINES:
            notes['shapes are points or lines and are left out'] += 1
            continue
        if label in _NO_CLASSES:
            notes[f'shapes are labeled {label} and are left out'] += 1
            continue
        if not isinstance(kind, str) or kind not in _KINDS:
            raise InputError(path, f'has {name} of the type {show(kind)}', f'draw one of {", ".join(_KINDS)}')
        try:
            points = to_points(shape.get('points'))
        except ValueError as error:
            raise InputError(path, f'has {name} with {error}', _SAVE_AGAIN) from None
        if len(points) < _KINDS[kind][0]:
            notes['shapes have fewer points than they need and are left out'] += 1
            continue
        if len(points) not in _KINDS[kind]:
            raise InputError(path, f'has {name}, a {kind} of {len(points)} points', _SAVE_AGAIN)
        if isinstance(shape.get('flags'), Mapping) and any(shape['flags'].values()):
            notes['shapes have flags, which are not read'] += 1
        cell = (label, None, number) if group is None else (label, group, 0)
        yield _Shape(name, cell, kind, points, shape.get('mask'))


def _fill(path: Path, shapes: list[_Shape], size: tuple[int, int]) -> Runs:
    """The pixels of each shape, in their order."""
    outlines: list[list[Any]] = []
    others: list[Runs] = []
    places = []
    for shape in shapes:
        if shape.kind in ('circle', 'mask'):
            places.append(len(shapes) + len(others))
            others.append(_fill_circle(shape, size) if shape.kind == 'circle' else _place_mask(path, shape, size))
            outlines.append([])
        else:
            places.append(len(outlines))
            outlines.append([[_corners(shape)]])
    try:
        parts = Runs.cat([fill_polygons(outlines, size), *others])
    except ValueError as error:
        raise InputError(path, f'holds {error}', 'remove those that are none') from None
    return parts.select(np.array(places, dtype=np.int64))


def _corners(shape: _Shape) -> NDArray[np.float64]:
    """The corners of a polygon, or of a rectangle of which two opposite ones are given."""
    if shape.kind == 'rectangle' and len(shape.points) == 2:
        (x1, y1), (x2, y2) = shape.points
        return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    return shape.points


def _fill_circle(shape: _Shape, size: tuple[int, int]) -> Runs:
    """The circle round the first point through the second."""
    centre, edge = shape.points
    return fill_circle(tuple(centre), float(np.hypot(*(edge - centre))), size)


def _place_mask(path: Path, shape: _Shape, size: tuple[int, int]) -> Runs:
    """The mask of a shape, a PNG in base64, whose upper left pixel lies at the first point."""
    import imagecodecs  # It takes long to import, and few files need it.

    try:
        data = base64.b64decode(shape.mask, validate=True)
        width, height = PngImageFile(io.BytesIO(data)).size
        if not 0 < height <= size[0] or not 0 < width <= size[1]:
            raise ValueError('no PNG that fits into the image')
        bitmap = imagecodecs.png_decode(data)
    except Exception as error:  # Decoders raise several kinds.
        raise InputError(path, f'has {shape.name} with a broken mask ({str(error)[:60]})', _SAVE_AGAIN) from None
    if bitmap.ndim != 2:
        raise InputError(path, f'has {shape.name} with a mask of colors', _SAVE_AGAIN)
    x, y = shape.points[0].round().astype(np.int64).tolist()
    inside = bitmap[max(0, -y) : max(0, size[0] - y), max(0, -x) : max(0, size[1] - x)] > 0
    return find_box_runs(inside.T[None], np.array([[max(0, x), max(0, y)]]), size)


def _extent(shape: _Shape) -> NDArray[np.float64]:
    """Corners of a shape, or of the box round it."""
    if shape.kind != 'circle':
        return shape.points
    centre, edge = shape.points
    radius = np.hypot(*(edge - centre))
    return np.array([centre - radius, centre + radius])
