"""A table of cells as GeoJSON for QuPath, part by part: a slide's cells never are in memory together."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any

import shapely

from mmcell.io.files import atomic_path
from mmcell.report.parquet import read_groups
from mmcell.structures.outlines import to_geojson
from mmcell.visualization.palette import class_colours

#: Cells of one file. QuPath holds all objects of a file several times while it opens it.
MAX_CELLS = 100_000

#: Columns that are no measurements.
_OTHER = {'image', 'id', 'class', 'outline', 'x1', 'y1', 'x2', 'y2'}


def table_to_geojson(
    table: str | Path, out: str | Path, classes: Sequence[str], max_cells: int = MAX_CELLS
) -> list[Path]:
    """Write the cells of one image, as :meth:`mmcell.structures.cells.Cells.to_geojson` describes them.

    Args:
        table: From :class:`mmcell.report.parquet.CellTable`; all its rows are taken for one image.
        out: The file. Where there are more cells than `max_cells`, `<out>_1.geojson`, `<out>_2.geojson` and so on.
        classes: Names of the classes, which their colors depend on.
        max_cells: Cells of a file.

    Returns:
        The files written; at least one.

    Raises:
        InputError: If the table is none, or a file cannot be written.
    """
    out = Path(out)
    colours = dict(zip(classes, class_colours(len(classes))))
    kinds = {name: {'name': name, 'color': [int(part) for part in colour]} for name, colour in colours.items()}
    count = sum(len(group) for group in read_groups(table, ['id']))
    features = chain.from_iterable(_features(group.to_pydict(), kinds) for group in read_groups(table))
    paths = [out]
    if count > max_cells:
        paths = [out.with_name(f'{out.stem}_{number + 1}{out.suffix}') for number in range(-(-count // max_cells))]
    with ExitStack() as stack:
        # All files take their places together, at the end.
        for path in paths:
            with stack.enter_context(atomic_path(path)).open('w', encoding='utf-8') as file:
                file.write('{"type":"FeatureCollection","features":[')
                file.writelines(
                    f'{"," if index else ""}{each}' for index, each in enumerate(islice(features, max_cells))
                )
                file.write(']}')
    return paths


def _features(rows: dict[str, list[Any]], kinds: dict[str, dict[str, Any]]) -> list[str]:
    """The features of some rows as JSON."""
    shapes = to_geojson(shapely.from_wkb(rows['outline']))
    names = [name for name in rows if name not in _OTHER]
    features = []
    for index, shape in enumerate(shapes):
        number = rows['id'][index]
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f'{rows["image"][index]}#{number}')
        properties = {
            'objectType': 'detection',
            'name': str(number),
            'classification': kinds.get(rows['class'][index], {'name': rows['class'][index]}),
            'measurements': {name: rows[name][index] for name in names if rows[name][index] is not None},
        }
        text = json.dumps(properties, separators=(',', ':'), allow_nan=False)
        features.append(f'{{"type":"Feature","id":"{identity}","geometry":{shape},"properties":{text}}}')
    return features
