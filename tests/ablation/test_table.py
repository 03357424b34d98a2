"""The table over folds, from what training and testing leave in each run's folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from mmcell.ablation.runs import Experiment, list_experiments
from mmcell.ablation.table import compare
from mmcell.evaluation import evaluate_coco
from mmcell.io.checkpoints import fingerprint
from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / 'configs/demo/mask_rcnn_synthetic.py')
LENGTH = ('train_cfg.max_epochs=1',)


@pytest.fixture
def experiments(tmp_path, tool, monkeypatch) -> list[Experiment]:
    """Two configs on two folds of five images, none of them trained."""
    write_class_tiff(tmp_path / 'source', num_images=5, size=(64, 64), num_cells=8, num_test_images=1)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data', '--folds', 2).status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    other = tmp_path / 'other.py'
    other.write_text(f"_base_ = '{DEMO}'\noptim_wrapper = dict(optimizer=dict(lr=0.5))\n")
    return list_experiments([DEMO, str(other)], tmp_path / 'work', seeds=(1,), options=LENGTH, folds=True)


def finish(experiment: Experiment, tmp_path: Path, kept: slice) -> None:
    """As if it were trained and had found these of the cells of its val images."""
    (experiment.folder / 'test').mkdir(parents=True)
    torch.save({'state_dict': {}}, path := experiment.folder / 'epoch_1.pth')
    truth = json.loads((tmp_path / f'data/annotations/fold{experiment.fold}_val.json').read_text())
    results = [{**cell, 'score': 0.5 + index / 1000} for index, cell in enumerate(truth['annotations'][kept])]
    (experiment.folder / 'test/val-results.json').write_text(json.dumps(results))
    record = {'checkpoint': 'epoch_1.pth', 'fingerprint': fingerprint(path), 'metrics': {}}
    (experiment.folder / 'test/metrics.json').write_text(json.dumps(record))


def test_folds_are_one_set_of_images(experiments, tmp_path):
    first, second, third, fourth = experiments
    work = tmp_path / 'work'
    for experiment in (first, second):
        finish(experiment, tmp_path, slice(0, None, 2))
    finish(third, tmp_path, slice(None))

    # The second config has a fold to go: what it has is no result over all images.
    assert work / 'other_seed1-results.json' not in compare(experiments, work, samples=5)
    assert read_table(work)['other_seed1']['AP50'] == ''

    finish(fourth, tmp_path, slice(None))
    written = compare(experiments, work, samples=5)
    rows = read_table(work)
    assert list(rows) == [*(each.name for each in experiments), 'mask_rcnn_synthetic_seed1', 'other_seed1']
    assert float(rows['other_seed1']['AP50']) == float(rows['other_seed1']['PQ']) == 1
    assert rows['other_seed1']['differs'] == 'optim_wrapper.optimizer.lr: 0.001 -> 0.5'

    # What all folds found, beside the annotation file of all images.
    path = work / 'mask_rcnn_synthetic_seed1-results.json'
    assert path in written
    scores = evaluate_coco(tmp_path / 'data/annotations/trainval.json', json.loads(path.read_text())).as_dict()
    row = rows['mask_rcnn_synthetic_seed1']
    assert float(row['AP50']) == pytest.approx(scores['AP50_1000'], abs=1e-12)
    assert float(row['mAP']) == pytest.approx(scores['mAP_1000'], abs=1e-12)
    assert 0 < scores['AP50_1000'] < 1
    assert float(rows['other_seed1']['AP50_gain']) == pytest.approx(1 - scores['AP50_1000'], abs=1e-12)


def read_table(work: Path) -> dict[str, dict[str, str]]:
    with (work / 'ablation.csv').open(newline='') as file:
        return {row['run']: row for row in csv.DictReader(file)}
