"""The table of an ablation: numbers from files, and how they are written."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from mmcell.ablation.markdown import Row, score_runs, summarise_log, write_comparison
from mmcell.errors import InputError
from mmcell.evaluation import Interval, to_interval
from mmcell.report.scalars import Run


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
    scores = score_runs([dataset.truth], [path], samples=20)
    assert list(scores) == ['mAP', 'AP50', 'PQ']
    assert all(to_interval(values) == Interval(1, 1, 1) for values in scores.values())

    found = [cell for cell in cells if cell['image_id'] == 1]
    path.write_text(json.dumps(found))
    # PQ: hits of IoU 1 among hits and half of the misses.
    expected = len(found) / (len(found) + (len(cells) - len(found)) / 2)
    pq = to_interval(score_runs([dataset.truth], [path], samples=200)['PQ'])
    assert pq.value == pytest.approx(expected) and pq.low < expected < pq.high == 1


def test_folds_are_scored_as_one_set(dataset, tmp_path):
    """As the file that was split is, whatever the order of the folds."""
    truth, results = json.loads(dataset.truth.read_text()), dataset.results
    truths, found = [], []
    for image in reversed(truth['images']):
        truths.append(tmp_path / f'{image["id"]}.json')
        found.append(tmp_path / f'{image["id"]}-results.json')
        cells = [cell for cell in truth['annotations'] if cell['image_id'] == image['id']]
        truths[-1].write_text(json.dumps({**truth, 'images': [image], 'annotations': cells}))
        found[-1].write_text(json.dumps([each for each in results if each['image_id'] == image['id']]))
    assert len(truths) > 1
    whole, pooled = score_runs([dataset.truth], [dataset.results_path], 20), score_runs(truths, found, 20)
    for name in whole:
        np.testing.assert_allclose(pooled[name], whole[name], rtol=0, atol=1e-12)

    with pytest.raises(InputError, match='has the image id'):
        score_runs([*truths, truths[0]], found, 20)
    truths[1].write_text(json.dumps({**truth, 'categories': truth['categories'][:-1], 'annotations': []}))
    with pytest.raises(InputError, match=f'{truths[1]}: has other categories than {truths[0]}'):
        score_runs(truths, found, 20)
    found[0].write_text('{}')
    with pytest.raises(InputError, match=f'{found[0]}: is not a list of results'):
        score_runs(truths[:1], found[:1], 20)


def sampled(value: float, low: float, high: float) -> np.ndarray:
    """Values of that interval."""
    return np.array([value, *[low] * 20, *[high] * 20])


def rows() -> list[Row]:
    scores = {name: sampled(0.25, 0.125, 0.5) for name in ('mAP', 'AP50', 'PQ')}
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
    assert base == f'| base | 1.50 | 0.5 | 0.0625 | 8 | {interval} | {interval} | {interval} | – | baseline |'
    assert other == "| other | 2.00 | – | – | – | – | – | – | – | `a: '\\|' -> 1`<br>`+ b: 2` |"
    assert '![loss](loss.png)' in rest and '7 bootstrap samples' in '\n'.join(rest) and 'seeds' not in '\n'.join(rest)


def test_csv_reads_back(tmp_path):
    path = write_comparison(rows(), tmp_path, [], samples=7)[1]
    with path.open(newline='') as file:
        base, other = csv.DictReader(file)
    assert (base['run'], base['parameters'], base['AP50_low'], base['differs']) == ('base', '1500000', '0.125', '')
    assert other['differs'].splitlines() == ["a: '|' -> 1", '+ b: 2'] and other['PQ'] == other['best_epoch'] == ''


def test_several_seeds(tmp_path):
    both = [
        Row(f'base_seed{seed}', 'base', [], 1, {}, {name: sampled(value, 0, 1) for name in ('mAP', 'AP50', 'PQ')})
        for seed, value in enumerate((0.25, 0.75))
    ]
    lines = write_comparison([*both, rows()[1]], tmp_path, [], samples=7)[0].read_text().splitlines()
    spread = f'0.500 ± {math.sqrt(0.125):.3f}'
    assert f'| base (n = 2) | {spread} | {spread} | {spread} |' in lines
    assert '| other (n = 0) | – | – | – |' in lines


def test_gains_and_folds(tmp_path):
    """A gain is a difference sample by sample: certain here, though the intervals overlap."""
    base, _ = rows()
    better = {name: values + 0.0625 for name, values in base.scores.items()}
    other = Row('other', 'other', [], 1, {}, better, base.scores)
    markdown, table = write_comparison([base, other], tmp_path, [], samples=7, pooled=[base, other])
    text, gain = markdown.read_text(), '+0.062 [+0.062, +0.062]'
    interval = '0.312 [0.188, 0.562]'
    assert f'| other | 0.00 | – | – | – | {interval} | {interval} | {interval} | {gain} | baseline |' in text
    assert f'| other | {interval} | {interval} | {interval} | {gain} | {gain} | {gain} |' in text
    assert 'is predicted by the model that was not trained on it' in text
    with table.open(newline='') as file:
        _, run, _, pooled = csv.DictReader(file)
    for row in (run, pooled):
        assert [float(row[f'PQ_gain{suffix}']) for suffix in ('', '_low', '_high')] == [0.0625] * 3
    # Without folds there is no such table.
    assert 'all folds' not in write_comparison([base, other], tmp_path, [], samples=7)[0].read_text()
