"""tools/ablate.py with real trainings that are killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'configs/demo/mask_rcnn_synthetic.py'
EPOCHS = 6
#: Four images of 64 px, few cells, every epoch's checkpoint.
TINY = (
    f'train_cfg.max_epochs={EPOCHS}',
    'train_cfg.val_interval=2',
    'train_dataloader.batch_size=2',
    *(
        f'{loader}.{setting}'
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        for setting in ('num_workers=0', 'persistent_workers=False')
    ),
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=3',
    'model.test_cfg.rcnn.max_per_img=20',
)


@pytest.fixture
def data(tmp_path, monkeypatch, tool) -> None:
    write_class_tiff(tmp_path / 'source', num_images=5, size=(64, 64), num_cells=6, num_test_images=1)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))


@pytest.fixture
def configs(tmp_path) -> list[Path]:
    """A baseline, one that cannot be trained, and CBAM."""
    changes = {
        'plain': '',
        'broken': "train_dataloader = dict(dataset=dict(ann_file='annotations/nowhere.json'))",
        'cbam': "model = dict(backbone=dict(type='CBAMResNet'))",
    }
    paths = [tmp_path / f'{name}.py' for name in changes]
    for path, change in zip(paths, changes.values()):
        path.write_text(f"_base_ = '{DEMO}'\n{change}\n")
    return paths


def start(configs: list[Path], work: Path, log: Path, *more: str) -> subprocess.Popen:
    """In a process group of its own, so that all of it can be killed."""
    command = [sys.executable, ROOT / 'tools/ablate.py', *configs, '--work-dir', work, '--cfg-options', *TINY, *more]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(
        list(map(str, command)), env=environment, stdout=log.open('w'), stderr=subprocess.STDOUT, start_new_session=True
    )


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, f'ended before {path} was there'
        time.sleep(0.02)


def trained_epochs(folder: Path) -> list[list[int]]:
    """Epochs whose steps are in the log of each start."""
    logs = sorted(folder.glob('*/vis_data/scalars.json'))
    entries = [[json.loads(line) for line in log.read_text().splitlines()] for log in logs]
    return [sorted({entry['epoch'] for entry in log if 'loss' in entry}) for log in entries]


def read_table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline='') as file:
        return {row['run']: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_killed_and_called_again(data, configs, tmp_path):
    """One config crashes, the other is killed with all its processes; only what is missing is done afterwards."""
    work, log = tmp_path / 'work', tmp_path / 'log.txt'
    process = start(configs, work, log)
    wait_for(work / 'cbam/epoch_2.pth', process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in (work / 'plain').rglob('*') if path.is_file()}
    assert work / 'plain/test/metrics.json' in finished
    assert not (work / 'ablation.csv').exists()

    assert start(configs, work, log).wait() == 2
    said = log.read_text()
    assert f'error: {work}/broken: failed to' in said and 'Traceback' not in said
    assert 'plain: done' in said and '=== plain' not in said
    assert finished == {path: path.stat().st_mtime_ns for path in (work / 'plain').rglob('*') if path.is_file()}
    before, after = trained_epochs(work / 'cbam')
    # The epoch that was under way is all that is done twice.
    assert before[0] == 1 and after[-1] == EPOCHS and after[0] - before[-1] in (0, 1)
    assert trained_epochs(work / 'plain') == [list(range(1, EPOCHS + 1))]

    rows = read_table(work / 'ablation.csv')
    assert list(rows) == ['plain', 'broken', 'cbam']
    assert rows['plain']['differs'] == ''
    assert rows['cbam']['differs'] == "model.backbone.type: 'ResNet' -> 'CBAMResNet'"
    assert int(rows['cbam']['parameters']) > int(rows['plain']['parameters']) > 1e6
    for name in ('plain', 'cbam'):
        metrics = json.loads((work / name / 'test/metrics.json').read_text())['metrics']
        texts = {'run', 'config', 'differs', *(key for key in rows[name] if name == 'plain' and '_gain' in key)}
        row = {key: float(value) for key, value in rows[name].items() if key not in texts}
        assert row['mAP'] == pytest.approx(metrics['segm/mAP_1000'], abs=1e-12)
        assert row['AP50'] == pytest.approx(metrics['segm/AP50_1000'], abs=1e-12)
        assert row['step_seconds'] > 0 and row['lowest_loss'] > 0 and row['best_epoch'] in (2, 4, 6)
    assert rows['broken']['mAP'] == rows['broken']['lowest_loss'] == ''
    assert {path.name for path in work.glob('*.png')} >= {'loss.png', 'val_mAP.png', 'val_AP50.png'}
    assert 'val_AP50.png' in (work / 'ablation.md').read_text()


@pytest.mark.slow
def test_training_that_outlives_its_ablation(data, configs, tmp_path):
    """The ablation alone is killed: the next one waits for the training that is still going on, and uses it."""
    work, log = tmp_path / 'work', tmp_path / 'log.txt'
    # Long enough for the second call to start meanwhile.
    epochs = 16
    more = (f'train_cfg.max_epochs={epochs}', f'train_cfg.val_interval={epochs}')
    process = start(configs[:1], work, tmp_path / 'first.txt', *more)
    wait_for(work / 'plain/epoch_1.pth', process)
    process.kill()
    process.wait()
    assert start(configs[:1], work, log, *more).wait() == 0
    assert 'another run is active in this folder' in log.read_text()
    assert trained_epochs(work / 'plain') == [list(range(1, epochs + 1))]
    assert read_table(work / 'ablation.csv')['plain']['AP50']


@pytest.mark.slow
def test_folds(data, configs, tmp_path):
    """Two configs on two folds: each predicts the images it was not trained on, and the folds are scored as one."""
    work, log = tmp_path / 'work', tmp_path / 'log.txt'
    command = ['convert.py', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data', '--folds', '2']
    subprocess.run([sys.executable, ROOT / 'tools' / command[0], *command[1:], '--overwrite'], check=True)
    process = start([configs[0], configs[2], '--folds'], work, log, 'train_cfg.max_epochs=2')
    assert process.wait() == 0, log.read_text()
    rows = read_table(work / 'ablation.csv')
    assert list(rows) == ['plain_fold0', 'plain_fold1', 'cbam_fold0', 'cbam_fold1', 'plain', 'cbam']
    images = set()
    for fold in range(2):
        truth = json.loads((tmp_path / f'data/annotations/fold{fold}_val.json').read_text())
        ids = {image['id'] for image in truth['images']}
        results = json.loads((work / f'cbam_fold{fold}/test/val-results.json').read_text())
        assert {result['image_id'] for result in results} <= ids and not ids & images
        images |= ids
    assert len(images) == 5
    gain = float(rows['cbam']['AP50']) - float(rows['plain']['AP50'])
    assert float(rows['cbam']['AP50_gain']) == pytest.approx(gain, abs=1e-12) and rows['plain']['AP50_gain'] == ''
    assert 'all folds' in (work / 'ablation.md').read_text()


def test_dry_run(configs, tmp_path, tool):
    (tmp_path / 'work').mkdir()
    outcome = tool('ablate', *configs, '--work-dir', tmp_path / 'work', '--dry-run', '--cfg-options', *TINY)
    assert outcome.status == 0
    assert outcome.out.splitlines() == [f'{path.stem}: train {EPOCHS} epochs, then test' for path in configs]
    assert not list((tmp_path / 'work').iterdir())


def test_bad_arguments(tmp_path, tool):
    outcome = tool('ablate', tmp_path / 'nowhere.py', '--dry-run')
    assert outcome.status == 2 and outcome.err.count('\n') == 1 and 'nowhere.py: does not exist' in outcome.err
    outcome = tool('ablate', DEMO, '--dry-run', '--cfg-options', 'seed')
    assert outcome.status == 2 and "'seed' is not KEY=VALUE" in outcome.err
