"""The one home of what a COCO annotation file and a list of results may hold: every reader of ours asks here.

A caller raises the first problem (:func:`raise_first`) or lists them all. What one reader alone asks for stays with it:
that a submission has just its fields, in order; that a data set has the classes that are picked; that fused results
are of the same images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from mmcell.coco.masks import find_broken
from mmcell.errors import InputError, show
from mmcell.io.files import read_json, relative_name
from mmcell.io.limits import MAX_ID, MAX_MASK_PIXELS

#: A coordinate beyond this is no pixel's.
_MAX_COORDINATE = 2**31

#: How far a box may reach over the edge of its image in training, in pixels: boxes of other tools are rounded.
_TOLERANCE = 0.5

_NUMBERS = frozenset({int, float})
_ANY_ID = range(MAX_ID + 1)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a document.

    Attributes:
        at: What in it is at fault, such as 'annotation 7'; empty for the whole.
        problem: What is wrong with that, such as "has the area 'big'".
        cure: What to do; the same words for all that break one rule.
    """

    at: str
    problem: str
    cure: str

    def as_error(self, where: str | Path) -> InputError:
        """The problem of a file, or of whatever `where` names."""
        return InputError(where, f'{self.at} {self.problem}'.strip(), self.cure)


def raise_first(where: str | Path, problems: Iterable[Problem]) -> None:
    """Raise the first of some problems, if there is one.

    Raises:
        InputError: With `where` as what is at fault.
    """
    for problem in problems:
        raise problem.as_error(where)


def read_coco(path: str | Path, needs: Collection[str] = ()) -> dict[str, Any]:
    """Read an annotation file, with or without annotations.

    Raises:
        InputError: If it cannot be read, or at the first of :func:`find_problems`.
    """
    document = read_json(path)
    raise_first(path, find_problems(document, needs))
    return document


def find_problems(document: Any, needs: Collection[str] = (), training: bool = False) -> Iterator[Problem]:
    """What is wrong with the content of an annotation file, in the order of the document, masks last.

    Images have a whole number of their own as `id`, `height` and `width` of at most 2**32 - 1 pixels, and a `file_name`
    that stays in its folder; categories an `id` and a `name` of their own; annotations an `id` of their
    own, the `image_id` and the `category_id` of one of these, and, as far as given, `bbox` (x, y, width, height),
    `area`, `iscrowd` (0 or 1) and `segmentation` (polygons, or RLE of the image's size). True is no number, 1.0 no id.

    Args:
        document: What JSON can hold.
        needs: Which of 'bbox' and 'segmentation' every annotation must have.
        training: Whether it is to be trained on: each image then needs a file of its own, each annotation both, and a
            box that has an area and lies in its image, since MMDetection drops others in silence.
    """
    if not isinstance(document, dict) or not document.get('images') or not document.get('categories'):
        yield Problem(
            '', 'has no images or no categories', 'give both; where val is empty, tools/convert.py says how to fill it'
        )
        return
    info = document.get('info', {})
    if not isinstance(info, dict):
        yield Problem('info', f'is {show(info)}', 'make it an object, or leave it out')
    elif info.get('channel_order', 'rgb') not in ('rgb', 'bgr'):
        yield Problem('info', f'has the channel_order {show(info["channel_order"])}', "give 'rgb' or 'bgr'")
    if isinstance(info, dict):
        yield from _mpp_problems('info', info)
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for key, kind in (('images', 'image'), ('categories', 'category'), ('annotations', 'annotation')):
        found[key] = {}
        yield from _index(document.get(key, []), key, kind, found[key])
    images, categories, annotations = found.values()
    sizes: dict[int, tuple[int, int]] = {}
    yield from _image_problems(images, sizes, training)
    yield from _category_problems(categories)
    if training:
        needs = ('bbox', 'segmentation')
    masks = defaultdict(list)
    for number, annotation in annotations.items():
        broken = _instance_problem(annotation, images, categories, needs)
        if broken is None and training:
            broken = _box_problem(annotation['bbox'], sizes.get(annotation['image_id']))
        if broken is not None:
            yield Problem(f'annotation {number}', *broken)
        elif 'segmentation' in annotation and annotation['segmentation'] != [] and annotation['image_id'] in sizes:
            masks[annotation['image_id']].append((number, annotation['segmentation']))
    yield from _mask_problems('annotation', masks, sizes)


