"""Colors of the classes, in their one home."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

#: RGB of the first labels. Chosen to stay apart from one another and from the pinks and purples of hematoxylin and
#: eosin for the color-blind too: among the first four, no two are nearer than 29 in CIE Lab under normal vision or
#: under protanopia, deuteranopia or tritanopia as Machado et al. (2009) simulate them.
_FIRST = ((0, 95, 55), (255, 240, 0), (0, 215, 255), (255, 111, 0), (0, 0, 0), (255, 255, 255))
#: Eosin and hematoxylin: no class is to look like the tissue.
_TISSUE = ((230, 160, 200), (105, 70, 150))
#: There are so many colors; then they start over.
MAX_COLOURS = 4096


def class_colour(label: int) -> tuple[int, int, int]:
    """RGB of a class, 0 to 255; no two of :data:`MAX_COLOURS` classes have the same.

    Behind those chosen by hand comes, one by one, the color that is farthest from all before it in CIE Lab.
    """
    label %= MAX_COLOURS
    return _colours(1 << max(label, 31).bit_length())[label]


def class_colours(count: int) -> list[tuple[int, int, int]]:
    """RGB of so many classes."""
    return [class_colour(label) for label in range(count)]


@cache
def _colours(count: int) -> tuple[tuple[int, int, int], ...]:
    # 16 levels a channel: neighbors are as near as one can still tell apart.
    grid = np.stack(np.meshgrid(*3 * [np.arange(0, 256, 17)], indexing='ij'), axis=-1).reshape(-1, 3)
    lab = _to_lab(grid)
    nearest = np.full(len(grid), np.inf)
    for taken in _to_lab(np.array([*_FIRST, *_TISSUE])):
        nearest = np.minimum(nearest, ((lab - taken) ** 2).sum(axis=1))
    chosen = list(_FIRST)
    while len(chosen) < count:
        best = int(nearest.argmax())
        chosen.append(tuple(grid[best].tolist()))
        nearest = np.minimum(nearest, ((lab - lab[best]) ** 2).sum(axis=1))
    return tuple(chosen)


def _to_lab(colours: np.ndarray) -> np.ndarray:
    return cv2.cvtColor((colours[None] / 255).astype(np.float32), cv2.COLOR_RGB2Lab)[0]


def halo_colour(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """RGB of the thin border that sets a line of `colour` off from any background: black or white."""
    red, green, blue = colour
    # Rec. 601 luma.
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)
