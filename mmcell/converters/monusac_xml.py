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
from mmcell.converters.listing import find_files, list_names
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
    """`<patient>/<image>.{tif,svs}` with `<patient>/<image>.xml`; or MoNuSeg's `Tissue Images` and `Annotations`.

    An XML file whose image does not lie beside it belongs to the image of the same name in a folder beside its own. The
    folders may lie deeper in SRC.

    In the XML an Annotation holds the regions of one class, which is the Name of its first Attribute or else of the
    Annotation, in upper or lower case; of the Attribute `Description`, which ImageScope gives every layer, it is the
    Value. Where none is named, as in MoNuSeg, regions are of the one class in `class_names`.

    A Region is the outline of one cell, a list of Vertex with X and Y in pixels. A pixel belongs to the cell if its
    integer coordinates lie in the outline or on it, as `skimage.draw.polygon` has it, with which the organizers make
    their masks; where those let the later cell win, cells here may overlap. Regions of the class `Ambiguous` become
    crowd regions of every class, since the challenge leaves out what is predicted there.

    Images of one folder, a patient, stay on one side of the split; those of MoNuSeg are of a patient each.

    The .tif files that the organizers' script writes have red and blue swapped (`--channel-order bgr`); the summary
    warns of it.

    Source: n-ary_mask_generation.ipynb in https://github.com/ruchikaverma-iitg/MoNuSAC; Verma et al., MoNuSAC2020, IEEE
    Transactions on Medical Imaging 2021.
    """

    # The folder, if there is one.
    group_by = '^.+(?=/)|^.+'

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """The four classes of the challenge."""
        return 'epithelial', 'lymphocyte', 'neutrophil', 'macrophage'

    def names(self) -> list[str]:
        """Paths without suffix of the images that have an XML file, sorted; in MoNuSeg's folders, their names alone."""
        if not self._pairs:
            raise InputError(self.source, 'holds no XML file', 'lay images out as <patient>/<image>.tif and .xml')
        folded = [name.lower() for name in self.class_names]
        if len(set(folded)) != len(folded):
            raise InputError('--classes', 'names a class twice', 'give every class its own name, whatever its case')
        raise_all(
            [
                InputError(path, 'has no image beside it or in a folder beside its own', f'restore {path.stem:.60}.tif')
                for path, image in self._pairs.values()
                if image is None
            ]
        )
        return sorted(self._pairs)

    def files(self) -> list[Path]:
        """XML files, and all pictures of the same names: MoNuSAC has each twice."""
        stems = {image.with_suffix('') for _, image in self._pairs.values() if image is not None}
        pictures = [path for path in find_files(self.source, _SUFFIXES) if path.with_suffix('') in stems]
        return [*(path for path, _ in self._pairs.values()), *pictures]

    def read(self, name: str) -> ImageRecord:
        """Read one image and its XML."""
        path, image = self._pairs[name]
        assert image is not None  # names() has refused those without
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
            if not label and len(categories) == 1:
                label = next(iter(categories))
            if label in categories:
                cells[categories[label]].append(runs)
            elif label == _AMBIGUOUS:
                for category in categories.values():
                    crowds[category].append(runs)
            else:
                now = f'now {", ".join(self.class_names):.80}'
                if not label:
                    cure = f'name them in ImageScope, or give the one name that all have with --classes, {now}'
                    raise InputError(path, 'holds regions without a class', cure)
                problem = f'holds regions of the class {label!r:.80}'
                raise InputError(path, problem, f'name all classes with --classes, {now}')
        return self._record_of_runs(name, image, cells, crowds)

    @cached_property
    def _pairs(self) -> dict[str, tuple[Path, Path | None]]:
        """XML file and image by name."""
        pictures: dict[Path, dict[str, Path]] = defaultdict(dict)
        for suffix in reversed(_SUFFIXES):
            for path in find_files(self.source, [suffix]):
                pictures[path.parent][path.stem] = path
        found: dict[str, tuple[Path, Path | None]] = {}
        for path in find_files(self.source, ['.xml']):
            name = path.relative_to(self.source).with_suffix('').as_posix()
            image = pictures[path.parent].get(path.stem) if path.parent in pictures else None
            if image is None and path.parent != self.source:
                folders = [folder for folder in pictures if folder.parent == path.parent.parent]
                images = [pictures[folder][path.stem] for folder in folders if path.stem in pictures[folder]]
                if len(images) > 1:
                    names = list_names([self._relative(image) for image in images])
                    raise InputError(path, f'may belong to {names}', 'leave one of them')
                if images:
                    name, image = path.stem, images[0]
            if name in found:
                raise InputError(path, f'has the same name as {self._relative(found[name][0])}', 'rename one of them')
            found[name] = path, image
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
        names = [_name(part).strip().lower() for part in (*annotation.findall('Attributes/*'), annotation)]
        label = next(filter(None, names), '')
        for region in annotation.iterfind('Regions/Region'):
            if region.get('NegativeROA') == '1':
                raise InputError(path, f'has the hole {region.get("Id")!r:.20} as a region', 'remove negative regions')
            yield label, _vertices(path, region)


def _name(part: ET.Element) -> str:
    """What an Attribute or an Annotation is called; ImageScope's `Description` is a field, what it says is the name."""
    name = part.get('Name', '')
    return part.get('Value', '') if part.tag == 'Attribute' and name.strip().lower() == 'description' else name


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
