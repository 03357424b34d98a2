"""Masks that may overlap -> one label map, as the nuclei literature's metrics need it: no pixel has two cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmcell.structures.rle import RLE, decode


def to_label_map(
    rles: Sequence[RLE], size: tuple[int, int], scores: ArrayLike | None = None, min_visible: float = 0.5
) -> NDArray[np.int32]:
    """Give every pixel to the highest-scoring mask that covers it.

    Masks are placed by falling score, equal scores in the given order. Each takes what the ones before it left free of
    its pixels. A mask that would get less than `min_visible` of its own area is a second detection of the same cell:
    it is left out, and its pixels stay free for those after it. So a mask never depends on lower-scoring ones, and the
    label map above a score threshold is this one without the masks below it.

    Args:
        rles: N masks of one image.
        size: Height and width of the image in pixels.
        scores: N scores; all equal unless given.
        min_visible: Share of its area that a mask needs, 0 to 1; a mask without any free pixel is always left out.

    Returns:
        int32 array of shape (H, W): i + 1 where mask i is, 0 for background.

    Raises:
        ValueError: If a mask is malformed or of another size.
    """
    runs = decode(rles, size)
    areas = runs.areas
    columns = np.zeros(size[::-1], dtype=np.int32)  # RLE counts column by column
    flat = columns.reshape(-1)
    order = np.arange(len(runs)) if scores is None else np.argsort(-np.asarray(scores, dtype=float), kind='stable')
    for i in order:
        # One at a time, since a bad model's masks are many and large.
        pixels = runs.select(np.array([i])).pixels
        free = pixels[flat[pixels] == 0]
        if len(free) >= max(1, min_visible * areas[i]):
            flat[free] = i + 1
    return columns.T


def to_mask(rles: Sequence[RLE], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Union of masks.

    Returns:
        bool array of shape (H, W).
    """
    runs = decode(rles, size)
    columns = np.zeros(size[::-1], dtype=bool)
    for i in range(len(runs)):
        columns.reshape(-1)[runs.select(np.array([i])).pixels] = True
    return columns.T
