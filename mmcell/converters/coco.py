"""COCO json from elsewhere, checked and made exact."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from mmcell.coco.masks import to_rle
from mmcell.coco.schema import find_problems, raise_first
from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, TestImage
from mmcell.converters.geojson import is_geojson
from mmcell.converters.labelme import is_labelme
from mmcell.converters.listing import files_in, folders_in
from mmcell.errors import InputError, raise_all, show
from mmcell.io.files import read_json, relative_name
from mmcell.io.images import read_size, say_turned
from mmcell.structures.rle import Runs, decode

#: `train.json`, `instances_val2017.json`, `test_images.json`, `instances_Validation.json`; but `trainval.json` is none
#: of these.
_PART = re.compile(r'(?:^|_)(train|val|test)(?:ing|id|idation)?\d*(?:_|$)', re.IGNORECASE)


#: What the summary says of polygons without three points beside others.
_PARTS = 'parts of outlines have fewer than three points and are left out'

#: What makes cells of crowds, for a message.
_NO_CROWDS = 'sed -i \'s/"iscrowd": *1/"iscrowd": 0/g\''


@dataclass(frozen=True)
class _Image:
    """One image of a json with its annotations, and how much of these was left out for lack of points."""

    json: Path
    id: int
    file_name: str
    size: tuple[int, int]
    annotations: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@LAYOUTS.register_module('coco')
class Coco(Layout):
    """`annotations/*.json` or `*.json` in SRC; or one json in each of `train`, `valid` and `test`, as Roboflow exports.

    A train and a val json (`train.json`, `instances_val2017.json`, …) are the split, others are then left alone; or
    there is one json, which is split like any other layout. A test json gives the images to predict on. Images are in
    `images`, in a folder that the json is called after (`train2017`, also below `images`), beside the json, or in SRC.

    Masks are lists of polygons, filled and joined as pycocotools does, or RLE, compressed or not. Boxes and areas are
    measured anew; category ids are renumbered from 1 in their order. The name of an image is its path within SRC.

    `iscrowd` is kept, with a warning: CVAT sets it for all that is drawn with a brush. Polygons of fewer than three
    points, which stray clicks leave, are left out and counted; a box without outline is an error. A category without
    annotations that is the supercategory of others is none: Roboflow writes the project's name as one.

    Source: https://cocodataset.org/#format-data; https://docs.cvat.ai/docs/manual/advanced/formats/format-coco/;
    https://roboflow.com/formats/coco-json; `common/maskApi.c` in https://github.com/cocodataset/cocoapi.
    """

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """Names of the categories in the order of their ids."""
        return tuple(self._categories.values())

    def names(self) -> list[str]:
        """Names of the images of train and val, or of the single json, sorted."""
        if len(self.class_names) != len(self._categories):
            self._refuse_names([len(self._categories)])
        self._check_crowds()
        return sorted(self._images)

    def files(self) -> list[Path]:
        """The json files that are read, and the images that they list."""
        test = self._parse(self._jsons['test']) if 'test' in self._jsons else []
        return [*self._jsons.values(), *(self.source / image.file_name for image in [*self._images.values(), *test])]

    def split(self) -> tuple[list[str], list[str]] | None:
        """The images of the train json and of the val json."""
        if 'train' not in self._jsons:
            return None
        names: dict[Path, list[str]] = defaultdict(list)
        for name in sorted(self._images):
            names[self._images[name].json].append(name)
        return names[self._jsons['train']], names[self._jsons['val']]

    def read(self, name: str) -> ImageRecord:
        """Read one image and its annotations."""
        image = self._images[name]
        file = self.source / image.file_name
        _check_size(image, file)
        numbers = {category: number for number, category in enumerate(self._categories, start=1)}
        cells: dict[int, list[Runs]] = defaultdict(list)
        crowds: dict[int, list[Runs]] = defaultdict(list)
        for annotation in image.annotations:
            runs = decode([to_rle(annotation['segmentation'], image.size)], image.size)
            (crowds if annotation.get('iscrowd') else cells)[numbers[annotation['category_id']]].append(runs)
        record = self._record_of_runs(name, file, cells, crowds)
        left_out = image.left_out
        return replace(record, empty=record.empty + left_out['cells'], notes=+Counter({_PARTS: left_out['parts']}))

    def test_images(self) -> list[TestImage] | None:
        """The images of the test json with their ids."""
        path = self._jsons.get('test')
        if path is None:
            return None
        images = self._parse(path)
        if any(image.annotations for image in images):
            self.warnings.append(f'{self._relative(path)} has annotations; they are left out')
        for image in images:
            _check_size(image, self.source / image.file_name)
        return [TestImage(image.id, image.file_name, image.size) for image in sorted(images, key=lambda one: one.id)]

    @cached_property
    def _jsons(self) -> dict[str, Path]:
        """The files to read: train and val, or else `all`; and perhaps test."""
        folder = self.source / 'annotations'
        folder = folder if folder.is_dir() else self.source
        named = {path: path.stem for path in files_in(folder, ['.json'])}
        if not named:
            folder = self.source
            folders = [part for part in folders_in(folder) if _PART.fullmatch(part.name)]
            named = {path: part.name for part in folders for path in files_in(part, ['.json'])}
        parts: dict[str, list[Path]] = defaultdict(list)
        for path, name in named.items():
            match = _PART.search(name)
            parts[match[1].lower() if match else ''].append(path)
        if not (parts['train'] and parts['val']):
            parts = {'all': [path for path in named if path not in parts['test']], 'test': parts['test']}
        parts.pop('', None)
        for part, found in parts.items():
            if len(found) > 1 or not (found or part == 'test'):
                for path in named:
                    if layout := _other_layout(path):
                        raise InputError(path, f'is not COCO json, but {layout}', f'give the layout {layout}')
                there = f'{len(found)} json files' if found else 'no json file'
                problem = f'holds {there}' + ('' if part == 'all' else f' for {part}')
                cure = 'leave one, or train and val, there, in annotations, or in folders called train and valid'
                raise InputError(folder, problem, cure)
        return {part: found[0] for part, found in parts.items() if found}

    @cached_property
    def _contents(self) -> dict[Path, tuple[dict[str, Any], dict[int, Counter[str]]]]:
        """What each json holds, and what was left out of it, by image."""
        contents = {}
        read = {path: read_json(path) for path in self._jsons.values()}
        for name in sorted(_leave_out_parents(read.values())):
            self.warnings.append(
                f'the category {show(name)} has no cells and is the supercategory of others: it is left out'
            )
        for part, path in self._jsons.items():
            content = read[path]
            left_out = {} if part == 'test' else _leave_out_strays(path, content)
            raise_first(path, find_problems(content, () if part == 'test' else ('segmentation',)))
            contents[path] = content, left_out
        return contents

    @cached_property
    def _categories(self) -> dict[int, str]:
        """Names by category id, in the order of the ids."""
        found = {
            path: {category['id']: category['name'] for category in content['categories']}
            for path, (content, _) in self._contents.items()
        }
        first = next(iter(found))
        for path, categories in found.items():
            if categories != found[first]:
                raise InputError(path, f'has other categories than {self._relative(first)}', 'give both the same')
        return dict(sorted(found[first].items()))

    def _check_crowds(self) -> None:
        """Say that there are crowds, and refuse a source without anything else."""
        for part, path in self._jsons.items():
            annotations = [] if part == 'test' else self._contents[path][0].get('annotations', ())
            crowds = sum(one.get('iscrowd', 0) for one in annotations)
            known = 'as CVAT marks what is drawn with a brush'
            cure = f'where they are single cells: {_NO_CROWDS} {path.name}'
            if crowds and crowds == len(annotations):
                problem = f'marks all {crowds} annotations as crowds (iscrowd 1), {known}: no cells are left to learn'
                raise InputError(path, problem, cure)
            if crowds:
                self.warnings.append(
                    f'{crowds} of {len(annotations)} annotations of {path.name} are crowds (iscrowd 1), {known}, and '
                    f'are ignored; {cure}'
                )

    @cached_property
    def _images(self) -> dict[str, _Image]:
        """Annotated images by name."""
        images: dict[str, _Image] = {}
        for image in (image for part in self._jsons if part != 'test' for image in self._parse(self._jsons[part])):
            other = images.setdefault(image.file_name, image)
            if other is not image:
                raise InputError(image.json, f'lists {image.file_name}, as {other.json.name} does', 'keep it in one')
        return images

    def _parse(self, path: Path) -> list[_Image]:
        """The images of one json with their annotations."""
        content, left_out = self._contents[path]
        images, missing = {}, []
        for entry in content['images']:
            file = self._find(path, relative_name(entry['file_name']))
            if file is None:
                missing.append(InputError(path, f'lists {entry["file_name"]:.80}, which is missing', 'restore it'))
            else:
                size = entry['height'], entry['width']
                images[entry['id']] = _Image(path, entry['id'], self._relative(file), size)
                images[entry['id']].left_out.update(left_out.get(entry['id'], {}))
        raise_all(missing)
        for annotation in content.get('annotations', ()):
            images[annotation['image_id']].annotations.append(annotation)
        return list(images.values())

    def _find(self, path: Path, name: PurePosixPath) -> Path | None:
        """The file of an image that a json lists; None if there is none."""
        called = path.stem.rpartition('_')[2]
        beside = [path.parent] if path.parent.parent == self.source and path.parent.name != 'annotations' else []
        for base in (*beside, *(self.source / base for base in (f'images/{called}', 'images', called, '.'))):
            file = base / name
            try:
                if file.is_file():
                    return file
            except OSError:  # Too long.
                return None
        return None


def _leave_out_parents(contents: Collection[Any]) -> set[str]:
    """Remove categories that no annotation of any json has and that are the supercategory of others.

    Returns:
        Their names; what is broken is left to the schema.
    """
    owned = {one['category_id'] for content in contents for one in _dicts(content, 'annotations', 'category_id')}
    names = set()
    for content in contents:
        categories = _dicts(content, 'categories', 'id')
        for one in [one for one in categories if one['id'] not in owned and isinstance(one.get('name'), str)]:
            if any(other.get('supercategory') == one['name'] for other in categories if other is not one):
                names.add(one['name'])
                content['categories'].remove(one)
    return names


def _dicts(content: Any, key: str, number: str) -> list[dict[str, Any]]:
    """The entries of a list in a json that have a number, as far as there are any."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        return []
    return [one for one in entries if isinstance(one, dict) and type(one.get(number)) is int]


