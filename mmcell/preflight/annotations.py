"""Annotation files: does each annotation belong to an image and a class, and can its mask be read?

What goes wrong many times over is one error that says how often, and names the first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.errors import InputError
from mmcell.structures.rle import decode

_AGAIN = 'convert the data again with tools/convert.py'

#: How far a box may reach over the edge of its image, in pixels: boxes of other tools are rounded.
_TOLERANCE = 0.5


def check_structure(path: str | Path, content: Any) -> list[InputError]:
    """Check that a file is COCO json: what the other checks take for granted.

    Args:
        path: The file, for errors.
        content: Its content.
    """
    if not isinstance(content, Mapping) or not all(
        isinstance(content.get(key, missing), list)
        for key, missing in (('images', None), ('categories', None), ('annotations', []))
    ):
        return [InputError(path, 'is not COCO json (no lists of images, categories and annotations)', _AGAIN)]
    kinds = {
        'images': {'id': int, 'file_name': str, 'height': int, 'width': int},
        'categories': {'id': int, 'name': str},
        'annotations': {'id': int, 'image_id': int, 'category_id': int, 'bbox': list},
    }
    errors = []
    for key, fields in kinds.items():
        items = content.get(key, ())
        wrong = next((item for item in items if not isinstance(item, dict)), None)
        if wrong is None:
            # `type`, not `isinstance`: True is no id. All at once first: a file may hold a million annotations.
            for name, kind in fields.items():
                if {type(item.get(name)) for item in items} - {kind}:
                    wrong = next(item for item in items if type(item.get(name)) is not kind)
                    break
        if wrong is not None:
            problem = f'is not COCO json: {key} holds {wrong!r:.80}'
            errors.append(InputError(path, problem, f'give each {", ".join(fields)}'))
    return errors


def check_annotations(path: str | Path, content: Mapping[str, Any], masks: bool = True) -> list[InputError]:
    """Check ids, categories, boxes and masks of COCO json.

    Args:
        path: The file, for errors.
        content: Its content, of which :func:`check_structure` finds nothing wrong.
        masks: Whether to decode every mask; the costliest of these checks.
    """
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    annotations = content.get('annotations', [])
    by_image, errors = defaultdict(list), []

    def report(wrong: Sequence[Any], say: Callable[[Any, int], str], cure: str = _AGAIN) -> None:
        if wrong:
            errors.append(InputError(path, say(wrong[0], len(wrong)), cure))

    report(_repeated(content['images'], 'id'), lambda one, n: f'gives the id {one} to several images{_more(n, "id")}')
    report(
        _repeated(content['images'], 'file_name'),
        lambda one, n: f'lists the image {one} more than once{_more(n, "image")}',
        'keep one entry an image',
    )
    for key in ('id', 'name'):
        report(
            _repeated(content['categories'], key),
            lambda one, n, key=key: f'has several categories of the {key} {one}',
            'give each a name and an id of its own',
        )
    report(
        _repeated(annotations, 'id'),
        lambda one, n: f'gives the id {one} to several annotations{_more(n, "id")}',
        'number the annotations anew, or convert the data again',
    )
    strangers, unknown = [], []
    for annotation in annotations:
        if annotation['category_id'] not in categories:
            unknown.append(annotation)
        if annotation['image_id'] in images:
            by_image[annotation['image_id']].append(annotation)
        else:
            strangers.append(annotation)
    report(
        strangers,
        lambda one, n: f'has {_count(n)} of images that it does not list, first {one["id"]} of image {one["image_id"]}',
    )
    known = ', '.join(map(str, sorted(categories)))
    report(
        unknown,
        lambda one, n: (
            f'has {_count(n)} of categories that it does not list, first {one["id"]} of category {one["category_id"]}'
        ),
        f'add the category, or choose from {known}',
    )
    errors += _check_boxes(path, images, annotations)
    if masks:
        errors += _check_masks(path, images, by_image)
    return errors


def category_names(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the categories in the order of their ids."""
    return tuple(item['name'] for item in sorted(content['categories'], key=lambda item: item['id']))


