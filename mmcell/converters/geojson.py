"""GeoJSON beside images, as QuPath and our own export write it."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcell.converters.base import LAYOUTS, ImageRecord
from mmcell.converters.drawn import DrawnLayout, leaves_image, to_points
from mmcell.converters.listing import few, find_files, find_images
from mmcell.errors import InputError, raise_all, show
from mmcell.io.files import parse_json, read_bytes, read_json
from mmcell.io.images import read_size
from mmcell.io.limits import MAX_JSON_BYTES
from mmcell.io.output_names import unique_stems
from mmcell.structures.fill import fill_polygons
from mmcell.structures.overlaps import find_self_overlaps
from mmcell.structures.rle import Runs

#: What the name of a GeoJSON ends in.
_SUFFIXES = ('.geojson', '.geojson.gz', '.json')

_AREAS = ('Polygon', 'MultiPolygon')
_GEOMETRIES = (*_AREAS, 'Point', 'MultiPoint', 'LineString', 'MultiLineString', 'GeometryCollection')

#: QuPath's types of objects that are cells, and of those that are none. Version 0.2 wrote names of its Java classes.
_DETECTIONS = ('cell', 'detection', 'PathCellObject', 'PathDetectionObject')
_NO_CELLS = ('tile', 'tmaCore', 'tma_core', 'root', 'PathTileObject', 'TMACoreObject', 'PathRootObject')

_EXPORT_AGAIN = 'export it again'


@dataclass(frozen=True)
class _Object:
    """One object that may be a cell: what to call it in an error, its class ('' for none), its polygons unchecked."""

    name: str
    label: str
    is_annotation: bool
    polygons: list[Any]


@LAYOUTS.register_module('geojson')
@dataclass
class Geojson(DrawnLayout):
    """`<name>.tif` with `<name>.geojson` or `<name>.tif.geojson` beside it, in SRC or below.

    Also `.json` and `.geojson.gz`; or a GeoJSON anywhere in SRC that is called after the image's path as
    `tools/export.py` calls it: `train_1_image.geojson` of `train/1/image.tif`. It holds a FeatureCollection, a list of
    features, a feature, or geometries alone; Polygon and MultiPolygon with holes. Coordinates are pixels of the whole
    image from its upper left corner. A pixel belongs to a cell if its center lies in the outline, so that what
    `tools/export.py` wrote comes back pixel for pixel.

    The class is the `classification`. One that QuPath derived from another, as `Tumor: Positive`, counts as `Tumor`
    where `class_names` has that alone.

    Of a cell with a nucleus the nucleus is taken: data of H&E outline nuclei, and what QuPath's cell detection adds
    round a nucleus is a guess. `nuclei=False` takes the cells. Left out, and counted: points and lines, tiles and TMA
    cores, classes that QuPath ignores (their names end in `*`), objects on other planes than the first, and annotations
    that hold two or more other objects, or one if they have no class: regions in which cells were looked for.

    Source: `QuPathTypeAdapters`, `ROITypeAdapters` and `GsonTools` in qupath-core/src/main/java/qupath/lib/io of
    https://github.com/qupath/qupath; RFC 7946.

    Attributes:
        nuclei: Whether to take the nucleus of a cell that has one.
    """

    nuclei: bool = True

    def read(self, name: str) -> ImageRecord:
        """Read one image and its GeoJSON."""
        documents, images = self._pairs
        path, size = documents[name], read_size(images[name])
        notes: Counter[str] = Counter()
        objects = list(self._objects(path, notes))
        outlines = [_check(path, one) for one in objects]
        try:
            masks = fill_polygons(outlines, size)
        except ValueError as error:
            raise InputError(path, f'holds {error}', 'remove those that are none') from None
        regions = _is_region(objects, masks)
        notes['annotations contain other objects: they are treated as regions and left out'] += int(regions.sum())
        categories = {}
        for index in np.flatnonzero(~regions).tolist():
            label = self._known(objects[index].label, notes)
            if label not in self.class_names and label.endswith('*'):
                notes['objects are of a class that QuPath ignores (its name ends in *) and are left out'] += 1
            else:
                categories[index] = self._category(path, objects[index].name, label)
        leaves = [leaves_image((ring for polygon in outlines[index] for ring in polygon), size) for index in categories]
        masks = masks.select(np.array(list(categories), dtype=np.int64))
        return self._record_of_drawn(name, masks, list(categories.values()), leaves, notes)

    def _known(self, label: str, notes: Counter[str]) -> str:
        """The class that an object counts as: its own, or else the nearest known one that it is derived from."""
        base = label
        while base not in self.class_names and ': ' in base:
            base = base.rpartition(': ')[0]
        if base == label or base not in self.class_names:
            return label
        notes[f'cells of the class {show(label)} count as {show(base)}'] += 1
        return base

    @cached_property
    def _labels(self) -> set[str]:
        documents, _ = self._pairs
        labels = {one.label for path in documents.values() for one in self._objects(path, Counter())}
        return {label for label in labels if label and not label.endswith('*')}

    @cached_property
    def _pairs(self) -> tuple[dict[str, Path], dict[str, Path]]:
        images = find_images(self.source)
        called: dict[str, set[str]] = {}
        for name, alias in _aliases(images):
            called.setdefault(alias, set()).add(name)
        documents: dict[str, Path] = {}
        errors = []
        for path in find_files(self.source, _SUFFIXES):
            beside = path.relative_to(self.source).as_posix()
            beside = beside[: -max(len(suffix) for suffix in _SUFFIXES if path.name.lower().endswith(suffix))]
            anywhere = f'/{beside.rpartition("/")[2]}'
            belongs = {beside} & images.keys() or called.get(beside) or called.get(anywhere) or set()
            if len(belongs) > 1:
                cure = f'add the suffix of the image to its name, as in {path.stem:.30}.tif.geojson'
                errors.append(InputError(path, f'may belong to {few(sorted(belongs))}', cure))
            elif belongs:
                (name,) = belongs
                if name in documents:
                    problem = f'belongs to {few([name])}, as does {documents[name].name:.60}'
                    errors.append(InputError(path, problem, 'remove one of them'))
                documents[name] = path
            elif path.suffix.lower() == '.json':
                self._passed_over.append(path)
            else:
                errors.append(InputError(path, 'has no image', 'restore the image beside it or remove the file'))
        raise_all(errors)
        self._warn_of_others('not named after an image')
        if not documents:
            cure = 'lay pairs out as <name>.tif and <name>.geojson'
            raise InputError(self.source, 'holds no image with a GeoJSON beside it', cure)
        return documents, images

    def _objects(self, path: Path, notes: Counter[str]) -> Iterator[_Object]:
        """The objects of a GeoJSON that may be cells; the others are counted."""
        for number, feature in enumerate(_features(path), start=1):
            name = f'object {number}'
            properties = {} if feature.get('properties') is None else feature['properties']
            if not isinstance(properties, Mapping):
                raise InputError(path, f'has {name} with the properties {show(properties)}', _EXPORT_AGAIN)
            kind, geometry = _kind(feature, properties), feature.get('geometry')
            if kind in _NO_CELLS:
                notes['objects are tiles or TMA cores and are left out'] += 1
                continue
            if self.nuclei and feature.get('nucleusGeometry') is not None:
                notes['cells have a nucleus: its outline is used, not that of the cell'] += 1
                geometry = feature['nucleusGeometry']
            if geometry is None:
                notes['objects have no outline and are left out'] += 1
                continue
            polygons = list(_polygons(path, name, geometry))
            if not polygons:
                notes['objects are points or lines and are left out'] += 1
            elif not _is_on_first_plane(path, name, geometry):
                notes['objects lie on another plane than the first, in depth or time, and are left out'] += 1
            else:
                yield _Object(name, _label(path, name, properties), kind not in _DETECTIONS, polygons)


def is_geojson(content: Any) -> bool:
    """Whether the content of a json is GeoJSON of objects."""
    return isinstance(content, Mapping) and content.get('type') in ('FeatureCollection', 'Feature')


def _aliases(images: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Images, and what the GeoJSON of each may be called: its path without suffix; after a slash, in any folder."""
    for name, image in images.items():
        stem = name.removesuffix(image.suffix)
        yield name, stem
        yield name, stem.removesuffix('.ome')
    # As an export calls them, of images in SRC or in SRC/images; alike names that clash there, and that do not.
    names = list(images)
    for paths in (names, [name.removeprefix('images/') for name in names]):
        for name, path, stem in zip(names, paths, unique_stems(paths)):
            yield name, f'/{stem}'
            yield name, f'/{unique_stems([path])[0]}'