def result_problems(
    results: Any,
    images: Sequence[Mapping[str, Any]] | None = None,
    categories: Sequence[Mapping[str, Any]] | None = None,
    needs: Collection[str] = (),
) -> Iterator[Problem]:
    """What is wrong with results, in their order, masks last.

    Results have the `image_id` and the `category_id` of an image and a category, a `score` from 0 to 1, and, as far as
    given, `bbox` (x, y, width, height) and `segmentation` (RLE of the image's size). Other fields do no harm.

    Args:
        results: What JSON can hold; masks may also have bytes as counts.
        images: Those of an annotation file without problems; None takes results of any image, whose masks must then be
            of one size.
        categories: As `images`; None takes any.
        needs: Which of 'bbox' and 'segmentation' every result must have.
    """
    if not isinstance(results, (list, tuple)):
        yield Problem('', 'is not a list of results', 'give a file made by tools/test.py or tools/infer.py')
        return
    sizes = {} if images is None else image_sizes(images)
    known_images = _ANY_ID if images is None else sizes
    known_categories = _ANY_ID if categories is None else {category['id'] for category in categories}
    masks = defaultdict(list)
    for index, result in enumerate(results):
        broken = _instance_problem(result, known_images, known_categories, needs)
        if broken is None:
            score = result.get('score')
            if type(score) not in _NUMBERS or not 0 <= score <= 1:
                broken = f'has the score {show(score)}', 'give a score from 0 to 1'
            elif 'segmentation' in result:
                broken = _result_mask_problem(result['segmentation'])
        if broken is not None:
            yield Problem(f'result {index}', *broken)
        elif 'segmentation' in result:
            masks[result['image_id']].append((index, result['segmentation']))
            if images is None:
                sizes.setdefault(result['image_id'], tuple(result['segmentation']['size']))
    yield from _mask_problems('result', masks, sizes)


