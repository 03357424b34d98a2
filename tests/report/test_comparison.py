"""The table of an ablation: numbers from files, and how they are written."""

from __future__ import annotations

import csv
import json
import math

import pytest

from mmcell.evaluation import Interval
from mmcell.report.comparison import Row, score, summarise_log, write_comparison
from mmcell.report.curves import Run


def test_log(tmp_path):
    """Of a run that was killed, which left half a line, and resumed."""
    times = {'20260101': [9.0, 1.0, 2.0], '20260102': [3.0, 4.0]}
    for start, values in times.items():
        path = tmp_path / start / 'vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        lines = [json.dumps({'loss': 1.0, 'time': value, 'step': 1}) for value in values]
        # Validation has a time too.
        path.write_text('\n'.join([*lines, json.dumps({'segm/AP50_1000': 0.5, 'time': 100.0, 'step': 1}), '{"lo']))
    run = Run('a', loss=[(1, 2.0), (2, 0.5), (3, 0.75)], val={'AP50': [(2, 0.25), (4, 0.75), (6, 0.75)]})
    assert summarise_log(run, tmp_path) == {'step_seconds': 3.0, 'lowest_loss': 0.5, 'best_epoch': 4}
    assert summarise_log(Run('a'), tmp_path / 'nowhere') == {}


def test_truth_as_prediction_and_one_image_missed(dataset, tmp_path):
    truth = json.loads(dataset.truth.read_text())
    cells = [{**cell, 'score': 0.9} for cell in truth['annotations'] if not cell['iscrowd']]
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(cells))
    assert score(dataset.truth, path, samples=20) == dict.fromkeys(('mAP', 'AP50', 'PQ'), Interval(1, 1, 1))

    found = [cell for cell in cells if cell['image_id'] == 1]
    path.write_text(json.dumps(found))
    # PQ: hits of IoU 1 among hits and half of the misses.
    expected = len(found) / (len(found) + (len(cells) - len(found)) / 2)
    pq = score(dataset.truth, path, samples=200)['PQ']
    assert pq.value == pytest.approx(expected) and pq.low < expected < pq.high == 1


def rows() -> list[Row]:
    scores = {name: Interval(0.25, 0.125, 0.5) for name in ('mAP', 'AP50', 'PQ')}
    log = {'step_seconds': 0.5, 'lowest_loss': 0.0625, 'best_epoch': 8}
    return [
        Row('base', 'base', [], 1_500_000, log, scores),
        Row('other', 'other', ["a: '|' -> 1", '+ b: 2'], 2_000_000, {}, {}),
    ]


def test_markdown(tmp_path):
    figure = tmp_path / 'loss.png'
    path = write_comparison(rows(), tmp_path, [figure], samples=7)[0]
    header, rule, base, other, *rest = path.read_text().splitlines()[2:]
    assert len({line.replace('\\|', '').count('|') for line in (header, rule, base, other)}) == 1
    interval = '0.250 [0.125, 0.500]'
    assert base == f'| base | 1.50 | 0.5 | 0.0625 | 8 | {interval} | {interval} | {interval} | baseline |'
    assert other == "| other | 2.00 | – | – | – | – | – | – | `a: '\\|' -> 1`<br>`+ b: 2` |"
    assert '![loss](loss.png)' in rest and '7 bootstrap samples' in '\n'.join(rest) and 'seeds' not in '\n'.join(rest)


def test_csv_reads_back(tmp_path):
    path = write_comparison(rows(), tmp_path, [], samples=7)[1]
    with path.open(newline='') as file:
        base, other = csv.DictReader(file)
    assert (base['run'], base['parameters'], base['AP50_low'], base['differs']) == ('base', '1500000', '0.125', '')
    assert other['differs'].splitlines() == ["a: '|' -> 1", '+ b: 2'] and other['PQ'] == other['best_epoch'] == ''


def test_several_seeds(tmp_path):
    both = [
        Row(f'base_seed{seed}', 'base', [], 1, {}, {name: Interval(value, 0, 1) for name in ('mAP', 'AP50', 'PQ')})
        for seed, value in enumerate((0.25, 0.75))
    ]
    lines = write_comparison([*both, rows()[1]], tmp_path, [], samples=7)[0].read_text().splitlines()
    spread = f'0.500 ± {math.sqrt(0.125):.3f}'
    assert f'| base (n = 2) | {spread} | {spread} | {spread} |' in lines
    assert '| other (n = 0) | – | – | – |' in lines
