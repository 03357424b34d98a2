"""Cells as a table on disk, Apache Parquet, which pandas, polars, R, DuckDB and geopandas read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from mmcell.errors import InputError
from mmcell.io.files import atomic_path
from mmcell.report.measurements import in_microns, measure
from mmcell.structures.cells import Cells

if TYPE_CHECKING:
    import pyarrow

#: So that geopandas and QGIS know which column holds the outlines: https://geoparquet.org, version 1.1.0.
_GEO = {
    'version': '1.1.0',
    'primary_column': 'outline',
    'columns': {'outline': {'encoding': 'WKB', 'geometry_types': ['Polygon', 'MultiPolygon'], 'crs': None}},
}

#: How columns grow with the side of a pixel.
_POWERS = {'area': 2} | dict.fromkeys(
    ('centroid_x', 'centroid_y', 'x1', 'y1', 'x2', 'y2', 'perimeter', 'equivalent_diameter'), 1
)


class CellTable:
    """A Parquet file that grows image by image; to be used with `with`, after which the file is there.

    One row per cell: `image`, the columns of :meth:`mmcell.structures.cells.Cells.columns` and of
    :func:`mmcell.report.measurements.measure`, those of :func:`mmcell.report.measurements.in_microns`, empty where
    microns per pixel are not known, and `outline`, the exact outline in pixels of the image as WKB (y points down).
    The classes stand in the file's meta data under `classes`.

    Args:
        path: The file.
        classes: Names of the classes.
        scale: Pixels of the image that a pixel of the cells spans, where these were found at another resolution. Then
            all numbers are of the image, and coordinates are rounded to hundredths of a pixel.

    Raises:
        InputError: On entering or leaving, if the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        classes: tuple[str, ...],
        scale: float = 1.0,
    ) -> None:
        self._path, self._stack = Path(path), ExitStack()
        self._classes, self._scale = tuple(classes), scale

    def __enter__(self) -> CellTable:
        # Imported here, as it takes long and most tools do without it.
        import pyarrow.parquet

        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self._path))
            self._schema = self._table('', Cells.none(self._classes)).schema
            self._schema = self._schema.with_metadata(dict(geo=json.dumps(_GEO), classes=json.dumps(self._classes)))
            self._writer = stack.enter_context(
                pyarrow.parquet.ParquetWriter(temporary, self._schema, compression='zstd')
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, traceback)

    def add(self, image: str, cells: Cells, mpp: float | None = None, first: int = 1) -> None:
        """Add cells of an image, in one group of rows.

        Args:
            image: Its name.
            cells: The cells.
            mpp: Microns per pixel of the image.
            first: The `id` of the first.
        """
        if len(cells):
            self._writer.write_table(self._table(image, cells, mpp, first).cast(self._schema))

    def _table(self, image: str, cells: Cells, mpp: float | None = None, first: int = 1) -> pyarrow.Table:
        import pyarrow

        found = {**cells.columns(), **measure(cells.masks)}
        outlines = np.array(cells.outlines(), dtype=object)
        if self._scale != 1:
            for name, power in _POWERS.items():
                found[name] = found[name] * self._scale**power
            # Each coordinate by itself and rising, so that what was valid stays so.
            outlines = shapely.transform(outlines, lambda points: np.round(points * self._scale, 2))
        microns = in_microns(found, mpp or np.nan)
        columns: dict[str, Any] = {
            'image': pyarrow.array([image] * len(cells), pyarrow.string()),
            **{name: pyarrow.array(values) for name, values in found.items()},
            **{name: pyarrow.array(values, pyarrow.float64(), from_pandas=True) for name, values in microns.items()},
            'outline': pyarrow.array(shapely.to_wkb(outlines), pyarrow.binary()),
        }
        columns['id'] = pyarrow.array(np.arange(first, first + len(cells)))
        columns['class'] = pyarrow.array(found['class'], pyarrow.string())
        return pyarrow.table(columns)


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Names of the classes of a table that :class:`CellTable` wrote.

    Raises:
        InputError: If it is no such table.
    """
    schema = read_schema(path)
    with _refusing(path):
        return tuple(json.loads(schema.metadata[b'classes']))


def read_schema(path: str | Path) -> pyarrow.Schema:
    """Names and types of the columns of a table.

    Raises:
        InputError: If it is none.
    """
    import pyarrow.parquet

    with _refusing(path):
        return pyarrow.parquet.read_schema(path)


def read_groups(path: str | Path, columns: Sequence[str] | None = None) -> Iterator[pyarrow.Table]:
    """The groups of rows of a table that :class:`CellTable` wrote, one in memory at a time.

    Args:
        path: The table.
        columns: Those that are read; None for all.

    Raises:
        InputError: If it is no such table.
    """
    import pyarrow.parquet

    with _refusing(path), pyarrow.parquet.ParquetFile(path) as file:
        if missing := {'image', 'id', 'class', 'score', 'outline', *(columns or ())} - set(file.schema_arrow.names):
            problem = f'has no column {min(missing)!r}'
            raise InputError(path, problem, 'give a table of cells as infer writes it')
        for index in range(file.num_row_groups):
            yield file.read_row_group(index, columns)


def select_cells(path: str | Path, out: str | Path, score_thr: float) -> Path:
    """Write the rows of a table that score `score_thr` or more as another one; they keep their ids.

    Raises:
        InputError: If it is no such table or has no such rows, or the other one cannot be written.
    """
    import pyarrow.compute
    import pyarrow.parquet

    chosen = pyarrow.compute.field('score') >= score_thr
    if not any(len(group.filter(chosen)) for group in read_groups(path, ['score'])):
        raise InputError(path, f'holds no cell that scores {score_thr:g} or more', 'lower --score-thr')
    with (
        atomic_path(out) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, read_schema(path), compression='zstd') as file,
    ):
        for group in read_groups(path):
            if len(some := group.filter(chosen)):
                file.write_table(some)
    return Path(out)


def read_rows(path: str | Path, columns: Sequence[str], top: float, bottom: float) -> Iterator[pyarrow.RecordBatch]:
    """Those rows of a table whose cells reach into a band of the image, from `top` to `bottom`, some at a time."""
    import pyarrow.dataset

    y1, y2 = pyarrow.dataset.field('y1'), pyarrow.dataset.field('y2')
    table = pyarrow.dataset.dataset(Path(path), format='parquet')
    with _refusing(path):
        yield from table.to_batches(columns=list(columns), filter=(y1 < bottom) & (y2 > top))


@contextmanager
def _refusing(path: str | Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError) as error:
        problem = f'cannot be read as a table of cells ({str(error)[:100]})'
        raise InputError(path, problem, 'give one as infer writes it') from None
