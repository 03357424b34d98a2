"""Cells in the formats of other tools: GeoJSON for QuPath, tables, label maps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from mmcell.coco.results import Result, open_results
from mmcell.coco.threshold import DEFAULT_THRESHOLD
from mmcell.errors import InputError
from mmcell.io.files import atomic_path
from mmcell.io.slide import Slide
from mmcell.io.tables import write_csv
from mmcell.report.h5ad import table_to_h5ad
from mmcell.report.image_set import ImageSet
from mmcell.report.parquet import CellTable, read_classes, read_groups, read_schema, select_cells
from mmcell.report.slide_geojson import table_to_geojson
from mmcell.report.slide_labels import table_to_labels
from mmcell.report.slide_page import write_slide_page
from mmcell.structures.cells import Cells

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
    found = images.found(opened, score_thr, where)
    if target in WRITERS:
        return WRITERS[target](images, found, Path(out_dir))
    with tempfile.TemporaryDirectory(prefix='mmcell-') as scratch:
        (table,) = write_parquet(images, found, Path(scratch))
        return export_table(table, out_dir, target)


def write_geojson(images: ImageSet, found: Found, out: Path) -> list[Path]:
    """One `<image>.geojson` an image, which QuPath (0.4 and newer) opens by dropping it on the image.

    See :func:`mmcell.report.slide_geojson.table_to_geojson`.
    """
    paths: list[Path] = []
    with tempfile.TemporaryDirectory(prefix='mmcell-') as scratch:
        for each in found:
            (table,) = write_parquet(images, [each], Path(scratch))
            path = out / f'{images.names[each[0]["id"]]}.geojson'
            paths += table_to_geojson(table, path, images.classes, max_cells=max(1, len(each[1])))
    return paths


def write_parquet(images: ImageSet, found: Found, out: Path) -> list[Path]:
    """One `cells.parquet` for all images, see :class:`mmcell.report.parquet.CellTable`."""
    with CellTable(out / 'cells.parquet', images.classes) as table:
        for image, cells in found:
            table.add(image['file_name'], cells, images.mpp_of(image))
    return [out / 'cells.parquet']


def export_table(
    table: str | Path, out: str | Path, target: str, slide: str | Path | None = None, score_thr: float | None = None
) -> list[Path]:
    """Write the cells of a table in another format; but for h5ad, a group of rows is in memory at a time.

    Args:
        table: From :class:`mmcell.report.parquet.CellTable`; of one image, but for csv, h5ad and parquet.
        out: Folder to write to.
        target: 'csv', 'geojson', 'h5ad', 'labels', 'page' or 'parquet'.
        slide: The image that the cells are of: 'labels' have its size, and 'page' shows its pixels.
        score_thr: Lowest score that is written; None writes all cells, which is no use to 'parquet'.

    Returns:
        The paths written.

    Raises:
        InputError: If the table is none or is not of one image, the slide is another one, or a file cannot be written.
    """
    out, given = Path(out), table
    if target == 'parquet':
        if score_thr is None or (out / 'cells.parquet').resolve() == Path(table).resolve():
            raise InputError(table, 'is such a table', 'give --score-thr and another folder to write a part of it')
        return [select_cells(table, out / 'cells.parquet', score_thr)]
    with ExitStack() as stack:
        if score_thr is not None:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix='mmcell-'))
            table = select_cells(given, Path(scratch) / 'cells.parquet', score_thr)
        if target == 'csv':
            return [table_to_csv(table, out / 'cells.csv')]
        if target == 'h5ad':
            return [table_to_h5ad(table, out / 'cells.h5ad')]
        name, size, centres, mpp = _describe_table(given)
        if target == 'geojson':
            return table_to_geojson(table, out / 'cells.geojson', read_classes(table))
        opened = None if slide is None else stack.enter_context(Slide(slide))
        if opened is not None:
            size = opened.size
            if any(np.less(size, centres)):
                raise InputError(
                    opened.path, f'is smaller than what {given} has cells of', 'give the slide of this table'
                )
        if target == 'labels':
            return [table_to_labels(table, out / 'cells_labels.ome.tif', size, mpp)]
        return write_slide_page(table, out, opened, size, mpp, name)


def table_to_csv(table: str | Path, out: Path) -> Path:
    """Write a table as CSV: one row per cell, and all columns but the outline.

    Raises:
        InputError: If the table is none, or the file cannot be written.
    """
    columns = [name for name in read_schema(table).names if name != 'outline']
    rows = (row for group in read_groups(table, columns) for row in zip(*group.to_pydict().values()))
    write_csv(out, chain([columns], rows))
    return out


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


#: Formats whose files are not made of a table.
WRITERS: dict[str, Callable[[ImageSet, Found, Path], list[Path]]] = {
    'geojson': write_geojson,
    'parquet': write_parquet,
    'labels': write_labels,
}
#: What `tools/export.py --to` offers of results.
TARGETS = (*WRITERS, 'csv', 'h5ad')


def _describe_table(table: str | Path) -> tuple[str, tuple[int, int], tuple[int, int], float | None]:
    """The image that cells are of, the height and width that they and their centers reach, and mpp, if known."""
    names: set[str] = set()
    reaches, mpp = np.ones(4, int), np.nan
    sides = ['y2', 'x2', 'centroid_y', 'centroid_x']
    for group in read_groups(table, ['image', 'area', 'area_um2', *sides]):
        names |= set(group['image'].unique().to_pylist())
        reaches = np.maximum(reaches, [int(np.ceil(group[side].to_numpy().max())) for side in sides])
        mpp = np.sqrt(np.divide(group['area_um2'].to_numpy()[0], group['area'].to_numpy()[0]))
    if len(names) > 1:
        problem = f'holds cells of {len(names)} images'
        raise InputError(table, problem, 'give the table of one slide, or results.json with --images')
    bottom, right, *centres = reaches.tolist()
    return next(iter(names), str(table)), (bottom, right), tuple(centres), None if np.isnan(mpp) else float(mpp)


def _write_plane(path: Path, plane: NDArray, classes: Sequence[str]) -> None:
    with atomic_path(path) as temporary:
        metadata = {'axes': 'YX', 'classes': list(classes)}
        tifffile.imwrite(temporary, plane, compression='zlib', photometric='minisblack', metadata=metadata)
