"""Where to cut an image into tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def tile_windows(size: tuple[int, int], tile: int, overlap: int) -> NDArray[np.int64]:
    """Cover an image with as few equal, overlapping tiles as do, spread evenly.

    Neighbours share at least `overlap` pixels, so whatever is no larger than that lies whole in one of them.

    Args:
        size: Height and width of the image in pixels.
        tile: Side of a tile; a shorter image is covered by tiles of its own height or width.
        overlap: Least number of pixels that neighbours share, less than `tile`.

    Returns:
        x1, y1, x2, y2 in pixels, (T, 4), row by row.

    Raises:
        ValueError: If `overlap` is negative or not less than `tile`.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f'overlap must be at least 0 and less than the tile of {tile} pixels, not {overlap}')
    height, width = size
    tops, lefts = _starts(height, tile, overlap), _starts(width, tile, overlap)
    tile_height, tile_width = min(tile, height), min(tile, width)
    return np.array([(x, y, x + tile_width, y + tile_height) for y in tops for x in lefts], dtype=np.int64)


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    gaps = -(-max(side - tile, 0) // (tile - overlap))
    # Steps rounded down to pixels are no longer than the exact step rounded up, which still fits.
    return [i * (side - tile) // gaps for i in range(gaps)] + [max(side - tile, 0)]
