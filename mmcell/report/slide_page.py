"""A page that shows the cells of a slide: those in view are loaded, from files beside it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from mmcell.io.files import remove_leftovers, replace_folder, write_bytes
from mmcell.report.parquet import read_classes, read_groups
from mmcell.report.rendering import data_uri, describe_class, render
from mmcell.report.slide_density import count_squares, draw_density

#: Pixels along the longer edge of the picture of the whole.
PICTURE_EDGE = 2048

# Pixels along the side of the square whose cells are one file.
_CHUNK = 2048
# Bytes of that picture, encoded.
_PICTURE_BYTES = 1_500_000
# Outlines are thinned to the points that matter by more than so many pixels.
_TOLERANCE = 0.75


def write_slide_page(
    table: str | Path, out: str | Path, picture: NDArray[np.uint8], size: tuple[int, int], mpp: float | None, title: str
) -> list[Path]:
    """Write `out/cells.html`, the folder `cells_files` that it loads cells from, and `density.png`.

    Seen from afar, the page shows the density of cells; from nearby, their outlines, of 2048 x 2048 pixels a file. It
    opens from a disk as from a server, and fetches nothing from elsewhere.

    Args:
        table: From :class:`mmcell.report.parquet.CellTable`, of one image.
        out: The folder.
        picture: The whole slide, (h, w, 3) RGB.
        size: Height and width of the slide.
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
        replace_folder(out / 'cells_files', files)
    page = render(
        'slide.html.j2',
        title=title,
        classes=[describe_class(label, name) for label, name in enumerate(classes)],
        totals=counts.sum(axis=(1, 2)).tolist(),
        mpp=mpp,
        picture=data_uri(picture, _PICTURE_BYTES),
        size={'width': size[1], 'height': size[0]},
        squares={'side': side, 'width': counts.shape[2], 'counts': counts.reshape(len(classes), -1).tolist()},
        chunks={'side': _CHUNK, 'names': sorted(chunks)},
    )
    write_bytes(out / 'cells.html', page)
    return [out / 'cells.html', out / 'density.png']


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
    parts, owners = shapely.get_parts(outlines, return_index=True)
    rings, places = shapely.get_rings(parts, return_index=True)
    owners = owners[places]
    points, places = shapely.get_coordinates(rings, return_index=True)
    ends = np.searchsorted(places, np.arange(1, len(rings)))
    paths = [''] * len(outlines)
    for owner, ring in zip(owners.tolist(), np.split(np.rint(2 * points).astype(int), ends)):
        steps = ' '.join(f'{dx} {dy}' for dx, dy in np.diff(ring[:-1], axis=0).tolist())
        paths[owner] += f'M{ring[0, 0]} {ring[0, 1]}l{steps}z'
    return paths