def _leave_out_strays(path: Path, content: Any) -> dict[int, Counter[str]]:
    """Remove polygons without three points from a json, and annotations of which nothing is left.

    Returns:
        How many `parts` and whole `cells` were removed, by image; what is broken in other ways is left to the schema.
    """
    annotations = content.get('annotations') if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        return {}
    left_out: dict[int, Counter[str]] = defaultdict(Counter)
    kept, boxes = [], []
    for annotation in annotations:
        segmentation = annotation.get('segmentation', []) if isinstance(annotation, dict) else None
        if not isinstance(segmentation, list) or type(annotation.get('image_id')) is not int:
            kept.append(annotation)
            continue
        outlines = [polygon for polygon in segmentation if not _is_stray(polygon)]
        if outlines:
            left_out[annotation['image_id']]['parts'] += len(segmentation) - len(outlines)
            annotation['segmentation'] = outlines
            kept.append(annotation)
        elif not any(segmentation) and _has_area(annotation.get('bbox')):
            boxes.append(annotation.get('id'))
        else:
            left_out[annotation['image_id']]['cells'] += 1
    if boxes:
        more = f' (and {len(boxes) - 1} more)' if len(boxes) > 1 else ''
        problem = f'annotation {show(boxes[0])}{more} has a box only, no outline'
        raise InputError(path, problem, 'outline it, or remove it')
    content['annotations'] = kept
    return left_out


def _is_stray(polygon: Any) -> bool:
    """Whether a polygon has fewer than three points: pycocotools would take two for a box."""
    return isinstance(polygon, list) and len(polygon) in (0, 2, 4) and all(type(one) in (int, float) for one in polygon)


def _has_area(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(type(one) in (int, float) and one > 0 for one in box[2:])


def _other_layout(path: Path) -> str | None:
    """The layout that reads a json of another tool."""
    try:
        content = read_json(path)
    except InputError:
        return None
    return 'labelme' if is_labelme(content) else 'geojson' if is_geojson(content) else None


def _check_size(image: _Image, file: Path) -> None:
    height, width = read_size(file)
    if (height, width) != image.size:
        problem = f'says that {image.file_name} is {image.size[1]} x {image.size[0]}, but it is {width} x {height}'
        problem += say_turned((height, width), image.size)
        raise InputError(image.json, problem, 'restore the image or fix the entry')
