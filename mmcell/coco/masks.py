"""Masks of COCO json, of whatever kind, as RLE; what could crash pycocotools does not reach it."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mmcell.io.limits import MAX_OUTLINE
from mmcell.structures.rle import RLE


def to_rle(segmentation: Any, size: tuple[int, int]) -> RLE:
    """A list of polygons, filled and joined by pycocotools, or RLE, compressed or not, as RLE.

    Counts are left as they are: :func:`mmcell.structures.rle.decode` checks them.

    Args:
        segmentation: From an outside file.
        size: Height and width of the image in pixels.

    Raises:
        ValueError: If it is none of these, or has another size.
    """
    if isinstance(segmentation, list) and segmentation:
        for polygon in segmentation:
            _check_polygon(polygon)
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    if not isinstance(segmentation, dict):
        raise ValueError('neither polygons nor RLE')
    if segmentation.get('size') != list(size):
        raise ValueError(f'the size is {segmentation.get("size")!r:.40}, not {list(size)}')
    counts = segmentation.get('counts')
    if not isinstance(counts, (str, bytes, list)):
        raise ValueError('it has no counts')
    return RLE(size=list(size), counts=counts)


def _check_polygon(polygon: Any) -> None:
    """Refuse what pycocotools would crash on, or take for a box."""
    try:
        points = np.array(polygon)
    except (ValueError, OverflowError):  # Lists of several lengths; deeper ones than arrays can be.
        points = np.array(None)
    if points.ndim != 1 or points.dtype.kind not in 'iuf' or len(points) < 6 or len(points) % 2:
        raise ValueError('a polygon is not a list of three or more pairs of numbers')
    points = points.astype(np.float64).reshape(-1, 2)
    # Subtraction of infinities gives NaN, refused below.
    with np.errstate(invalid='ignore', over='ignore'):
        steps = np.abs(points - np.roll(points, 1, axis=0)).sum()
    # Written so that NaN is refused, too.
    if not (np.abs(points).max() <= MAX_OUTLINE and steps <= MAX_OUTLINE):
        raise ValueError('a polygon leaves all bounds')
