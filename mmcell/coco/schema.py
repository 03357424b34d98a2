"""COCO json from outside, checked once for all that read it: evaluation, data sets, reports, submissions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mmcell.errors import InputError
from mmcell.io.files import read_json, relative_name
from mmcell.io.limits import MAX_ID, MAX_MASK_PIXELS

#: A coordinate beyond this is no pixel's.
_MAX_COORDINATE = 2**31

_CURE = 'give a json made by tools/convert.py'


def read_coco(path: str | Path, need_files: bool = True) -> dict[str, Any]:
    """Read a COCO json, with or without annotations, and check it as :func:`check_coco` does.

    Raises:
        InputError: If it cannot be read, or is malformed.
    """
    content = read_json(path)
    check_coco(path, content, need_files)
    return content


def read_results(path: str | Path) -> list[Any]:
    """Read a results file; what its entries say is checked by those who know the images.

    Raises:
        InputError: If it cannot be read, or holds no list.
    """
    results = read_json(path)
    if not isinstance(results, list):
        raise InputError(path, 'is not a list of results', 'give a file made by tools/test.py or tools/infer.py')
    return results


def check_coco(where: str | Path, content: Any, need_files: bool = True) -> None:
    """Check ids, sizes, names and boxes; masks are checked by those who read them.

    Args:
        where: What to name in an error.
        content: The content of the json.
        need_files: Whether every image must have a `file_name`. Those that there are must stay in their folder.

    Raises:
        InputError: If there are no images or no categories, two have one id, an annotation belongs to none of them, or
            anything is not of its type or far out of range.
    """
    if not isinstance(content, Mapping) or not content.get('images') or not content.get('categories'):
        raise InputError(where, 'has no images or no categories', _CURE)
    info = content.get('info') or {}
    if not isinstance(info, Mapping) or info.get('channel_order', 'rgb') not in ('rgb', 'bgr'):
        raise InputError(where, 'has an info that we do not understand', _CURE)
    images = _by_id(where, content['images'], 'image')
    for image in images.values():
        _check_image(where, image, need_files)
    categories = _by_id(where, content['categories'], 'category')
    names = [category.get('name') for category in categories.values()]
    if not all(isinstance(name, str) and name.isprintable() for name in names) or len(set(names)) != len(names):
        raise InputError(where, 'has categories without a name, or two of one name', _CURE)
    annotations = content.get('annotations') or []
    if not isinstance(annotations, list):
        raise InputError(where, 'has annotations that are no list', _CURE)
    for annotation in annotations:
        problem = annotation_problem(annotation, images, categories)
        if problem:
            number = annotation.get('id') if isinstance(annotation, Mapping) else annotation
            raise InputError(where, f'has annotation {number!r:.20} {problem}', _CURE)


def annotation_problem(annotation: Any, images: Collection[int], categories: Collection[int]) -> str | None:
    """What is wrong with an annotation or a result, masks apart; None if nothing is."""
    if not isinstance(annotation, Mapping):
        return 'that is no object'
    for key, known in (('image_id', images), ('category_id', categories)):
        value = annotation.get(key)
        if type(value) is not int or value not in known:
            return f'with the unknown {key} {value!r:.20}'
    if annotation.get('iscrowd', 0) not in (0, 1):
        return 'with an iscrowd that is not 0 or 1'
    if not is_number(annotation.get('area', 0)):
        return f'with the area {annotation["area"]!r:.20}'
    box = annotation.get('bbox', (0, 0, 0, 0))
    if not (isinstance(box, (list, tuple)) and len(box) == 4 and all(map(is_coordinate, box)) and min(box[2:]) >= 0):
        return f'with the bbox {box!r:.80}'
    return None


def is_number(value: Any) -> bool:
    """Whether a value of a json is a finite number; True and False are none."""
    # An integer may be too large for a float.
    return (type(value) is int and abs(value) <= MAX_ID) or (type(value) is float and math.isfinite(value))


def is_coordinate(value: Any) -> bool:
    """Whether a value of a json is a number that can be a coordinate in pixels."""
    return type(value) in (int, float) and abs(value) <= _MAX_COORDINATE


def _by_id(where: str | Path, entries: Any, kind: str) -> dict[int, Mapping[str, Any]]:
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise InputError(where, f'has no list of {kind} objects', _CURE)
    found = {}
    for entry in entries:
        number = entry.get('id')
        if type(number) is not int or not 0 <= number <= MAX_ID:
            raise InputError(where, f'has the {kind} id {number!r:.40}', 'give whole numbers from 0')
        if number in found:
            raise InputError(where, f'gives the {kind} id {number} twice', 'give every one its own')
        found[number] = entry
    return found


def _check_image(where: str | Path, image: Mapping[str, Any], need_file: bool) -> None:
    height, width = image.get('height'), image.get('width')
    if type(height) is not int or type(width) is not int or min(height, width) < 1 or height * width > MAX_MASK_PIXELS:
        problem = f'has image {image["id"]} with the height {height!r:.20} and the width {width!r:.20}'
        raise InputError(where, problem, _CURE)
    if need_file or 'file_name' in image:
        try:
            relative_name(image.get('file_name'))
        except ValueError as error:
            problem = f'has image {image["id"]} whose file_name {error}'
            raise InputError(where, problem, 'give paths that stay in the folder') from None
