"""Cells as AnnData, which scanpy and squidpy read, and SpatialData once its columns are renamed (docs/slides.md)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.errors import InputError
from mmcell.io.files import atomic_path
from mmcell.report.measurements import NAMES
from mmcell.report.parquet import read_classes, read_groups


def table_to_h5ad(table: str | Path, out: str | Path) -> Path:
    """Write the cells of a table, one row per cell.

    `X` holds the measurements, float32, NaN where microns per pixel are not known; `obs` image, class, score and the
    probabilities; `obsm['spatial']` the centers as x and y in microns. Where microns per pixel are not known of every
    cell, centers are in pixels, a warning says so, and `uns['spatial_unit']` is 'pixel' instead of 'micrometer'.

    Args:
        table: From :class:`mmcell.report.parquet.CellTable`.
        out: The file.

    Returns:
        Its path.

    Raises:
        InputError: If anndata is not installed, the table is none, or the file cannot be written.
    """
    try:
        import anndata
        import pandas
    except ImportError:
        raise InputError(out, 'needs anndata, which is not installed', "install it: pip install '.[spatial]'") from None
    classes = read_classes(table)
    # All but the outlines, which are most of it.
    groups = [group.drop_columns('outline').to_pandas() for group in read_groups(table)]
    cells = pandas.concat(groups, ignore_index=True) if groups else pandas.DataFrame()
    if cells.empty:
        raise InputError(table, 'holds no cells', 'lower the score threshold')
    centres = cells[['centroid_x', 'centroid_y']].to_numpy()
    microns = np.sqrt(cells['area_um2'] / cells['area']).to_numpy()
    if not (known := bool(np.isfinite(microns).all())):
        warnings.warn(f'{out}: microns per pixel are not known of all cells: centers are in pixels', stacklevel=2)
    measured = [name for name in cells.columns if name.removesuffix('_um2').removesuffix('_um') in NAMES]
    measured = [name for name in measured if not name.startswith('centroid')]
    described = ['id', 'image', 'class', 'score', *(name for name in cells.columns if name.startswith('probability'))]
    obs = cells[described].set_index(cells['image'] + '#' + cells['id'].astype(str)).rename_axis(None)
    obs['class'] = pandas.Categorical(obs['class'], categories=classes)
    content: Any = anndata.AnnData(
        X=cells[measured].to_numpy(np.float32),
        obs=obs,
        var=pandas.DataFrame(index=measured),
        obsm={'spatial': centres * microns[:, None] if known else centres},
        uns={'spatial_unit': 'micrometer' if known else 'pixel'},
    )
    with atomic_path(out) as temporary:
        content.write_h5ad(temporary)
    return Path(out)
