"""Each comparison at a tiny size: all sides run, and agree."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measure import Finding, Row, Side
from benchmarks.report import Report

ROOT = Path(__file__).resolve().parents[2]
TINY = ('--cells', 6, '--sides', 96, '--repeats', 1)


def table_row(text: str, first: str) -> dict[str, str]:
    """The first row of the first table in a report, by column."""
    head = next(line for line in text.splitlines() if line.startswith(f'| {first} |'))
    row = text[text.index(head) :].splitlines()[2]
    return dict(zip(*([cell.strip() for cell in line.strip('|').split('|')] for line in (head, row))))


def check(outcome, file: Path, first: str, *others: str) -> dict[str, str]:
    assert outcome.status == 0, outcome.err
    row = table_row(file.read_text(), first)
    for side in ('ours', *others):
        assert re.fullmatch(r'[\d.e+]+ (ms|s)', row[side]), row
        assert float(row[f'{side} MB']) >= 0
        # What the table says is what was printed.
        assert row[side] in outcome.out
    assert all(re.fullmatch(r'[\d.]+x', value) for name, value in row.items() if name.startswith('faster') and value)
    return row


@pytest.mark.parametrize(
    ('subject', 'other'),
    [('convert', 'id by id'), ('load', 'MMDetection'), ('targets', 'MMDetection'), ('paste', 'MMDetection')],
)
def test_the_two_sides_give_the_same(subject, other, tool, tmp_path):
    row = check(tool('benchmark', subject, *TINY, '--write', tmp_path / 'p.md'), tmp_path / 'p.md', 'cells', other)
    assert (row['cells'], row['side'], row['difference']) == ('6', '96', '0')


def test_assign(tool, tmp_path):
    outcome = tool('benchmark', 'assign', *TINY, '--write', tmp_path / 'p.md')
    row = check(outcome, tmp_path / 'p.md', 'boxes', 'MMDetection')
    assert (row['boxes'], row['cells'], row['difference']) == ('anchors', '6', '0')


def test_eval(tool, tmp_path):
    outcome = tool('benchmark', 'eval', *TINY, '--images', 2, '--write', tmp_path / 'p.md')
    assert float(check(outcome, tmp_path / 'p.md', 'images', 'pycocotools')['difference']) < 1e-12


def test_convert_reads_a_source(class_tiff, tool, tmp_path):
    outcome = tool('benchmark', 'convert', '--source', class_tiff, '--repeats', 1, '--write', tmp_path / 'p.md')
    row = check(outcome, tmp_path / 'p.md', 'source', 'id by id')
    assert (row['images'], row['cells'], row['difference']) == ('6', '18', '0')
    assert 'source: times faster' in outcome.out


def test_train_on_data(class_tiff_data, tool, tmp_path):
    outcome = tool(
        *('benchmark', 'train', '--config', ROOT / 'configs/demo/mask_rcnn_synthetic.py', '--steps', 1),
        *('--repeats', 1, '--write', tmp_path / 'p.md'),
    )
    row = check(outcome, tmp_path / 'p.md', 'config', 'our masks alone', 'MMDetection')
    assert row['config'] == 'mask_rcnn_synthetic'
    assert float(row['difference: MMDetection']) < 1e-5 > float(row['difference: our masks alone'])
    for part in ('forward', 'backward and update', 'validation: predict', '% of a step spent on data'):
        assert part in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize('subject', ['train', 'infer'])
def test_drawn_cells_without_torchvision(subject, tool, tmp_path):
    outcome = tool('benchmark', subject, *TINY, '--write', tmp_path / 'p.md')
    row = check(outcome, tmp_path / 'p.md', 'cells', 'MMDetection')
    assert (row['torchvision'], row['torchvision MB']) == ('skipped (no --torchvision)', '')
    assert float(row['difference']) < 1e-4


def test_others_are_skipped_where_it_takes_too_much(tool):
    outcome = tool('benchmark', 'load', '--cells', 100, 200, '--sides', 512, '--repeats', 1, '--limit-gb', 0.02)
    assert outcome.status == 0, outcome.err
    assert 'skipped (over 0.02 GB)' in outcome.out and 'skipped (a smaller one over 0.02 GB)' in outcome.out


def side(milliseconds: float) -> Side:
    return Side([milliseconds / 1e3] * 3, 20.0, {}, None, 1000, np.zeros(2))


def test_a_section_is_replaced_and_the_others_stay(tmp_path):
    path = tmp_path / 'benchmarks.md'

    def write(title: str, milliseconds: float) -> None:
        known = side(milliseconds)
        rows = [Row({'cells': 5}, known, {'MMDetection': 'over 3 s'})]
        rows.append(Row({'cells': 6}, replace(known, megabytes=None, floor_bytes=None), {'MMDetection': known}))
        findings = [Finding('times faster', None), Finding('growth', 3.0)]
        Report(title, 'What it does.', 'python tools/benchmark.py', rows, findings, 1e9).write(path)

    write('load', 2)
    write('paste', 3)
    path.write_text(path.read_text() + '\n## Notes\n\nBy hand.\n')
    write('load', 7)
    text = path.read_text()
    assert text.startswith('# Benchmark tables\n')
    assert re.findall('^## (.*)', text, re.M) == ['load', 'paste', 'Notes']
    assert '| 6 | 7 ms | 7 ms | 1.0x | unknown | 20 | unknown | 0 |  |  | 3 / 3 |' in text
    assert '| 5 | 7 ms | skipped (over 3 s) |' in text and '| 5 | 3 ms |' in text and '2 ms' not in text
    assert '- times faster: unknown, a side was skipped\n' in text and '- growth: 3\n' in text
    before = text
    write('load', 7)
    assert path.read_text() == before
    write('eval', 1)
    assert re.findall('^## (.*)', path.read_text(), re.M) == ['load', 'paste', 'eval', 'Notes']


def test_bad_arguments(tool, tmp_path, monkeypatch):
    for arguments, message in (
        (('load', '--steps', 3), '--steps is for train only'),
        (('train', '--steps', 3), '--steps needs --config'),
        (('train', '--torchvision', tmp_path / 'python'), 'cannot be run'),
        (('infer', '--config', ROOT / 'configs/cell/mask_rcnn.py'), 'needs --source and --checkpoint'),
        (('load', '--model', 'consep'), '--model is for model only'),
        (('model', '--source', tmp_path), 'holds no *.tif'),
        (('load', '--cells', 0), 'is not a whole number from 1'),
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
