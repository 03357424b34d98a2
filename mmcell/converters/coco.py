"""COCO json from elsewhere, checked and made exact."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mmcell.coco.masks import to_rle
from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, TestImage
from mmcell.errors import InputError, raise_all
from mmcell.io.files import read_json, relative_name
from mmcell.io.images import read_size
from mmcell.io.limits import MAX_ID
from mmcell.structures.rle import decode

#: `train.json`, `instances_val2017.json`, `test_images.json`; but `trainval.json` is none of these.
_PART = re.compile(r'(?:^|_)(train|val|test)\d*(?:_|$)')

_RESTORE = 'restore it from its source'


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
            try:
                runs = decode([to_rle(annotation.get('segmentation'), image.size)], image.size)
            except ValueError as error:
                problem = f'has a broken mask in annotation {annotation.get("id")!r:.20} of {image.file_name} ({error})'
                raise InputError(image.json, problem, 'export the masks again') from None
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
                there = f'{len(found)} json files' if found else 'no json file'
                problem = f'holds {there}' + ('' if part == 'all' else f' for {part}')
                raise InputError(folder if folder.is_dir() else self.source, problem, 'leave one, or train and val')
        return {part: found[0] for part, found in parts.items() if found}

    @cached_property
    def _contents(self) -> dict[Path, dict[str, Any]]:
        return {path: _read(path) for path in self._jsons.values()}

    @cached_property
    def _categories(self) -> dict[int, str]:
        """Names by category id, in the order of the ids."""
        found = {path: _categories(path, content) for path, content in self._contents.items()}
        first = next(iter(found))
        for path, categories in found.items():
            if categories != found[first]:
                raise InputError(path, f'has other categories than {first.name}', 'give both the same')
        return found[first]

    @cached_property
    def _images(self) -> dict[str, _Image]:
        """Annotated images by name."""
        images: dict[str, _Image] = {}
        for image in (image for part in self._jsons if part != 'test' for image in self._parse(self._jsons[part])):
            other = images.setdefault(image.file_name, image)
            if other is not image:
                raise InputError(image.json, f'lists {image.file_name}, as {other.json.name} does', 'keep it in one')
        if not images:
            raise InputError(next(iter(self._jsons.values())), 'lists no images', _RESTORE)
        return images

    def _parse(self, path: Path) -> list[_Image]:
        """The images of one json with their annotations."""
        content = self._contents[path]
        images, missing = {}, []
        for entry in content['images']:
            image = self._parse_image(path, entry)
            if image is None:
                missing.append(InputError(path, f'lists {entry["file_name"]:.200}, which is missing', 'restore it'))
            elif image.id in images:
                raise InputError(path, f'gives the id {image.id} to two images', _RESTORE)
            else:
                images[image.id] = image
        raise_all(missing)
        for annotation in content.get('annotations', []):
            _check_annotation(path, annotation, images.keys(), self._categories.keys())
            images[annotation['image_id']].annotations.append(annotation)
        return list(images.values())

    def _parse_image(self, path: Path, entry: Any) -> _Image | None:
        """An entry of the list of images, checked; None if there is no such file."""
        try:
            name, number, size = entry['file_name'], entry['id'], (entry['height'], entry['width'])
        except (TypeError, KeyError):
            problem = f'has the image {entry!r:.80}'
            raise InputError(path, problem, 'give each file_name, id, height and width') from None
        if not isinstance(name, str) or any(
            type(value) is not int or not 0 <= value <= MAX_ID for value in (number, *size)
        ):
            raise InputError(path, f'has the image {entry!r:.80}', 'give a name as text, id and size as whole numbers')
        try:
            relative = relative_name(name)
        except ValueError:
            raise InputError(path, f'names the image {name!r:.200}', 'give paths that stay in the folder') from None
        called = path.stem.rpartition('_')[2]
        for base in (f'images/{called}', 'images', called, '.'):
            file = self.source / base / relative
            try:
                if file.is_file():
                    return _Image(path, number, file.relative_to(self.source).as_posix(), size)
            except (OSError, ValueError):  # Too long, or no name at all.
                return None
        return None


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    lists = {'images', 'categories'}
    if isinstance(content, dict):
        lists |= content.keys() & {'annotations'}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in lists):
        raise InputError(path, 'is not COCO json', 'give lists of images, annotations and categories')
    return content


def _categories(path: Path, content: dict[str, Any]) -> dict[int, str]:
    try:
        pairs = [(category['id'], category['name']) for category in content['categories']]
    except (TypeError, KeyError):
        raise InputError(path, 'has a category without id or name', 'give both') from None
    ids = {number for number, _ in pairs if type(number) is int}
    names = {name for _, name in pairs if isinstance(name, str) and name.isprintable()}
    if not pairs or len(ids) != len(pairs) or len(names) != len(pairs):
        raise InputError(path, 'has no categories, or two of one id or name', 'give each a number and a text')
    return dict(sorted(pairs))


def _check_annotation(path: Path, annotation: Any, images: Collection[int], categories: Collection[int]) -> None:
    """Check that an annotation belongs to an image and a category, and says whether it is a crowd."""
    if not isinstance(annotation, dict):
        raise InputError(path, f'has the annotation {annotation!r:.80}', _RESTORE)
    number = f'{annotation.get("id")!r:.20}'
    for key, known in (('image_id', images), ('category_id', categories)):
        value = annotation.get(key)
        if type(value) is not int or value not in known:
            raise InputError(path, f'has annotation {number} with the {key} {value!r:.20}', f'add that {key[:-3]}')
    if annotation.get('iscrowd', 0) not in (0, 1):
        raise InputError(path, f'has annotation {number} with an iscrowd that is not 0 or 1', 'mend it')


def _check_size(image: _Image, file: Path) -> None:
    height, width = read_size(file)
    if (height, width) != image.size:
        problem = f'says that {image.file_name} is {image.size[1]} x {image.size[0]}, but it is {width} x {height}'
        raise InputError(image.json, problem, 'restore the image or mend the entry')
