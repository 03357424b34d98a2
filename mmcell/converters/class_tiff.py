"""The layout of the course's data: a folder per image, a float or integer label map per class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, TestImage, check_same_size
from mmcell.converters.listing import IMAGE_SUFFIXES, files_in, find_files, folders_in
from mmcell.errors import InputError, raise_all
from mmcell.io.files import read_json
from mmcell.io.images import read_label_map, read_size, say_turned
from mmcell.io.limits import MAX_ID
from mmcell.structures.rle import encode_label_map


@LAYOUTS.register_module('class_tiff')
class ClassTiff(Layout):
    """`train/<id>/{image,class1,class2,…}.tif`, `test_release/*.tif`, `test_image_name_to_ids.json`.

    In `train/<id>` .tiff and .png are read as well, and names in upper or lower case. Another picture there, or another
    file that is called `class…`, is an error: it may be a class under a name that we do not know.

    A missing class file means that the class does not occur. Pixels of a class file with the same value are one
    instance, connected or not; ids may have gaps, and may be shared by class files or run on across them.
    """

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """The four classes of the course's data (MoNuSAC 2020, Verma et al., IEEE TMI 2021)."""
        return 'epithelial', 'lymphocyte', 'neutrophil', 'macrophage'

    def names(self) -> list[str]:
        """Names of the folders below `train`, sorted."""
        train = self.source / 'train'
        names = [path.name for path in folders_in(train)]
        if not names:
            raise InputError(train, 'holds no image folder', 'lay images out as train/<id>/image.tif')
        return names

    def files(self) -> list[Path]:
        """Images and class files, and whatever lies in `test_release`, which is checked on its own."""
        folders = folders_in(self.source / 'train')
        found = [path for folder in folders for path in files_in(folder) if _kind(path) or _may_be_a_class(path)]
        return [*found, *find_files(self.source / 'test_release'), self.source / 'test_image_name_to_ids.json']

    def read(self, name: str) -> ImageRecord:
        """Read one folder below `train`."""
        folder = self.source / 'train' / name
        images, files = self._sort_files(folder)
        planes = {category: read_label_map(path) for category, path in files.items()}
        if len(images) != 1:
            there = ' and '.join(path.name for path in images)
            problem = f'holds the images {there}' if images else 'is missing'
            cure = 'leave one' if images else 'restore it or remove the folder'
            raise InputError(folder if images else folder / 'image.tif', problem, cure)
        size = read_size(images[0])
        for category, plane in planes.items():
            check_same_size(files[category], plane.shape, images[0], size)
        instances = {category: encode_label_map(plane) for category, plane in planes.items()}
        mask = np.any([plane > 0 for plane in planes.values()], axis=0)
        return self._record(name, images[0], instances, mask)

    def test_images(self) -> list[TestImage] | None:
        """The images of `test_release`, each with its id and its size from `test_image_name_to_ids.json`."""
        folder, listing = self.source / 'test_release', self.source / 'test_image_name_to_ids.json'
        if not folder.is_dir():
            if listing.exists():
                self.warnings.append(f'{listing.name} is there but test_release is not: no test.json')
            return None
        entries = read_json(listing)
        if not isinstance(entries, list):
            raise InputError(listing, 'is not a list', 'restore it from its source')
        images = [_test_image(listing, entry) for entry in entries]
        names, ids = [Path(image.file_name).name for image in images], [image.id for image in images]
        errors = [
            InputError(listing, f'lists {what} twice', 'restore it from its source')
            for what, values in (('a name', names), ('an id', ids))
            if len(set(values)) != len(values)
        ]
        found = {path.name for path in files_in(folder)}
        errors += [
            InputError(folder / name, f'is listed in {listing.name} but missing', 'restore the file or drop the entry')
            for name in sorted(set(names) - found)
        ]
        errors += [
            InputError(folder / name, f'is not listed in {listing.name}', 'add an entry for it or remove the file')
            for name in sorted(found - set(names))
        ]
        for image in images:
            path = self.source / image.file_name
            if path.name in found and (size := read_size(path)) != image.size:
                problem = f'is {size[1]} x {size[0]}, but {listing.name} says {image.size[1]} x {image.size[0]}'
                problem += say_turned(size, image.size)
                errors.append(InputError(path, problem, 'restore the file or fix the entry'))
        raise_all(errors)
        return sorted(images, key=lambda image: image.id)

    def _sort_files(self, folder: Path) -> tuple[list[Path], dict[int, Path]]:
        """Of one folder the images, and the class files by category id."""
        images: list[Path] = []
        files: dict[int, Path] = {}
        for path in files_in(folder):
            kind = _kind(path)
            if kind == 'image':
                images.append(path)
            elif kind is None and not _may_be_a_class(path):
                continue  # The summary names it.
            else:
                category = int(kind.removeprefix('class')) if kind else 0
                if not 1 <= category <= len(self.class_names):
                    raise InputError(
                        path,
                        f'is not one of class1.tif to class{len(self.class_names)}.tif',
                        'rename it, name all classes with --classes, or remove it',
                    )
                if category in files:
                    problem = f'is of class {category}, as {files[category].name} is'
                    raise InputError(path, problem, 'remove one of them')
                files[category] = path
        if not files:
            raise InputError(
                folder, 'holds no class file', 'add one (all zero for an image without cells) or remove the folder'
            )
        return images, files


def _kind(path: Path) -> str | None:
    """`image`, or `class` and its number, of a file that has such a name; None of any other."""
    match = re.fullmatch(r'(image|class\d{1,9})\.(tiff?|png)', path.name.lower(), re.ASCII)
    return match[1] if match else None


def _may_be_a_class(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES or path.name.lower().startswith('class')


def _test_image(listing: Path, entry: Any) -> TestImage:
    """One entry of the list of test images, checked."""
    try:
        name, values = entry['file_name'], (entry['id'], entry['height'], entry['width'])
    except (TypeError, KeyError):
        raise InputError(listing, f'has the entry {entry!r:.80}', 'give each file_name, id, height and width') from None
    if not isinstance(name, str) or not name or Path(name).name != name or not name.isprintable():
        raise InputError(listing, f'names the file {name!r:.80}', 'give names without folders')
    if any(type(value) is not int or not 0 <= value <= MAX_ID for value in values):
        raise InputError(listing, f'has a bad id or size for {name}', 'give whole numbers')
    return TestImage(values[0], f'test_release/{name}', values[1:])
