"""Everything but the cells: stroma, glands, and what a detector must learn to leave alone."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from mmcell.synthetic.fields import fibres, ramp, smooth_noise
from mmcell.synthetic.frame import local_grid, window_around
from mmcell.synthetic.glass import Glass
from mmcell.synthetic.layout import EPITHELIAL, Cell, Glands


def paint_stroma(rng: np.random.Generator, slide: Glass) -> np.ndarray:
    """Paint pink collagen in wavy bundles, with pale clefts between them.

    Returns:
        np.ndarray: Direction of the fibres in radians, float32 of shape (H, W).
    """
    direction = rng.uniform(0, np.pi) + 0.8 * smooth_noise(rng, slide.size, 45.0)
    bundles = fibres(rng, direction, 3.0, 24)
    strands = fibres(rng, direction, 0.9, 14)
    uneven = smooth_noise(rng, slide.size, 50.0)
    level = rng.uniform(0.10, 0.15)
    slide.eosin += level + 0.022 * bundles + 0.014 * strands + 0.02 * uneven + 0.014 * slide.grain
    slide.hematoxylin += 0.035 + 0.008 * strands - 0.01 * uneven + 0.008 * slide.clumps
    slide.cover(0.8 * ramp(-1.6 - bundles - 0.5 * uneven, 0.9), 0, 0)
    return direction


def paint_glands(slide: Glass, glands: Glands, cells: list[Cell]) -> None:
    """Paint violet cytoplasm with faint borders between its cells, a basement membrane, and the white lumen."""
    apical = ramp(glands.lumen + 10, 16.0)
    granular = 0.02 * slide.foam + 0.012 * slide.grain
    slide.cover(
        ramp(glands.depth, 3.0),
        0.13 - 0.06 * apical + granular,
        0.13 - 0.05 * apical + granular + 0.10 * _cell_borders(slide.size, cells),
    )
    slide.eosin += 0.08 * np.exp(-np.square(glands.depth / 1.6)) + 0.06 * np.exp(-np.square((glands.lumen + 2) / 1.8))
    slide.cover(0.93 * ramp(glands.lumen + 1.5 * slide.foam, 4.0), 0, 0)


def paint_distractors(
    rng: np.random.Generator, slide: Glass, glands: Glands, cells: list[Cell], direction: np.ndarray
) -> None:
    """Paint red blood cells and thin fibrocyte nuclei in the free stroma; neither is labeled.

    Args:
        rng: Source of randomness.
        slide: The slide to paint on.
        glands: The glands, which stay free of them.
        cells: The cells, whose pixels stay free of them.
        direction: Direction of the fibres in radians, float32 of shape (H, W).
    """
    free = glands.depth < -6
    for cell in cells:
        free[cell.window] &= ~cell.mask
    height, width = slide.size
    for _ in range(rng.poisson(height * width / 9000)):
        y, x = rng.uniform(0, slide.size)
        _paint_fibrocyte(rng, slide, free, y, x, direction[int(y), int(x)])
    for _ in range(rng.poisson(height * width / 45000)):
        y, x = rng.uniform(0, slide.size)
        heading = direction[int(y), int(x)]
        for _ in range(rng.integers(2, 6)):
            radius = rng.uniform(3.5, 4.6)
            _paint_red_blood_cell(slide, free, y, x, radius)
            heading += rng.normal(0, 0.5)
            y, x = y + 2.2 * radius * np.sin(heading), x + 2.2 * radius * np.cos(heading)


def _paint_fibrocyte(
    rng: np.random.Generator, slide: Glass, free: np.ndarray, y: float, x: float, angle: float
) -> None:
    window = window_around(y, x, 14, slide.size)
    across, along = local_grid(window, y, x, angle)
    distance = np.hypot(across / rng.uniform(1.5, 2.4), along / rng.uniform(8, 13))
    hematoxylin = rng.uniform(0.25, 0.45) + 0.06 * slide.clumps[window]
    # Whole or not at all: a tip that looks out from under a cell would seem to be part of it.
    if free[window][distance < 1.2].all():
        slide.cover(ramp(1 - distance, 0.5), hematoxylin, 0.17, window)


def _paint_red_blood_cell(slide: Glass, free: np.ndarray, y: float, x: float, radius: float) -> None:
    window = window_around(y, x, 7, slide.size)
    distance = np.hypot(*local_grid(window, y, x, 0.0)) / radius
    if free[window][distance < 1.2].all():
        # Biconcave: paler in the middle.
        slide.cover(ramp(1 - distance, 0.3), 0.02, 0.24 + 0.12 * distance, window)


def _cell_borders(size: tuple[int, int], cells: list[Cell]) -> np.ndarray:
    """1 where two epithelial cells meet, halfway between their nuclei, falling to 0 within two pixels."""
    owner = np.zeros(size, np.int32)
    for index, cell in enumerate(cells, 1):
        if cell.kind == EPITHELIAL:
            owner[cell.window][cell.mask] = index
    if len(np.unique(owner[owner > 0])) < 2:
        return np.zeros(size, np.float32)
    rows, columns = distance_transform_edt(owner == 0, return_distances=False, return_indices=True)
    nearest = owner[rows, columns]
    edge = np.zeros(size, bool)
    edge[1:] |= nearest[1:] != nearest[:-1]
    edge[:, 1:] |= nearest[:, 1:] != nearest[:, :-1]
    return np.exp(-np.square(distance_transform_edt(~edge) / 1.2)).astype(np.float32)
