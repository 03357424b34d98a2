"""Outlines that Aperio ImageScope writes, in the folders of MoNuSAC 2020."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout
from mmcell.errors import InputError, raise_all
from mmcell.io.files import check_file
from mmcell.io.images import read_size
from mmcell.io.limits import MAX_FILL_WORK, MAX_XML_BYTES, MAX_XML_DEPTH, MAX_XML_ELEMENTS
from mmcell.structures.rle import Runs, find_box_runs

#: Suffixes of images, the first that exists is read. MoNuSAC has each picture as .tif and as .svs.
_SUFFIXES = ('.tif', '.tiff', '.png', '.svs')

#: MoNuSAC's name for what annotators could not tell.
_AMBIGUOUS = 'ambiguous'


@LAYOUTS.register_module('monusac_xml')
class MonusacXml(Layout):
    """`<patient>/<image>.{tif,svs}` with `<patient>/<image>.xml`.

    In the XML an Annotation holds the regions of one class, which is the Name of its first Attribute or else of the
    Annotation, in upper or lower case. A Region is the outline of one cell, a list of Vertex with X and Y in
    pixels. A pixel belongs to the cell if its integer coordinates lie in the outline or on it, as
    `skimage.draw.polygon` has it, with which the organisers make their masks; where those let the later cell win, cells
    here may overlap. Regions of the class `Ambiguous` become crowd regions of every class, since the challenge leaves
    out what is predicted there. Images of one folder, a patient, stay on one side of the split.

    The .tif files that the organisers' script writes have red and blue swapped (`--channel-order bgr`); the summary
    warns of it.

    Source: n-ary_mask_generation.ipynb in https://github.com/ruchikaverma-iitg/MoNuSAC; Verma et al., MoNuSAC2020, IEEE
    Transactions on Medical Imaging 2021.
    """

    group_by = '^[^/]+'

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """The four classes of the challenge."""
        return 'epithelial', 'lymphocyte', 'neutrophil', 'macrophage'

    def names(self) -> list[str]:
        """`<patient>/<image>` of every XML file, sorted."""
        if not self._images:
            raise InputError(self.source, 'holds no XML file', 'lay images out as <patient>/<image>.tif and .xml')
        missing = [name for name, image in self._images.items() if image is None]
        raise_all(
            [
                InputError(self.source / f'{name}.xml', 'has no image beside it', f'restore {Path(name).name}.tif')
                for name in sorted(missing)
            ]
        )
        return sorted(self._images)

    def read(self, name: str) -> ImageRecord:
        """Read one image and its XML."""
        image, path = self._images[name], self.source / f'{name}.xml'
        size = read_size(image)
        categories = {label.lower(): number for number, label in enumerate(self.class_names, start=1)}
        cells, crowds = defaultdict(list), defaultdict(list)
        work = 0
        for label, outline in _outlines(path):
            box = _bounding_box(outline, size)
            work += int(np.prod(box[1] - box[0])) * len(outline)
            if work > MAX_FILL_WORK:
                raise InputError(path, 'holds outlines too large for cells', 'remove those that are none')
            runs = _fill(outline, box, size)
            if label in categories:
                cells[categories[label]].append(runs)
            elif label == _AMBIGUOUS:
                for category in categories.values():
                    crowds[category].append(runs)
            else:
                problem = f'holds regions of the class {label!r:.80}'
                raise InputError(path, problem, f'name all classes with --classes, now {", ".join(self.class_names)}')
        return self._record_of_runs(name, image, cells, crowds)

    @cached_property
    def _images(self) -> dict[str, Path | None]:
        """Image of each XML file, by its name."""
        found = {}
        for path in sorted([*self.source.glob('*/*.xml'), *self.source.glob('*.xml')]):
            images = (path.with_suffix(suffix) for suffix in _SUFFIXES)
            name = path.relative_to(self.source).with_suffix('').as_posix()
            found[name] = next((image for image in images if image.is_file()), None)
        return found


class _Builder(ET.TreeBuilder):
    """Builds a tree, but refuses what can blow up memory or read other files: entities, and too many elements."""

    def __init__(self) -> None:
        super().__init__()
        self._elements = self._depth = 0

    def start(self, *arguments: Any) -> ET.Element:
        self._elements += 1
        self._depth += 1
        if self._elements > MAX_XML_ELEMENTS or self._depth > MAX_XML_DEPTH:
            raise ValueError('it has more elements, or deeper ones, than outlines of cells need')
        return super().start(*arguments)

    def end(self, *arguments: Any) -> ET.Element:
        self._depth -= 1
        return super().end(*arguments)

    def doctype(self, *_: object) -> NoReturn:
        raise ValueError('it has a DOCTYPE')


def _outlines(path: Path) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Class name in lower case and vertices, (V, 2) as x, y, of each region."""
    try:
        if check_file(path) > MAX_XML_BYTES:
            raise InputError(path, f'has more than {MAX_XML_BYTES >> 20} MB', 'save the annotations of cells alone')
        root = ET.parse(path, ET.XMLParser(target=_Builder())).getroot()
    except OSError as error:
        raise InputError(path, f'cannot be read ({error.strerror})', 'check the path and its permissions') from None
    except (ET.ParseError, ValueError, LookupError) as error:  # ValueError also for unknown encodings
        raise InputError(path, f'is not valid XML ({error})', 'restore it from its source') from None
    for annotation in root.iter('Annotation'):
        names = [part.get('Name', '').strip().lower() for part in (*annotation.findall('Attributes/*'), annotation)]
        label = next(filter(None, names), '')
        for region in annotation.iterfind('Regions/Region'):
            if region.get('NegativeROA') == '1':
                raise InputError(path, f'has the hole {region.get("Id")!r:.20} as a region', 'remove negative regions')
            yield label, _vertices(path, region)


def _vertices(path: Path, region: ET.Element) -> NDArray[np.float64]:
    try:
        rows = [(float(vertex.attrib['X']), float(vertex.attrib['Y'])) for vertex in region.iterfind('Vertices/Vertex')]
    except (KeyError, ValueError):
        rows = [(np.nan, np.nan)]
    vertices = np.array(rows, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(vertices).all():
        problem = f'has a vertex without numbers in region {region.get("Id")!r:.20}'
        raise InputError(path, problem, 'restore it from its source')
    return vertices


def _bounding_box(outline: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Corners, (2, 2) as x, y, the second exclusive, of the pixels that an outline can hold within the image."""
    if len(outline) < 3:
        return np.zeros((2, 2), dtype=np.int64)
    corners = np.stack([np.ceil(outline.min(axis=0)), np.floor(outline.max(axis=0)) + 1])
    # Where the outline lies beside the image, both corners meet.
    return np.clip(corners, 0, size[::-1]).astype(np.int64)


def _fill(outline: NDArray[np.float64], box: NDArray[np.int64], size: tuple[int, int]) -> Runs:
    """Runs of one cell, given its bounding box."""
    from skimage.measure import grid_points_in_poly  # Slow to import.

    width, height = box[1] - box[0]
    inside = np.zeros((1, width, height), dtype=bool)  # column by column, as runs count
    if inside.size:
        inside[0] = grid_points_in_poly((width, height), outline - box[0])
    return find_box_runs(inside, box[:1], size)
