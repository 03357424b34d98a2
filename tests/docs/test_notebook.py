"""The notebook runs from top to bottom, and is committed without outputs: they would go stale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / 'docs/notebook.ipynb'
#: What its text says of what it computed.
CHECKS = """
assert (many.above(model.score_thr).label_map() == cells.label_map()).all() and len(many) > len(cells) > 20
assert len(features['features']) == len(table) == len(pd.read_csv(out / 'tissue.csv')) == len(cells)
assert (table['area'] == np.bincount(cells.label_map().ravel())[1:]).all()
assert Image.open(out / 'overlay.png').width >= 2 * image.shape[1]
"""


def test_no_outputs_are_committed():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())['cells'] if cell['cell_type'] == 'code']
    assert cells and all(cell['outputs'] == [] and cell['execution_count'] is None for cell in cells)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    (tmp_path / 'docs').mkdir()
    (tmp_path / 'data').symlink_to(ROOT / 'data')
    shutil.copy(NOTEBOOK, tmp_path / 'docs')
    notebook = nbformat.read(tmp_path / 'docs/notebook.ipynb', as_version=4)
    nbformat.validate(notebook)
    shown = sum(cell.cell_type == 'code' for cell in notebook.cells)
    notebook.cells.append(nbformat.v4.new_code_cell(CHECKS))
    place = {'metadata': {'path': tmp_path / 'docs'}}
    NotebookClient(notebook, timeout=300, kernel_name='python3', resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
    pictures = [output for output in outputs if 'image/png' in output.get('data', {})]
    assert len(pictures) == 1 and len(outputs) >= shown - 1  # all but the one that writes for QuPath show something