def check_classes(files: Sequence[tuple[str | Path, tuple[str, ...]]]) -> list[InputError]:
    """Check that annotation files, given with their classes, have those of the first."""
    errors = []
    for path, classes in files[1:]:
        first, wanted = files[0]
        if classes != wanted:
            problem = f'has the classes {", ".join(classes)}, but {first} {", ".join(wanted)}'
            errors.append(InputError(path, problem, 'convert both with the same --classes'))
    return errors


def _check_boxes(path: str | Path, images: Mapping[int, Any], annotations: Sequence[Mapping]) -> list[InputError]:
    annotations = [annotation for annotation in annotations if annotation['image_id'] in images]
    if not annotations:
        return []
    try:
        boxes = np.array([annotation['bbox'] for annotation in annotations], dtype=np.float64).reshape(-1, 4)
        if len(boxes) != len(annotations):
            raise ValueError
    except (ValueError, TypeError):
        return [InputError(path, 'has boxes that are not [x, y, width, height]', _AGAIN)]
    sizes = {number: (image['width'], image['height']) for number, image in images.items()}
    sizes = np.array([sizes[annotation['image_id']] for annotation in annotations])
    flat = ~((boxes[:, 2:] > 0).all(axis=1) & np.isfinite(boxes).all(axis=1))
    outside = ((boxes[:, :2] < -_TOLERANCE) | (boxes[:, :2] + boxes[:, 2:] > sizes + _TOLERANCE)).any(axis=1) & ~flat
    errors = []
    for wrong, what in ((flat, 'without an area'), (outside, 'that leave the image')):
        if wrong.any():
            one = annotations[np.argmax(wrong)]
            image = images[one['image_id']]
            problem = (
                f'has {int(wrong.sum())} boxes {what}, first {one["bbox"]} of annotation {one["id"]} in '
                f'{image["file_name"]} ({image["width"]} x {image["height"]})'
            )
            errors.append(InputError(path, problem, _AGAIN))
    return errors


def _check_masks(path: str | Path, images: Mapping[int, Any], by_image: Mapping[int, list]) -> list[InputError]:
    without, broken = [], []
    for number, owned in by_image.items():
        image = images[number]
        size = (image['height'], image['width'])
        rles, owners = [], []
        for annotation in owned:
            mask = annotation.get('segmentation')
            if isinstance(mask, dict):
                rles.append(mask)
                owners.append(annotation)
            elif not mask:
                without.append(annotation)
            elif not _is_outline(mask):
                broken.append((annotation, image, 'an outline of fewer than three points'))
        if _why_broken(rles, size):  # One by one only where something is wrong.
            broken += [
                (annotation, image, reason)
                for annotation, rle in zip(owners, rles)
                if (reason := _why_broken([rle], size))
            ]
    errors = []
    if without:
        problem = f'has {_count(len(without))} without a mask, first {without[0]["id"]}; training would ignore them'
        errors.append(InputError(path, problem, _AGAIN))
    if broken:
        one, image, reason = broken[0]
        problem = (
            f'has {len(broken)} broken masks, first that of annotation {one["id"]} in {image["file_name"]} ({reason})'
        )
        errors.append(InputError(path, problem, _AGAIN))
    return errors


def _why_broken(rles: Sequence[Any], size: tuple[int, int]) -> str:
    """What is wrong with masks; empty if nothing is."""
    try:
        decode(rles, size)
    except KeyError as error:
        return f'a mask without {error}'
    except Exception as error:  # JSON can hold anything.
        return str(error).replace('mask 0 has', 'it has') or type(error).__name__
    return ''


def _is_outline(mask: Any) -> bool:
    return isinstance(mask, list) and all(
        isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 for part in mask
    )


def _repeated(items: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    return [value for value, count in Counter(item[key] for item in items).items() if count > 1]


def _count(number: int) -> str:
    return f'{number} annotation{"s" if number > 1 else ""}'


def _more(number: int, what: str) -> str:
    return f', as it does with {number - 1} more {what}{"s" if number > 2 else ""}' if number > 1 else ''
