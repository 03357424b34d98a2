"""Images of cells for the transforms' tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from mmcell.structures.label_map_masks import LabelMapMasks

BACKGROUND = 20


def colour(values: np.ndarray) -> np.ndarray:
    """The brightness of a cell by its value in the planes, so that the image tells where it ought to be."""
    return np.where(values > 0, 60 + values * 37 % 190, BACKGROUND).astype(np.uint8)


def make_scene(seed: int, height: int = 70, width: int = 90, count: int = 14) -> dict[str, Any]:
    """An image of overlapping cells in up to three planes, each plane painted into a color channel of its own.

    Every other cell was taken out by indexing, so that planes hold values that stand for no cell any more.
    """
    rng = np.random.default_rng(seed)
    bitmaps = np.zeros((2 * count, height, width), np.uint8)
    for bitmap in bitmaps:
        center, axes = rng.integers(0, [width, height]), rng.integers(2, 11, 2)
        cv2.ellipse(bitmap, center.tolist(), axes.tolist(), int(rng.integers(180)), 0, 360, 1, -1)
    masks = LabelMapMasks.from_bitmaps(bitmaps, height, width)
    masks = masks[masks.plane_of < 3]
    masks = masks[rng.permutation(len(masks))[: len(masks) // 2]]
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    for channel, plane in enumerate(masks.planes[:3]):
        image[..., channel] = colour(plane)
    return {
        'img': image,
        'img_shape': (height, width),
        'ori_shape': (height, width),
        'gt_masks': masks,
        'gt_bboxes': masks.get_bboxes(),
        'gt_bboxes_labels': rng.choice([0, 0, 0, 1, 1, 2], len(masks)),
        'gt_ignore_flags': rng.random(len(masks)) < 0.1,
    }


@pytest.fixture
def scene() -> Callable[..., dict[str, Any]]:
    return make_scene


@pytest.fixture
def check_cells() -> Callable[..., None]:
    """Check that all that is said of cells fits together, and fits the image away from the cells' edges."""

    def check(results: dict[str, Any], edge: int | None = 1) -> None:
        masks = results['gt_masks']
        height, width = results['img'].shape[:2]
        assert results['img_shape'] == (height, width) == (masks.height, masks.width)
        assert results['img'].dtype == np.uint8
        assert len(masks) == len(results['gt_bboxes']) == len(results['gt_bboxes_labels'])
        assert len(masks) == len(results['gt_ignore_flags'])
        for bitmap, box, plane, value in zip(masks, results['gt_bboxes'].tensor, masks.plane_of, masks.value_of):
            rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
            assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            if edge is not None:
                inside = cv2.erode(bitmap, np.ones((2 * edge + 1,) * 2), borderValue=0) > 0
                assert (results['img'][inside, plane] == colour(value)).all()

    return check
