"""Where on a slide the cells are: how many of each class in the squares of a grid, and a picture of that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mmcell.io.files import atomic_path
from mmcell.report.parquet import read_groups

# Squares along the longer edge of a slide, the least side of one in pixels, and panels in a row.
_SQUARES, _SIDE, _PANELS = 96, 160, 3


def count_squares(table: str | Path, classes: Sequence[str], size: tuple[int, int]) -> tuple[NDArray[np.int64], int]:
    """Count cells by the squares that their centers lie in.

    Args:
        table: From :class:`mmcell.report.parquet.CellTable`, of one image.
        classes: Names of the classes.
        size: Height and width of the image.

    Returns:
        (K, ceil(H / side), ceil(W / side)) for K classes, and the side of a square in pixels.

    Raises:
        InputError: If the table is none.
    """
    side = max(-(-max(size) // _SQUARES), _SIDE)
    labels = {name: label for label, name in enumerate(classes)}
    counts = np.zeros((len(classes), *(-(-length // side) for length in size)), np.int64)
    for group in read_groups(table, ['class', 'centroid_x', 'centroid_y']):
        x, y = (group[f'centroid_{axis}'].to_numpy().astype(np.int64) // side for axis in 'xy')
        np.add.at(counts, ([labels[name] for name in group['class'].to_pylist()], y, x), 1)
    return counts, side


def draw_density(
    path: str | Path,
    picture: NDArray[np.uint8],
    size: tuple[int, int],
    classes: Sequence[str],
    counts: NDArray[np.int64],
    side: int,
    mpp: float | None,
) -> None:
    """Draw a slide, and over it the density of all cells and of each class, as PNG.

    Args:
        path: The file.
        picture: The whole slide, (h, w, 3) RGB.
        size: Height and width of the slide.
        classes: Names of the classes.
        counts: From :func:`count_squares`.
        side: Of a square, in pixels of the slide.
        mpp: Microns per pixel of the slide; without, densities are cells a square.

    Raises:
        InputError: If it cannot be written.
    """
    unit, area = ('cells per mm2', (side * mpp / 1000) ** 2) if mpp else (f'cells in {side} x {side} pixels', 1)
    panels = {'all cells': counts.sum(axis=0), **dict(zip(classes, counts))}
    columns = min(_PANELS, len(panels) + 1)
    rows = -(-(len(panels) + 1) // columns)
    figure = Figure((4.4 * columns, (3.4 * size[0] / size[1] + 0.6) * rows), dpi=100, layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for each in axes:
        each.set_axis_off()
    axes[0].imshow(picture)
    for each, (name, numbers) in zip(axes[1:], panels.items()):
        each.imshow(picture.mean(axis=2), 'gray', vmin=0, vmax=255, extent=(0, size[1], size[0], 0))
        # What of the last squares lies beyond the slide is cut off.
        extent = 0, numbers.shape[1] * side, numbers.shape[0] * side, 0
        shown = each.imshow(np.ma.masked_equal(numbers / area, 0), 'plasma', vmin=0, extent=extent, alpha=0.7)
        each.set(xlim=(0, size[1]), ylim=(size[0], 0))
        each.set_title(f'{name}: {numbers.sum():,}', fontsize=10)
        figure.colorbar(shown, ax=each, label=unit, fraction=0.046)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format='png')
