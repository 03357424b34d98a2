"""Small windows of a picture, and coordinates within them."""

from __future__ import annotations

import numpy as np

Window = tuple[slice, slice]


def window_around(y: float, x: float, reach: int, size: tuple[int, int]) -> Window:
    """Rows and columns within `reach` pixels of a point, cut at the picture's border; empty if it is far outside."""
    rows, columns = (
        slice(*np.clip((int(centre) - reach, int(centre) + reach + 1), 0, side).tolist())
        for centre, side in zip((y, x), size)
    )
    return rows, columns


def local_grid(window: Window, y: float, x: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (y, x) of the window's pixels about a point, x along the direction `angle` (radians)."""
    rows, columns = np.mgrid[window]
    rows, columns = rows - y, columns - x
    return rows * np.cos(angle) - columns * np.sin(angle), columns * np.cos(angle) + rows * np.sin(angle)