def _read(path: Path) -> Any:
    if path.suffix.lower() != '.gz':
        return read_json(path)
    try:
        data = gzip.GzipFile(fileobj=io.BytesIO(read_bytes(path))).read(MAX_JSON_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(path, f'cannot be unpacked ({error})', _EXPORT_AGAIN) from None
    if len(data) > MAX_JSON_BYTES:
        raise InputError(path, f'unpacks to more than {MAX_JSON_BYTES >> 20} MB', 'split it into several')
    return parse_json(path, data)


def _features(path: Path) -> Iterator[Mapping[str, Any]]:
    """All features of a GeoJSON, those within others too, in their order."""
    content = _read(path)
    found = content
    if isinstance(content, Mapping):
        found = content.get('features') if content.get('type') == 'FeatureCollection' else [content]
    if not isinstance(found, list):
        raise InputError(path, 'is not GeoJSON', 'give a FeatureCollection, a list of features or a feature')
    waiting = found[::-1]
    while waiting:
        feature = waiting.pop()
        kind = feature.get('type') if isinstance(feature, Mapping) else None
        if kind == 'Feature':
            yield feature
            properties = feature.get('properties') or {}
            children = None
            if isinstance(properties, Mapping):  # What is not is found later.
                children = properties.get('childObjects', properties.get('children'))
            children = [] if children is None else children
            if not isinstance(children, list):
                raise InputError(path, f'has the child objects {show(children)}', _EXPORT_AGAIN)
            waiting += children[::-1]
        elif kind in _GEOMETRIES:
            yield {'geometry': feature}
        else:
            problem = f'is not GeoJSON: it holds {show(feature)} where a feature is expected'
            raise InputError(path, problem, 'export the objects again as GeoJSON')


def _kind(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """QuPath's type of an object; it takes those without one for annotations."""
    for key in ('objectType', 'object_type', 'type'):
        if isinstance(properties.get(key), str):
            return properties[key]
    return feature['id'] if isinstance(feature.get('id'), str) else 'annotation'


def _label(path: Path, name: str, properties: Mapping[str, Any]) -> str:
    """The class of an object, '' for none: all names from the first to the one that is derived last, after ': '."""
    value = properties.get('classification')
    parts: list[Any] = [value] if isinstance(value, str) else []
    if isinstance(value, Mapping):
        parts = value['names'] if isinstance(value.get('names'), list) else []
        # Before version 0.4 each class held the one that it is derived from.
        level = value if not parts else None
        while isinstance(level, Mapping) and level.get('name') is not None:
            parts.append(level['name'])
            level = level.get('parentClass')
        parts = parts if 'names' in value else parts[::-1]
    elif value is not None and not parts:
        parts = [value]
    if not all(isinstance(part, str) and part.isprintable() for part in parts):
        raise InputError(path, f'has {name} with the classification {show(value)}', _EXPORT_AGAIN)
    return ': '.join(filter(None, (piece.strip() for part in parts for piece in part.split(':'))))


def _polygons(path: Path, name: str, geometry: Any) -> Iterator[Any]:
    """The polygons of a geometry, unchecked: lists of rings."""
    waiting = [geometry]
    while waiting:
        one = waiting.pop()
        kind = one.get('type') if isinstance(one, Mapping) else None
        inner = one.get('geometries' if kind == 'GeometryCollection' else 'coordinates') if kind else None
        if kind not in _GEOMETRIES or not isinstance(inner, list):
            raise InputError(path, f'has {name} with the geometry {show(one)}', _EXPORT_AGAIN)
        if kind == 'GeometryCollection':
            waiting += inner[::-1]
        elif kind == 'Polygon':
            yield inner
        elif kind == 'MultiPolygon':
            yield from inner


def _check(path: Path, one: _Object) -> list[list[NDArray[np.float64]]]:
    """The polygons of an object as arrays of points."""
    try:
        if not all(isinstance(polygon, list) for polygon in one.polygons):
            raise ValueError('a polygon that is not a list of outlines')
        return [[to_points(ring) for ring in polygon] for polygon in one.polygons]
    except ValueError as error:
        raise InputError(path, f'has {one.name} with {error}', _EXPORT_AGAIN) from None


def _is_on_first_plane(path: Path, name: str, geometry: Mapping[str, Any]) -> bool:
    plane = geometry.get('plane') or {}
    if not isinstance(plane, Mapping):
        raise InputError(path, f'has {name} on the plane {show(plane)}', _EXPORT_AGAIN)
    return plane.get('z', 0) == plane.get('t', 0) == 0


def _is_region(objects: list[_Object], masks: Runs) -> NDArray[np.bool_]:
    """Of N objects the annotations that hold two others, or one if they have no class, (N,)."""
    pairs, areas = find_self_overlaps(masks), masks.areas
    holds = np.zeros(len(objects), dtype=np.int64)
    for outer, inner in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
        whole = (pairs.pixels == areas[inner]) & (areas[inner] < areas[outer])
        holds += np.bincount(outer[whole], minlength=len(objects))
    least = np.array([2 if one.label else 1 for one in objects], dtype=np.int64)
    return (holds >= least) & np.array([one.is_annotation for one in objects], dtype=bool)
