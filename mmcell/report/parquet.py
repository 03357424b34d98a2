"""Cells as a table on disk, Apache Parquet, which pandas, polars, R, DuckDB and geopandas read."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from mmcell.io.files import atomic_path
from mmcell.structures.cells import Cells

if TYPE_CHECKING:
    import pyarrow

#: So that geopandas and QGIS know which column holds the outlines: https://geoparquet.org, version 1.1.0.
_GEO = {
    'version': '1.1.0',
    'primary_column': 'outline',
    'columns': {'outline': {'encoding': 'WKB', 'geometry_types': ['Polygon', 'MultiPolygon'], 'crs': None}},
}


class CellTable:
    """A Parquet file that grows image by image; to be used with `with`, after which the file is there.

    A row a cell: `image`, the columns of :meth:`mmcell.structures.cells.Cells.columns`, and `outline`, the exact
    outline in pixels of the image as WKB (y points down). The classes stand in the file's meta data under `classes`.

    Args:
        path: The file.
        classes: Names of the classes.

    Raises:
        InputError: On entering or leaving, if the file cannot be written.
    """

    def __init__(self, path: str | Path, classes: tuple[str, ...]) -> None:
        self._path, self._stack = Path(path), ExitStack()
        self._classes = tuple(classes)

    def __enter__(self) -> CellTable:
        # Imported here, as it takes long and most tools do without it.
        import pyarrow.parquet

        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self._path))
            self._schema = self._table('', Cells.none(self._classes)).schema
            metadata = {'geo': json.dumps(_GEO), 'classes': json.dumps(self._classes)}
            self._schema = self._schema.with_metadata(metadata)
            self._writer = stack.enter_context(
                pyarrow.parquet.ParquetWriter(temporary, self._schema, compression='zstd')
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, traceback)

    def add(self, image: str, cells: Cells) -> None:
        """Add the cells of an image, in one group of rows."""
        if len(cells):
            self._writer.write_table(self._table(image, cells).cast(self._schema))

    def _table(self, image: str, cells: Cells) -> pyarrow.Table:
        import pyarrow

        columns: dict[str, Any] = {
            'image': pyarrow.array([image] * len(cells), pyarrow.string()),
            **{name: pyarrow.array(values) for name, values in cells.columns().items()},
            'outline': pyarrow.array(shapely.to_wkb(np.array(cells.outlines(), dtype=object)), pyarrow.binary()),
        }
        columns['class'] = pyarrow.array(cells.columns()['class'], pyarrow.string())
        return pyarrow.table(columns)
