"""AnnData of cells, read back by anndata."""

import numpy as np
import pyarrow.parquet
import pytest

from mmcell.errors import InputError
from mmcell.report.export import export_table
from mmcell.report.parquet import CellTable
from mmcell.structures.cells import Cells

anndata = pytest.importorskip('anndata', reason='the extra `spatial` is not installed')

CLASSES = ('one', 'two', 'none of them')


@pytest.fixture
def table(tmp_path):
    plane = np.zeros((20, 30), int)
    plane[2:8, 3:9], plane[10:15, 20:30] = 1, 2
    with CellTable(tmp_path / 'cells.parquet', CLASSES) as cells:
        cells.add('a.png', Cells.from_label_map(plane, [1, 0], CLASSES, [0.75, 0.5]), 0.5)
        cells.add('b.png', Cells.from_label_map(plane, [0, 1], CLASSES), 0.25)
    return tmp_path / 'cells.parquet'


def test_all_that_the_table_holds(table, tmp_path):
    (path,) = export_table(table, tmp_path / 'out', 'h5ad')
    found, rows = anndata.read_h5ad(path), pyarrow.parquet.read_table(table).to_pydict()
    assert list(found.obs_names) == ['a.png#1', 'a.png#2', 'b.png#1', 'b.png#2']
    for name in ('id', 'image', 'class', 'score', *(f'probability: {name}' for name in CLASSES)):
        assert found.obs[name].tolist() == rows[name]
    assert list(found.obs['class'].cat.categories) == list(CLASSES)
    assert {'area', 'perimeter', 'eccentricity', 'area_um2', 'perimeter_um'} <= set(found.var_names)
    for name in found.var_names:
        assert (found[:, name].X[:, 0] == np.float32(rows[name])).all()
    assert (
        found.obsm['spatial'][:2].tolist() == [[3.0, 2.5], [12.5, 6.25]] and found.uns['spatial_unit'] == 'micrometer'
    )
    assert (found.obsm['spatial'][2:] == found.obsm['spatial'][:2] / 2).all()


def test_without_microns(table, tmp_path):
    with CellTable(table, CLASSES) as cells:
        cells.add('a.png', Cells.from_label_map(np.ones((4, 6), int), [0], CLASSES))
    with pytest.warns(UserWarning, match='centers are in pixels'):
        (path,) = export_table(table, tmp_path / 'out', 'h5ad')
    found = anndata.read_h5ad(path)
    assert found.obsm['spatial'].tolist() == [[3, 2]] and found.uns['spatial_unit'] == 'pixel'
    assert np.isnan(found[:, 'area_um2'].X).all()
    with CellTable(table, CLASSES):
        pass
    with pytest.raises(InputError, match='holds no cells'):
        export_table(table, tmp_path / 'out', 'h5ad')
