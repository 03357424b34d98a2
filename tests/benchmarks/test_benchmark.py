"""Each comparison at a tiny size: both sides run, and agree."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measure import Bar, Row, Side
from benchmarks.report import Report

ROOT = Path(__file__).resolve().parents[2]
TINY = ('--cells', 6, '--sides', 96, '--repeats', 1)


def table_row(text: str, first: str) -> dict[str, str]:
    """The first row of the first table in a report, by column."""
    head = next(line for line in text.splitlines() if line.startswith(f'| {first} |'))
    row = text[text.index(head) :].splitlines()[2]
    return dict(zip(*([cell.strip() for cell in line.strip('|').split('|')] for line in (head, row))))


def check(outcome, file: Path, first: str) -> dict[str, str]:
    assert outcome.status == 0, outcome.err
    row = table_row(file.read_text(), first)
    for side in ('ours', 'stock'):
        assert re.fullmatch(r'[\d.e+]+ (ms|s)', row[side]), row
        assert float(row[f'{side} MB']) >= 0
    assert re.fullmatch(r'[\d.]+x', row['faster'])
    # What the table says is what was printed.
    assert row['ours'] in outcome.out and row['stock'] in outcome.out
    return row


@pytest.mark.parametrize('subject', ['convert', 'load', 'targets', 'paste'])
def test_the_two_sides_give_the_same(subject, tool, tmp_path):
    row = check(tool('benchmark', subject, *TINY, '--write', tmp_path / 'p.md'), tmp_path / 'p.md', 'cells')
    assert (row['cells'], row['side'], row['difference']) == ('6', '96', '0')


def test_assign(tool, tmp_path):
    row = check(tool('benchmark', 'assign', *TINY, '--write', tmp_path / 'p.md'), tmp_path / 'p.md', 'boxes')
    assert (row['boxes'], row['cells'], row['difference']) == ('anchors', '6', '0')


def test_eval(tool, tmp_path):
    outcome = tool('benchmark', 'eval', *TINY, '--images', 2, '--write', tmp_path / 'p.md')
    assert float(check(outcome, tmp_path / 'p.md', 'images')['difference']) < 1e-12


def test_convert_reads_a_source(class_tiff, tool, tmp_path):
    outcome = tool('benchmark', 'convert', '--source', class_tiff, '--repeats', 1, '--write', tmp_path / 'p.md')
    row = check(outcome, tmp_path / 'p.md', 'source')
    assert (row['images'], row['cells'], row['difference']) == ('6', '18', '0')
    assert 'source: times faster' in outcome.out


def test_train(class_tiff_data, tool, tmp_path):
    outcome = tool(
        *('benchmark', 'train', '--config', ROOT / 'configs/demo/mask_rcnn_synthetic.py', '--steps', 1),
        *('--repeats', 1, '--write', tmp_path / 'p.md'),
    )
    assert float(check(outcome, tmp_path / 'p.md', 'data')['difference']) < 1e-5
    for part in ('forward', 'backward and update', 'validation: predict', '% of a step spent on data'):
        assert part in outcome.out


def test_stock_is_skipped_where_it_takes_too_much(tool):
    outcome = tool('benchmark', 'load', '--cells', 100, 200, '--sides', 512, '--repeats', 1, '--limit-gb', 0.02)
    assert outcome.status == 0, outcome.err
    assert 'skipped (over 0.02 GB)' in outcome.out and 'skipped (a smaller one over 0.02 GB)' in outcome.out


def side(milliseconds: float) -> Side:
    return Side([milliseconds / 1e3] * 3, 20.0, {}, 1000, np.zeros(2))


def test_a_section_is_replaced_and_the_others_stay(tmp_path):
    path = tmp_path / 'performance.md'

    def write(title: str, milliseconds: float) -> None:
        rows = [Row({'cells': 5}, side(milliseconds), 'over 3 s')]
        bars = [Bar('times faster', None, 10), Bar('growth', 3.0, 2, at_least=False)]
        Report(title, 'What it does.', 'python tools/benchmark.py', rows, bars, 1e9).write(path)

    write('load', 2)
    write('paste', 3)
    path.write_text(path.read_text() + '\n## Notes\n\nBy hand.\n')
    write('load', 7)
    text = path.read_text()
    assert text.startswith('# Performance\n')
    assert re.findall('^## (.*)', text, re.M) == ['load', 'paste', 'Notes']
    assert '| 5 | 7 ms | skipped (over 3 s) |' in text and '| 5 | 3 ms |' in text and '2 ms' not in text
    assert 'times faster: unknown, stock was skipped' in text
    assert 'growth: 3 (asked for: at most 2; MISSED)' in text
    before = text
    write('load', 7)
    assert path.read_text() == before


def test_bad_arguments(tool, tmp_path, monkeypatch):
    for arguments, message in (
        (('load', '--steps', 3), '--steps is for train only'),
        (('load', '--cells', 0), 'must be greater than 0'),
        (('convert', '--source', tmp_path), 'holds no train'),
    ):
        outcome = tool('benchmark', *arguments)
        assert outcome.status == 2 and message in outcome.err and outcome.err.count('\n') == 1
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'nothing'))
    outcome = tool('benchmark', 'train', '--config', ROOT / 'configs/demo/mask_rcnn_synthetic.py')
    assert outcome.status == 2 and 'train.json: cannot be read' in outcome.err


@pytest.fixture
def class_tiff_data(tmp_path, monkeypatch, tool) -> None:
    """Converted synthetic tissue, which MMCELL_DATA names."""
    source, data = tmp_path / 'tissue', tmp_path / 'data'
    assert tool('synthesize', '--out', source, '--images', 6, '--size', 96, 96, '--cells', 8).status == 0
    assert tool('convert', 'class_tiff', source, '--out', data).status == 0
    monkeypatch.setenv('MMCELL_DATA', str(data))
