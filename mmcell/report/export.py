"""Results in the formats of other tools: GeoJSON for QuPath, a table, label maps."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from mmcell.coco.results import open_results
from mmcell.io.files import atomic_path, write_bytes
from mmcell.report.cells import Cells, ImageSet
from mmcell.report.measurements import NAMES, measure
from mmcell.structures.outlines import to_geometries
from mmcell.visualization.palette import class_colour

#: Columns of the table.
COLUMNS = ('image', 'id', 'class', 'score', *NAMES)


def export_results(
    results: str | Path | Sequence[Mapping[str, Any]],
    images_json: str | Path,
    out_dir: str | Path,
    target: str,
    score_thr: float = 0.3,
) -> list[Path]:
    """Write results in another format.

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
    where, results = open_results(results)
    gathered = images.gather(results, where)
    # A cell without pixels has no outline and no centre.
    cells = {image_id: _filled(group.above(score_thr)) for image_id, group in gathered.items()}
    return TARGETS[target](images, cells, Path(out_dir))


def write_geojson(images: ImageSet, cells: Mapping[int, Cells], out: Path) -> list[Path]:
    """One `<image>.geojson` an image, which QuPath (0.4 and newer) opens by dropping it on the image.

    A FeatureCollection of detections: exact Polygon or MultiPolygon in pixels with holes, `classification` with name
    and colour, `measurements` with score and all that :func:`measure` gives, and a UUID that depends on nothing but the
    image's path and the cell's number.
    """
    paths = []
    for image in images.images:
        geometries = to_geometries(cells[image['id']].runs)
        features = [
            {
                'type': 'Feature',
                'id': str(uuid.uuid5(uuid.NAMESPACE_URL, f'{image["file_name"]}#{number}')),
                'geometry': geometry,
                'properties': {
                    'objectType': 'detection',
                    'name': str(number),
                    'classification': {'name': images.classes[label], 'color': list(class_colour(label))},
                    'measurements': measured,
                },
            }
            for geometry, (number, label, measured) in zip(geometries, _numbered(cells[image['id']]))
        ]
        collection = {'type': 'FeatureCollection', 'features': features}
        paths.append(out / f'{images.names[image["id"]]}.geojson')
        # QuPath takes NaN for a number, but no other reader does; there is none.
        write_bytes(paths[-1], json.dumps(collection, separators=(',', ':'), allow_nan=False).encode())
    return paths


def write_csv(images: ImageSet, cells: Mapping[int, Cells], out: Path) -> list[Path]:
    """One `cells.csv` for all images: a row a cell with its image, number, class, score and :func:`measure`."""
    text = io.StringIO(newline='')
    table = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    for image in images.images:
        for number, label, measured in _numbered(cells[image['id']]):
            table.writerow({'image': image['file_name'], 'id': number, 'class': images.classes[label], **measured})
    write_bytes(out / 'cells.csv', text.getvalue().encode())
    return [out / 'cells.csv']


def write_labels(images: ImageSet, cells: Mapping[int, Cells], out: Path) -> list[Path]:
    """Two TIFFs an image: `<image>_labels.tif` and `<image>_classes.tif`.

    Labels: (C, H, W), one plane a class, pixel value = number of the cell, as in the table and the GeoJSON; uint16, or
    uint32 for more than 65,535 cells. Classes: (H, W) uint8, pixel value = place of the class, from 1. 0 is background
    in both. Where cells overlap the highest score wins; of a cell that lies wholly under better ones nothing is left.
    """
    paths = []
    for image in images.images:
        group = cells[image['id']]
        numbers = np.arange(1, len(group) + 1)
        dtype = np.uint16 if len(group) < 2**16 else np.uint32
        planes = np.stack(
            [_paint(group, numbers, group.labels == label).astype(dtype) for label in range(len(images.classes))]
        )
        classes = _paint(group, group.labels + 1, np.ones(len(group), dtype=bool)).astype(np.uint8)
        stem = out / images.names[image['id']]
        paths += [stem.with_name(f'{stem.name}_labels.tif'), stem.with_name(f'{stem.name}_classes.tif')]
        for path, pixels, axes in zip(paths[-2:], (planes, classes), ('CYX', 'YX')):
            with atomic_path(path) as temporary:
                metadata = {'axes': axes, 'classes': list(images.classes)}
                tifffile.imwrite(temporary, pixels, compression='zlib', photometric='minisblack', metadata=metadata)
    return paths


#: What `tools/export.py --to` offers.
TARGETS: dict[str, Callable[[ImageSet, Mapping[int, Cells], Path], list[Path]]] = {
    'geojson': write_geojson,
    'csv': write_csv,
    'labels': write_labels,
}


def _filled(cells: Cells) -> Cells:
    return cells.select(np.flatnonzero(cells.runs.areas))


def _numbered(cells: Cells) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Number from 1, label, and score and measurements of each cell."""
    columns = {'score': cells.scores, **measure(cells.runs)}
    rows = zip(*(column.tolist() for column in columns.values()))
    for number, (label, row) in enumerate(zip(cells.labels.tolist(), rows), start=1):
        yield number, label, dict(zip(columns, row))


def _paint(cells: Cells, values: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Label map of the chosen cells, (H, W), painted by rising score."""
    order = np.argsort(cells.scores, kind='stable')
    order = order[chosen[order]]
    height, width = cells.runs.size
    columns = np.zeros(height * width, dtype=np.int64)
    runs = cells.runs.select(order)
    # numpy keeps the last of several values that are assigned to one position.
    columns[runs.pixels] = np.repeat(values[order], runs.areas)
    return columns.reshape(width, height).T
