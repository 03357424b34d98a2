"""A table of cells as a label map of the whole slide: a pyramid, written band by band."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely
import tifffile
from numpy.typing import NDArray

from mmcell.io.files import atomic_path
from mmcell.report.parquet import read_rows
from mmcell.structures.fill import fill_shapes

# Pixels along the side of a tile.
_TILE = 512


def table_to_labels(table: str | Path, out: str | Path, size: tuple[int, int], mpp: float | None) -> Path:
    """Write the ids of cells as a tiled BigTIFF (OME-TIFF) of uint32, with levels down to one tile; 0 is background.

    A pixel of any level has the id of the cell in whose outline its center lies. Memory grows with the width of the
    slide only.

    Args:
        table: From :class:`mmcell.report.parquet.CellTable`, of one image.
        out: The file.
        size: Height and width of the slide.
        mpp: Its microns per pixel, if known.

    Returns:
        Its path.

    Raises:
        InputError: If the table is none, or the file cannot be written.
    """
    factors = [1]
    while max(size) > _TILE * factors[-1]:
        factors.append(2 * factors[-1])
    known = {} if mpp is None else dict(PhysicalSizeX=mpp, PhysicalSizeXUnit='µm', PhysicalSizeY=mpp)
    with atomic_path(out) as temporary, tifffile.TiffWriter(temporary, bigtiff=True, ome=True) as file:
        for factor in factors:
            shape = -(-size[0] // factor), -(-size[1] // factor)
            file.write(
                _tiles(table, shape, factor),
                shape=shape,
                dtype=np.uint32,
                tile=(_TILE, _TILE),
                compression='zlib',
                photometric='minisblack',
                **(dict(subfiletype=1) if factor > 1 else dict(subifds=len(factors) - 1, metadata=known)),
            )
    return Path(out)


def _tiles(table: str | Path, shape: tuple[int, int], factor: int) -> Iterator[NDArray[np.uint32]]:
    """Tiles of a level, row by row, those at its ends padded; `factor` pixels of the slide lie along one of its own."""
    width = -(-shape[1] // _TILE) * _TILE
    for top in range(0, shape[0], _TILE):
        band = np.zeros(width * _TILE, np.uint32)  # column by column, as runs are
        for rows in read_rows(table, ['id', 'outline'], top * factor, (top + _TILE) * factor):
            shapes = shapely.from_wkb(rows['outline'].to_numpy(zero_copy_only=False))
            shapes = shapely.transform(shapes, lambda points, top=top: points / factor - (0, top))
            masks = fill_shapes(shapes, (_TILE, width))
            band[masks.pixels] = np.repeat(rows['id'].to_numpy().astype(np.uint32), masks.areas)
        for tile in np.split(band.reshape(width, _TILE).T, width // _TILE, axis=1):
            yield np.ascontiguousarray(tile)
