"""COCO json from elsewhere, checked and made exact."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from mmcell.coco.masks import to_rle
from mmcell.coco.schema import read_coco
from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, TestImage
from mmcell.converters.geojson import is_geojson
from mmcell.converters.labelme import is_labelme
from mmcell.errors import InputError, raise_all
from mmcell.io.files import read_json, relative_name
from mmcell.io.images import read_size
from mmcell.structures.rle import decode

#: `train.json`, `instances_val2017.json`, `test_images.json`; but `trainval.json` is none of these.
_PART = re.compile(r'(?:^|_)(train|val|test)\d*(?:_|$)')


@dataclass(frozen=True)
class _Image:
    """One image of a json with its annotations."""

    json: Path
    id: int
    file_name: str
    size: tuple[int, int]
    annotations: list[dict[str, Any]] = field(default_factory=list)


@LAYOUTS.register_module('coco')
class Coco(Layout):
    """`annotations/*.json` or `*.json` in SRC.

    A train and a val json (`train.json`, `instances_val2017.json`, …) are the split, others are then left alone; or
    there is one json, which is split like any other layout. A test json gives the images to predict on. Images are in
    `images`, in a folder that the json is called after (`train2017`, also below `images`), or in SRC itself.

    Masks are lists of polygons, filled and joined as pycocotools does, or RLE, compressed or not. Boxes and areas are
    measured anew; `iscrowd` is kept; category ids are renumbered from 1 in their order. The name of an image is its
    path within SRC.

    Source: https://cocodataset.org/#format-data; `common/maskApi.c` in https://github.com/cocodataset/cocoapi.
    """

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """Names of the categories in the order of their ids."""
        return tuple(self._categories.values())

    def names(self) -> list[str]:
        """Names of the images of train and val, or of the single json, sorted."""
        if len(self.class_names) != len(self._categories):
            problem = f'names {len(self.class_names)} classes for the {len(self._categories)} of the data'
            raise InputError('--classes', problem, 'give one name a category, in the order of their ids')
        return sorted(self._images)

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
        cells, crowds = defaultdict(list), defaultdict(list)
        for annotation in image.annotations:
            runs = decode([to_rle(annotation['segmentation'], image.size)], image.size)
            (crowds if annotation.get('iscrowd') else cells)[numbers[annotation['category_id']]].append(runs)
        return self._record_of_runs(name, file, cells, crowds)

    def test_images(self) -> list[TestImage] | None:
        """The images of the test json with their ids."""
        path = self._jsons.get('test')
        if path is None:
            return None
        images = self._parse(path)
        if any(image.annotations for image in images):
            self.warnings.append(f'{path.name} has annotations; they are left out')
        for image in images:
            _check_size(image, self.source / image.file_name)
        return [TestImage(image.id, image.file_name, image.size) for image in sorted(images, key=lambda one: one.id)]

    @cached_property
    def _jsons(self) -> dict[str, Path]:
        """The files to read: train and val, or else `all`; and perhaps test."""
        folder = self.source / 'annotations'
        paths = sorted((folder if folder.is_dir() else self.source).glob('*.json'))
        parts: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            match = _PART.search(path.stem)
            parts[match[1] if match else ''].append(path)
        if not (parts['train'] and parts['val']):
            parts = {'all': [path for path in paths if path not in parts['test']], 'test': parts['test']}
        parts.pop('', None)
        for part, found in parts.items():
            if len(found) > 1 or not (found or part == 'test'):
                for path in paths:
                    if layout := _other_layout(path):
                        raise InputError(path, f'is not COCO json, but {layout}', f'give the layout {layout}')
                there = f'{len(found)} json files' if found else 'no json file'
                problem = f'holds {there}' + ('' if part == 'all' else f' for {part}')
                raise InputError(folder if folder.is_dir() else self.source, problem, 'leave one, or train and val')
        return {part: found[0] for part, found in parts.items() if found}

    @cached_property
    def _contents(self) -> dict[Path, dict[str, Any]]:
        return {
            path: read_coco(path, () if part == 'test' else ('segmentation',)) for part, path in self._jsons.items()
        }

    @cached_property
    def _categories(self) -> dict[int, str]:
        """Names by category id, in the order of the ids."""
        found = {
            path: {category['id']: category['name'] for category in content['categories']}
            for path, content in self._contents.items()
        }
        first = next(iter(found))
        for path, categories in found.items():
            if categories != found[first]:
                raise InputError(path, f'has other categories than {first.name}', 'give both the same')
        return dict(sorted(found[first].items()))

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
        content = self._contents[path]
        images, missing = {}, []
        for entry in content['images']:
            file = self._find(path, relative_name(entry['file_name']))
            if file is None:
                missing.append(InputError(path, f'lists {entry["file_name"]:.80}, which is missing', 'restore it'))
            else:
                size = entry['height'], entry['width']
                images[entry['id']] = _Image(path, entry['id'], file.relative_to(self.source).as_posix(), size)
        raise_all(missing)
        for annotation in content.get('annotations', ()):
            images[annotation['image_id']].annotations.append(annotation)
        return list(images.values())

    def _find(self, path: Path, name: PurePosixPath) -> Path | None:
        """The file of an image that a json lists; None if there is none."""
        called = path.stem.rpartition('_')[2]
        for base in (f'images/{called}', 'images', called, '.'):
            file = self.source / base / name
            try:
                if file.is_file():
                    return file
            except OSError:  # Too long.
                return None
        return None


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
        raise InputError(image.json, problem, 'restore the image or fix the entry')
