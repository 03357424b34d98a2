"""Masks of COCO json, of whatever kind, as RLE; what could crash pycocotools does not reach it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mmcell.errors import show
from mmcell.io.limits import MAX_OUTLINE
from mmcell.structures.rle import RLE, decode


def to_rle(segmentation: Any, size: tuple[int, int]) -> RLE:
    """A list of polygons, filled and joined by pycocotools, or RLE, compressed or not, as RLE.

    Counts are left as they are: :func:`mmcell.structures.rle.decode` checks them.

    Args:
        segmentation: From an outside file.
        size: Height and width of the image in pixels.

    Raises:
        ValueError: If it is none of these, or has another size.
    """
    _check_form(segmentation, size)
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    return RLE(size=list(size), counts=segmentation['counts'])


def find_broken(segmentations: Sequence[Any], size: tuple[int, int]) -> Iterator[tuple[int, str]]:
    """Index and fault of each mask of an image that is broken; polygons are not filled to find out.

    Args:
        segmentations: From an outside file.
        size: Height and width of the image in pixels.
    """
    try:
        _check(segmentations, size)
    except ValueError:
        for index, segmentation in enumerate(segmentations):
            try:
                _check([segmentation], size)
            except ValueError as error:
                yield index, str(error).replace('mask 0 has', 'it has')


def _check(segmentations: Sequence[Any], size: tuple[int, int]) -> None:
    for segmentation in segmentations:
        _check_form(segmentation, size)
    decode([segmentation for segmentation in segmentations if isinstance(segmentation, dict)], size)


def _check_form(segmentation: Any, size: tuple[int, int]) -> None:
    """All but the counts."""
    if isinstance(segmentation, dict):
        given = segmentation.get('size')
        # 40.0 and True are equal to whole numbers, but not of their type.
        if given != [*size] or not type(given[0]) is type(given[1]) is int:
            raise ValueError(f'the size is {show(given)}, not {list(size)}')
        if not isinstance(segmentation.get('counts'), (str, bytes, list)):
            raise ValueError('it has no counts')
    elif isinstance(segmentation, list) and segmentation:
        for polygon in segmentation:
            _check_polygon(polygon)
    else:
        raise ValueError('neither polygons nor RLE')


def _check_polygon(polygon: Any) -> None:
    """Refuse what pycocotools would crash on, or take for a box."""
    try:
        points = np.array(polygon)
    except (ValueError, OverflowError, RecursionError):  # Lists of several lengths; deeper ones than arrays can be.
        points = np.array(None)
    if points.ndim != 1 or points.dtype.kind not in 'iuf' or len(points) < 6 or len(points) % 2:
        raise ValueError('a polygon is not a list of three or more pairs of numbers')
    points = points.astype(np.float64).reshape(-1, 2)
    # Subtraction of infinities gives NaN, refused below.
    with np.errstate(invalid='ignore', over='ignore'):
        steps = np.abs(points - np.roll(points, 1, axis=0)).sum()
    # Written so that NaN is refused, too.
    if not (np.abs(points).max() <= MAX_OUTLINE and steps <= MAX_OUTLINE):
        raise ValueError('a polygon has coordinates out of range')
