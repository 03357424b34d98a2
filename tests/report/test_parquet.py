"""The table of cells: what pyarrow reads back is what the cells say."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet
import pytest
import shapely

from mmcell.errors import InputError
from mmcell.report.parquet import CellTable
from mmcell.structures.cells import Cells

CLASSES = ('a', 'b')
PLANE = np.array([[1, 1, 0, 2], [1, 0, 0, 2], [0, 0, 3, 0]])


def test_a_row_is_a_cell(tmp_path):
    cells = Cells.from_label_map(PLANE, [0, 1, 1], CLASSES, scores=[0.9, 0.8, 0.7])
    with CellTable(tmp_path / 'cells.parquet', CLASSES) as table:
        table.add('x/one.png', cells)
        table.add('none.png', cells[[]])
        table.add('two.png', cells[1:])
    read = pyarrow.parquet.read_table(tmp_path / 'cells.parquet')
    rows = read.to_pydict()
    assert rows['image'] == ['x/one.png'] * 3 + ['two.png'] * 2
    for name, column in cells.columns().items():
        assert rows[name][:3] == column.tolist()
    assert [shapely.from_wkb(outline) for outline in rows['outline'][:3]] == cells.outlines()
    metadata = read.schema.metadata
    assert json.loads(metadata[b'classes']) == list(CLASSES)
    assert json.loads(metadata[b'geo'])['primary_column'] == 'outline'


def test_no_cells_at_all(tmp_path):
    with CellTable(tmp_path / 'cells.parquet', CLASSES) as table:
        table.add('none.png', Cells.from_label_map(PLANE * 0, [], CLASSES))
    read = pyarrow.parquet.read_table(tmp_path / 'cells.parquet')
    assert read.num_rows == 0 and {'image', 'class', 'probability: b', 'outline'} <= set(read.column_names)


def test_nothing_is_left_of_a_table_that_fails(tmp_path):
    with pytest.raises(RuntimeError), CellTable(tmp_path / 'cells.parquet', CLASSES):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match='cannot be written'), CellTable(tmp_path / 'file/cells.parquet', CLASSES):
        pass
