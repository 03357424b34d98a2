"""Cells in the formats of other tools: GeoJSON for QuPath, tables, label maps."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from mmcell.coco.results import Result, open_results
from mmcell.coco.threshold import DEFAULT_THRESHOLD
from mmcell.errors import InputError
from mmcell.io import tables
from mmcell.io.files import atomic_path, write_bytes
from mmcell.io.slide import Slide
from mmcell.report.h5ad import table_to_h5ad
from mmcell.report.image_set import ImageSet
from mmcell.report.measurements import in_microns, measure
from mmcell.report.parquet import CellTable, read_classes, read_groups
from mmcell.report.slide_geojson import table_to_geojson
from mmcell.report.slide_page import write_slide_page
from mmcell.structures.cells import Cells
from mmcell.visualization.palette import class_colours

#: Each image with its cells.
Found = Iterable[tuple[Mapping[str, Any], Cells]]


def export_results(
    results: str | Path | Sequence[Result],
    images_json: str | Path,
    out_dir: str | Path,
    target: str,
    score_thr: float = DEFAULT_THRESHOLD,
) -> list[Path]:
    """Write the cells of results, each once, in another format.

    Args:
        results: Result dicts, or a file of them.
        images_json: COCO json of the images.
        out_dir: Folder to write to.
        target: A key of :data:`TARGETS`.
        score_thr: Lowest score that is written.

    Returns:
        The paths written.

    Raises:
        InputError: If results and json do not fit, or a file cannot be written.
    """
    images = ImageSet.load(images_json)
    where, opened = open_results(results)
    return TARGETS[target](images, images.found(opened, score_thr, where), Path(out_dir))


def write_geojson(images: ImageSet, found: Found, out: Path) -> list[Path]:
    """One `<image>.geojson` an image, which QuPath (0.4 and newer) opens by dropping it on the image.

    See :meth:`mmcell.structures.cells.Cells.to_geojson`; `measurements` has score, probabilities and all that
    :func:`measure` gives.
    """
    colours, paths = class_colours(len(images.classes)), []
    for image, cells in found:
        mpp = images.mpp_of(image)
        measured = measure(cells.masks)
        measured |= {} if mpp is None else in_microns(measured, mpp)
        collection = cells.to_geojson(image['file_name'], colours, measured)
        paths.append(out / f'{images.names[image["id"]]}.geojson')
        # QuPath takes NaN for a number, but no other reader does; there is none.
        write_bytes(paths[-1], json.dumps(collection, separators=(',', ':'), allow_nan=False).encode())
    return paths


def write_csv(images: ImageSet, found: Found, out: Path) -> list[Path]:
    """One `cells.csv` for all images: a row a cell, with the columns of `cells.parquet` but the outline."""
    heading = ['image', *_columns(Cells.none(images.classes))]
    rows = (
        (image['file_name'], *row)
        for image, cells in found
        for row in zip(*(column.tolist() for column in _columns(cells, images.mpp_of(image)).values()))
    )
    tables.write_csv(out / 'cells.csv', chain([heading], rows))
    return [out / 'cells.csv']


def write_parquet(images: ImageSet, found: Found, out: Path) -> list[Path]:
    """One `cells.parquet` for all images, see :class:`mmcell.report.parquet.CellTable`."""
    with CellTable(out / 'cells.parquet', images.classes) as table:
        for image, cells in found:
            table.add(image['file_name'], cells, images.mpp_of(image))
    return [out / 'cells.parquet']


def write_h5ad(images: ImageSet, found: Found, out: Path) -> list[Path]:
    """One `cells.h5ad` for all images, see :func:`mmcell.report.h5ad.table_to_h5ad`."""
    with tempfile.TemporaryDirectory(prefix='mmcell-') as scratch:
        (table,) = write_parquet(images, found, Path(scratch))
        return [table_to_h5ad(table, out / 'cells.h5ad')]


def export_table(table: str | Path, out: str | Path, target: str, slide: str | Path | None = None) -> list[Path]:
    """Write the cells of a slide in another format; but for h5ad, a group of rows is in memory at a time.

    Args:
        table: From :class:`mmcell.report.parquet.CellTable`, of one image.
        out: Folder to write to.
        target: 'geojson', 'page' or 'h5ad'.
        slide: The slide, whose picture is shown on the page.

    Returns:
        The paths written.

    Raises:
        InputError: If the table is none or of several images, or a file cannot be written.
    """
    out = Path(out)
    if target == 'h5ad':
        return [table_to_h5ad(table, out / 'cells.h5ad')]
    name, size, mpp = _describe_table(table)
    if target == 'geojson':
        return table_to_geojson(table, out / 'cells.geojson', read_classes(table))
    if slide is None:
        return write_slide_page(table, out, None, size, mpp, name)
    with Slide(slide) as opened:
        return write_slide_page(table, out, opened, opened.size, mpp, name)


def write_labels(images: ImageSet, found: Found, out: Path) -> list[Path]:
    """Two TIFFs of (H, W) an image, which napari, QuPath, Cellpose and StarDist take as they are; 0 is background.

    `<image>_labels.tif`: the number of the cell, which is its `id` in the tables and its name in the GeoJSON; uint16,
    or uint32 for more than 65,535 cells. `<image>_classes.tif`: the place of its class, from 1; uint8, or uint16 for
    more than 255 classes. The names of the classes stand in the files' descriptions.
    """
    paths = []
    for image, cells in found:
        stem = images.names[image['id']]
        for name, plane in (('labels', cells.label_map()), ('classes', cells.class_map())):
            paths.append(out / f'{stem}_{name}.tif')
            _write_plane(paths[-1], plane, images.classes)
    return paths


#: What `tools/export.py --to` offers.
TARGETS: dict[str, Callable[[ImageSet, Found, Path], list[Path]]] = {
    'geojson': write_geojson,
    'csv': write_csv,
    'parquet': write_parquet,
    'labels': write_labels,
    'h5ad': write_h5ad,
}


def _describe_table(table: str | Path) -> tuple[str, tuple[int, int], float | None]:
    """The image that cells are of, the height and width that they reach, and its microns per pixel, if known."""
    names: set[str] = set()
    size, mpp = np.ones(2, int), np.nan
    for group in read_groups(table, ['image', 'x2', 'y2', 'area', 'area_um2']):
        names |= set(group['image'].unique().to_pylist())
        size = np.maximum(size, [int(np.ceil(group[side].to_numpy().max())) for side in ('y2', 'x2')])
        mpp = np.sqrt(np.divide(group['area_um2'].to_numpy()[0], group['area'].to_numpy()[0]))
    if len(names) > 1:
        problem = f'holds cells of {len(names)} images'
        raise InputError(table, problem, 'give the table of one slide, or results.json with --images')
    return next(iter(names), str(table)), (int(size[0]), int(size[1])), None if np.isnan(mpp) else float(mpp)


def _columns(cells: Cells, mpp: float | None = None) -> dict[str, NDArray]:
    # What both measure stays in the place that it has in the first.
    found = {**cells.columns(), **measure(cells.masks)}
    unknown = np.full(len(cells), '')
    return found | {name: unknown if mpp is None else each for name, each in in_microns(found, mpp or 1).items()}


def _write_plane(path: Path, plane: NDArray, classes: Sequence[str]) -> None:
    with atomic_path(path) as temporary:
        metadata = {'axes': 'YX', 'classes': list(classes)}
        tifffile.imwrite(temporary, plane, compression='zlib', photometric='minisblack', metadata=metadata)