def read_results(
    path: str | Path,
    images: Sequence[Mapping[str, Any]] | None = None,
    categories: Sequence[Mapping[str, Any]] | None = None,
    needs: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Read a results file; arguments as :func:`result_problems`.

    Raises:
        InputError: If it cannot be read, or at the first of :func:`result_problems`.
    """
    results = read_json(path)
    raise_first(path, result_problems(results, images, categories, needs))
    return results


def image_sizes(images: Iterable[Mapping[str, Any]]) -> dict[int, tuple[int, int]]:
    """(height, width) by image id."""
    return {image['id']: (image['height'], image['width']) for image in images}


def category_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the categories in the order of their ids."""
    return tuple(item['name'] for item in sorted(document['categories'], key=lambda item: item['id']))


def _index(entries: Any, key: str, kind: str, found: dict[int, dict[str, Any]]) -> Iterator[Problem]:
    """Put entries into `found` by id; yields why one cannot be."""
    if not isinstance(entries, list):
        yield Problem(key, f'is not a list but {show(entries)}', 'give a list, or convert the data again')
        return
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            yield Problem(
                f'{key}[{index}]', f'is not an object but {show(entry)}', 'remove it, or convert the data again'
            )
        elif not _is_id(number := entry.get('id')):
            yield Problem(f'{key}[{index}]', f'has the id {show(number)}', f'give each {kind} a whole number from 0')
        elif number in found:
            yield Problem(f'{key}[{index}]', f'has the id {number} of another {kind}', f'give each {kind} its own id')
        else:
            found[number] = entry


def _mpp_problems(where: str, owner: Mapping[str, Any]) -> Iterator[Problem]:
    mpp = owner.get('mpp')
    if mpp is not None and not (type(mpp) in _NUMBERS and 0.01 <= mpp <= 10):
        yield Problem(where, f'has the mpp {show(mpp)}', 'give microns per pixel, from 0.01 to 10')


def _image_problems(
    images: Mapping[int, dict[str, Any]], sizes: dict[int, tuple[int, int]], training: bool
) -> Iterator[Problem]:
    """Notes the sizes of those that have one."""
    names = set()
    for number, image in images.items():
        height, width = image.get('height'), image.get('width')
        if type(height) is type(width) is int and min(height, width) > 0 and height * width <= MAX_MASK_PIXELS:
            sizes[number] = height, width
        else:
            problem = f'has the height {show(height)} and the width {show(width)}'
            yield Problem(f'image {number}', problem, 'give the size in pixels as whole numbers')
        yield from _mpp_problems(f'image {number}', image)
        try:
            name = relative_name(image.get('file_name'))
        except ValueError as error:
            yield Problem(f'image {number}', f'has a bad file_name: {error}', 'give paths that stay in the folder')
            continue
        if training and name in names:
            problem = f'has the file_name {show(image["file_name"])} of another image'
            yield Problem(f'image {number}', problem, 'keep one entry per image')
        names.add(name)


def _category_problems(categories: Mapping[int, dict[str, Any]]) -> Iterator[Problem]:
    names = set()
    for number, category in categories.items():
        name = category.get('name')
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            yield Problem(f'category {number}', f'has the name {show(name)}', 'give it a name that can be printed')
        elif name in names:
            yield Problem(f'category {number}', f'has the name {show(name)} of another', 'give each its own name')
        else:
            names.add(name)


def _instance_problem(
    instance: Any, images: Container[int], categories: Container[int], needs: Collection[str]
) -> tuple[str, str] | None:
    """What is wrong with an annotation or a result, its mask apart, and the cure."""
    # A file may hold a million of them: this is written to be fast.
    if not isinstance(instance, dict):
        return f'is not an object but {show(instance)}', 'remove it, or predict again'
    number = instance.get('image_id')
    if type(number) is not int or number not in images:
        return f'has the unknown image_id {show(number)}', 'add that image, or give results and json of one data set'
    number = instance.get('category_id')
    if type(number) is not int or number not in categories:
        cure = 'add that category, or give results and json of one data set'
        return f'has the unknown category_id {show(number)}', cure
    crowd = instance.get('iscrowd', 0)
    if type(crowd) is not int or crowd not in (0, 1):
        return f'has the iscrowd {show(crowd)}', 'give 0 or 1'
    area = instance.get('area', 0)
    if type(area) not in _NUMBERS or not 0 <= area <= MAX_ID:  # NaN is refused, too
        return f'has the area {show(area)}', 'give the number of its pixels'
    if 'bbox' in instance and not _is_box(instance['bbox']):
        return f'has the bbox {show(instance["bbox"])}', 'give [x, y, width, height] in pixels'
    for field in needs:
        if field not in instance or instance[field] == []:
            return f'has no {field}', f'give each its {field}, or convert or predict again'
    return None


def _is_id(number: Any) -> TypeGuard[int]:
    return type(number) is int and number in _ANY_ID


def _is_box(box: Any) -> bool:
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not _NUMBERS.issuperset(map(type, box)):
        return False
    x, y, width, height = box
    most = _MAX_COORDINATE
    # Written so that NaN is refused, too.
    return -most <= x <= most and -most <= y <= most and 0 <= width <= most and 0 <= height <= most


def _box_problem(box: Sequence[float], size: tuple[int, int] | None) -> tuple[str, str] | None:
    x, y, width, height = box
    if width == 0 or height == 0:
        return f'has the bbox {show(box)}, which has no area', 'remove it, or convert the data again'
    if size is not None and (
        min(x, y) < -_TOLERANCE or x + width > size[1] + _TOLERANCE or y + height > size[0] + _TOLERANCE
    ):
        problem = f'has the bbox {show(box)}, which leaves its image of {size[1]} x {size[0]}'
        return problem, 'check the size of the image, or convert the data again'
    return None


def _result_mask_problem(mask: Any) -> tuple[str, str] | None:
    """Whether a result's mask is RLE of a size that can be; the rest is seen by :func:`_mask_problems`."""
    cure = 'give RLE, as tools/test.py writes it'
    if isinstance(mask, list):
        return 'has polygons for a mask', cure
    if not isinstance(mask, dict):
        return f'has the mask {show(mask)}, which is neither polygons nor RLE', cure
    size = mask.get('size')
    if isinstance(size, list) and [*map(type, size)] == [int, int] and min(size) > 0:
        if size[0] * size[1] <= MAX_MASK_PIXELS:
            return None
    return f'has a mask of size {show(size)}', cure


def _mask_problems(
    kind: str, masks: Mapping[int, Sequence[tuple[int, Any]]], sizes: Mapping[int, tuple[int, int]]
) -> Iterator[Problem]:
    """Args: masks: By image, the number of the annotation or result, and its mask."""
    for image_id, group in masks.items():
        for index, reason in find_broken([mask for _, mask in group], sizes[image_id]):
            problem = f'has a broken mask of image {image_id} ({reason})'
            yield Problem(f'{kind} {group[index][0]}', problem, 'write the masks again')
