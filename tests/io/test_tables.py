import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.io.tables import safe_row, write_csv


@pytest.mark.parametrize('text', ['=1+1', '+1', '-1', '@A1', '\t=1', '\r=1', '\n=1', '＝1'])
def test_formulas_become_texts(text):
    assert safe_row([text, f'a{text}', -1, None]) == [f"'{text}", f'a{text}', -1, None]


@given(st.lists(st.lists(st.text(st.characters(codec='utf-8', exclude_characters='\0')), min_size=1, max_size=4)))
def test_reads_back(rows):
    with tempfile.TemporaryDirectory() as folder:
        write_csv(path := Path(folder) / 'rows.csv', rows)
        with path.open(encoding='utf-8', newline='') as file:
            assert list(csv.reader(file)) == [safe_row(row) for row in rows]
