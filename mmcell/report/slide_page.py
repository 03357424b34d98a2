"""A page that shows the cells of a slide: those in view are loaded, from files beside it."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from mmcell.io.files import remove_leftovers, replace_folder, write_bytes
from mmcell.io.slide import Slide, shrink
from mmcell.report.parquet import read_classes, read_groups
from mmcell.report.rendering import describe_class, render
from mmcell.report.slide_density import count_squares, draw_density
from mmcell.structures.outlines import split_rings

# Pixels along the longer edge of the slide in `density.png`.
_PICTURE_EDGE = 2048
# Pixels along the side of a tile of the slide, and of all tiles of its finest level: some 100 MB.
_TILE, _MOST_PIXELS = 1024, 2**29
_QUALITY = 85  # of JPEG, where 100 is the best
# Pixels along the side of the square whose cells are one file.
_CHUNK = 2048
# Outlines are thinned to the points that matter by more than so many pixels.
_TOLERANCE = 0.75


def write_slide_page(
    table: str | Path, out: str | Path, slide: Slide | None, size: tuple[int, int], mpp: float | None, title: str
) -> list[Path]:
    """Write `out/cells.html`, the folder `cells_files` that it loads cells and pixels from, and `density.png`.

    Seen from afar, the page shows the density of cells; from nearby, their outlines, in files of 2048 x 2048 pixels.
    The slide lies below, in JPEG tiles of several levels; where it has more than 2^29 pixels, the finest of them is a
    half, a quarter, … of its resolution. The page opens from a disk as from a server, and fetches nothing from
    elsewhere.

    Args:
        table: From :class:`mmcell.report.parquet.CellTable`, of one image.
        out: The folder.
        slide: The slide; without, the page shows cells alone.
        size: Its height and width.
        mpp: Microns per pixel of the slide, if known.
        title: Heading of the page.

    Returns:
        The page and the picture.

    Raises:
        InputError: If the table is none, or something cannot be written.
    """
    out, classes = Path(out), read_classes(table)
    counts, side = count_squares(table, classes, size)
    out.mkdir(parents=True, exist_ok=True)
    picture = np.full((1, 1, 3), 255, np.uint8) if slide is None else slide.overview(_PICTURE_EDGE)[0]
    draw_density(out / 'density.png', picture, size, classes, counts, side, mpp)
    remove_leftovers(out, '.cells_files.tmp')
    prefix = f'.cells_files.tmp{os.getpid()}.'
    with tempfile.TemporaryDirectory(prefix=prefix, dir=out, ignore_cleanup_errors=True) as scratch:
        files = Path(scratch) / 'cells_files'
        files.mkdir()
        chunks = set()
        for name, cells in _chunks(table, {name: label for label, name in enumerate(classes)}):
            # Cells of several groups of rows may lie in one square. A script, as pages from a disk load no data.
            with (files / f'{name}.js').open('a') as file:
                file.write(f'addCells("{name}",{json.dumps(cells, separators=(",", ":"))});\n')
            chunks.add(name)
        tiles = None if slide is None else _write_tiles(slide, files)
        replace_folder(out / 'cells_files', files)
    page = render(
        'slide.html.j2',
        title=title,
        classes=[describe_class(label, name) for label, name in enumerate(classes)],
        totals=counts.sum(axis=(1, 2)).tolist(),
        mpp=mpp,
        tiles=tiles,
        size={'width': size[1], 'height': size[0]},
        squares={'side': side, 'width': counts.shape[2], 'counts': counts.reshape(len(classes), -1).tolist()},
        chunks={'side': _CHUNK, 'names': sorted(chunks)},
    )
    write_bytes(out / 'cells.html', page)
    return [out / 'cells.html', out / 'density.png']


def _write_tiles(slide: Slide, folder: Path) -> dict[str, int]:
    """Write the slide as `<level>_<column>_<row>.jpg`, each level half as large as the one before, down to one tile.

    Returns:
        The side of a tile, pixels of the slide along a side of a pixel of level 0, and the number of levels.
    """
    factor = 1
    while slide.size[0] * slide.size[1] > _MOST_PIXELS * factor**2:
        factor *= 2
    height, width = (-(-length // factor) for length in slide.size)
    levels = max(0, math.ceil(math.log2(max(height, width) / _TILE))) + 1

    def write(level: int, column: int, row: int) -> NDArray[np.uint8]:
        """Write a tile and all that it is made of; returns its pixels."""
        if level == 0:
            x, y = column * _TILE, row * _TILE
            pixels = slide.read_scaled(x, y, min(_TILE, width - x), min(_TILE, height - y), factor)
        else:
            side = _TILE << level - 1
            columns = [each for each in (2 * column, 2 * column + 1) if each * side < width]
            rows = [each for each in (2 * row, 2 * row + 1) if each * side < height]
            parts = [np.concatenate([write(level - 1, x, y) for x in columns], axis=1) for y in rows]
            pixels = shrink(np.concatenate(parts), 2)
        jpeg = cv2.imencode('.jpg', pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        (folder / f'{level}_{column}_{row}.jpg').write_bytes(jpeg.tobytes())
        return pixels

    write(levels - 1, 0, 0)
    return {'side': _TILE, 'factor': factor, 'levels': levels}


def _chunks(table: str | Path, labels: dict[str, int]) -> Iterator[tuple[str, list[list]]]:
    """Names of squares, `<column>_<row>`, and some of the cells in each.

    Of each cell its id, label, score, box as x, y, width, height, and its outline as SVG path in half pixels.
    """
    for group in read_groups(table, ['id', 'class', 'score', 'outline']):
        rows = group.to_pydict()
        outlines = shapely.from_wkb(rows['outline'])
        boxes = shapely.bounds(outlines)
        paths = _paths(shapely.simplify(outlines, _TOLERANCE))
        places = ((boxes[:, :2] + boxes[:, 2:]) / 2 // _CHUNK).astype(int)
        boxes[:, 2:] -= boxes[:, :2]
        squares: dict[str, list[list]] = {}
        values = zip(rows['id'], rows['class'], rows['score'], boxes.round().astype(int).tolist(), paths)
        for (column, row), (number, name, score, box, path) in zip(places.tolist(), values):
            squares.setdefault(f'{column}_{row}', []).append([number, labels[name], round(score, 3), *box, path])
        yield from squares.items()


def _paths(outlines: NDArray[np.object_]) -> list[str]:
    """SVG path of each polygon or multipolygon, in whole half pixels."""
    rings, parts, owners = split_rings(outlines)
    paths = [''] * len(outlines)
    for owner, points in zip(owners[parts].tolist(), rings):
        ring = np.rint(2 * points).astype(int)
        steps = ' '.join(f'{dx} {dy}' for dx, dy in np.diff(ring[:-1], axis=0).tolist())
        paths[owner] += f'M{ring[0, 0]} {ring[0, 1]}l{steps}z'
    return paths
