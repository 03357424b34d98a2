"""The tools on a small data set: a step of training, a test run, a submission."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from mmcell.coco.submission import validate_submission
from mmcell.coco.threshold import recorded_threshold
from mmcell.engine.bfloat16 import has_bfloat16
from mmcell.io.checkpoints import load_checkpoint
from mmcell.io.files import locked, read_json
from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
# What is over experiment 2 is in test_ablation_configs.py.
EXPERIMENTS = sorted(
    path.stem
    for path in (ROOT / 'configs/cell').glob('mask_rcnn*.py')
    if not path.stem.startswith(('mask_rcnn_aug_', 'mask_rcnn_strong'))
)
#: Small enough for a CPU: two images of 64 px, enlarged less, few masks, no worker processes, one checkpoint.
TINY = (
    'train_cfg.max_epochs=1',
    'train_dataloader.dataset.indices=1',
    *(
        f'{loader}.{setting}'
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        for setting in ('num_workers=0', 'persistent_workers=False')
    ),
    'train_dataloader.dataset.pipeline.3.scale=(96,96)',
    'val_dataloader.dataset.pipeline.2.scale=(96,96)',
    'test_dataloader.dataset.pipeline.2.scale=(96,96)',
    'default_hooks.checkpoint.save_best=None',
    'default_hooks.checkpoint.save_optimizer=False',
    'model.test_cfg.rpn.max_per_img=50',
    'model.test_cfg.rcnn.max_per_img=20',
)


@pytest.fixture
def data(tmp_path, monkeypatch, tool) -> Path:
    write_class_tiff(tmp_path / 'source', num_images=5, size=(64, 64), num_cells=6, num_test_images=2)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    return tmp_path / 'data'


def check_experiment(name: str, data: Path, weights: Path, tmp_path: Path, tool) -> None:
    config, work = ROOT / 'configs/cell' / f'{name}.py', tmp_path / 'work'
    options = ('--cfg-options', *TINY, f'model.backbone.init_cfg.checkpoint={weights}')
    outcome = tool('train', config, '--work-dir', work, *options)
    # A ResNet's classifier and the weights of CBAM are worth a warning.
    assert outcome.status == 0 and (outcome.out + outcome.err).count('warning: ') <= 1
    # The terminal has what a user reads, the log file all of it.
    assert 'epoch 1 of 1: validated, mAP @1000 0.' in outcome.out and '\nclass ' in outcome.out
    assert f'next: python tools/test.py {config} {work / "epoch_1.pth"}\n' in outcome.out
    assert len(outcome.out.splitlines()) < 20
    assert len(next(work.glob('*/*.log')).read_text().splitlines()) > 300
    log = next(work.glob('*/vis_data/scalars.json')).read_text()
    assert '"loss_mask"' in log and '"segm/AP50_1000"' in log and list(work.glob('*/vis_data/events.out.tfevents*'))

    outcome = tool('test', config, work / 'epoch_1.pth', '--format-only', '--out', tmp_path / 'out', *options)
    assert outcome.status == 0
    for suffix in ('json', 'zip'):
        validate_submission(tmp_path / 'out' / f'test-results.{suffix}', data / 'annotations/test.json')

    show = ('--show-dir', tmp_path / 'pictures')
    outcome = tool('test', config, work / 'epoch_1.pth', '--out', tmp_path / 'val', *show, *options)
    assert outcome.status == 0
    written = json.loads((tmp_path / 'val/metrics.json').read_text())
    assert written['split'] == 'val' and 0 <= written['metrics']['segm/AP50_1000'] <= 1
    # What val found travels: in the checkpoint of before that validation, beside the results, to the pictures.
    threshold = written['score_thr']
    assert threshold == written['metrics']['cell/score_thr']
    assert load_checkpoint(work / 'epoch_1.pth')['meta']['score_thr'] == pytest.approx(threshold)
    assert recorded_threshold(tmp_path / 'val/val-results.json') == threshold
    assert recorded_threshold(tmp_path / 'out/test-results.json') == pytest.approx(threshold)
    assert f'score threshold {threshold:g}, recorded with the model' in outcome.out and '\nall ' in outcome.out
    assert len(list((tmp_path / 'pictures').iterdir())) == len(read_json(data / 'annotations/val.json')['images'])
    validate_submission(tmp_path / 'val/val-results.json', data / 'annotations/val.json')


def test_one_experiment(data, resnet50_checkpoint, tmp_path, tool):
    check_experiment('mask_rcnn_cbam_aug', data, resnet50_checkpoint, tmp_path, tool)


@pytest.mark.slow
@pytest.mark.parametrize('name', EXPERIMENTS)
def test_every_experiment(name, data, resnet50_checkpoint, tmp_path, tool):
    check_experiment(name, data, resnet50_checkpoint, tmp_path, tool)


def only_line(outcome) -> str:
    assert outcome.status == 2 and outcome.out == '' and outcome.err.count('\n') == 1, outcome
    return outcome.err


def test_bad_arguments(data, tmp_path, tool):
    config = ROOT / 'configs/cell/mask_rcnn.py'
    assert 'nowhere.py: does not exist' in only_line(tool('train', 'nowhere.py'))
    assert "'modle' is not KEY=VALUE" in only_line(tool('train', config, '--cfg-options', 'modle'))
    assert "unknown setting 'modle'" in only_line(tool('train', config, '--cfg-options', 'modle.x=1'))
    scratch = ('--cfg-options', 'model.backbone.init_cfg=None')
    if not torch.cuda.is_available() and not has_bfloat16():
        assert 'needs an accelerator' in only_line(tool('train', config, '--amp', *scratch))
    assert 'none.pth: is not a checkpoint' in only_line(tool('train', config, '--resume', 'none.pth'))
    weights = tmp_path / 'none.pth'
    options = ('--cfg-options', f'model.backbone.init_cfg.checkpoint={weights}')
    assert f'{weights}: is not a checkpoint file' in only_line(tool('train', config, *options))
    assert 'none.pth: is not a checkpoint' in only_line(tool('test', config, 'none.pth'))
    torch.save({'state_dict': {}}, weights := tmp_path / 'cut.pth')
    weights.write_bytes(weights.read_bytes()[:-30])
    assert 'cut.pth: is not a checkpoint, or is cut off' in only_line(tool('test', config, weights))
    assert 'nowhere.py: does not exist' in only_line(tool('diff', config, 'nowhere.py'))
    assert 'the following arguments are required' in only_line(tool('diff', config))


def test_missing_data(tmp_path, monkeypatch, tool):
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'nothing'))
    torch.save({}, tmp_path / 'weights.pth')
    outcome = tool('test', ROOT / 'configs/cell/mask_rcnn.py', tmp_path / 'weights.pth', '--format-only')
    missing, weights = outcome.err.splitlines()
    assert outcome.status == 2 and outcome.out == ''
    assert 'annotations/test.json: cannot be read' in missing and 'weights.pth: holds no weights' in weights


@pytest.mark.parametrize('workers', [0, 1])
def test_broken_image_in_a_run(data, tmp_path, tool, workers):
    for path in data.glob('images/train/*/image.tif'):
        path.write_bytes(path.read_bytes()[:200])
    outcome = tool(
        'train',
        ROOT / 'configs/demo/mask_rcnn_synthetic.py',
        *('--work-dir', tmp_path / 'work', '--skip-checks', '--cfg-options'),
        *(f'train_dataloader.{setting}' for setting in (f'num_workers={workers}', 'persistent_workers=False')),
    )
    errors = [line for line in outcome.err.splitlines() if line.startswith('error: ')]
    assert outcome.status == 2 and len(errors) == 1 and 'Traceback' not in outcome.err
    assert 'image.tif' in errors[0] and 'restore it' in errors[0]


@pytest.mark.parametrize('name', ['test', 'train'])
def test_one_run_a_folder(data, tmp_path, tool, name):
    config, work = ROOT / 'configs/demo/mask_rcnn_synthetic.py', tmp_path / 'work'
    torch.save({}, tmp_path / 'weights.pth')
    calls = {
        'test': ('test', config, tmp_path / 'weights.pth', '--out', work, '--skip-checks'),
        'train': ('train', config, '--work-dir', work, '--skip-checks'),
    }
    reader, writer = os.pipe()
    if not (holder := os.fork()):
        with locked(work / ('.test.lock' if name == 'test' else '.training.lock')):
            os.write(writer, b'x')
            signal.pause()
    os.read(reader, 1)
    before = sorted(work.rglob('*'))
    try:
        outcome = tool(*calls[name])
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    line = outcome.err
    assert outcome.status == 2 and line.count('\n') == 1 and f'(process {holder} on ' in line, outcome
    assert 'work: another ' in line and sorted(work.rglob('*')) == before


def test_scoring_without_truth(data, tmp_path, tool):
    torch.save({}, tmp_path / 'weights.pth')
    outcome = tool('test', ROOT / 'configs/cell/mask_rcnn.py', tmp_path / 'weights.pth', '--split', 'test')
    assert 'add --format-only' in only_line(outcome)


@pytest.mark.parametrize('name', sorted(path.stem for path in (ROOT / 'tools').glob('*.py')))
def test_help_shows_an_example(name, tool):
    outcome = tool(name, '--help')
    assert outcome.status == 0 and f'python tools/{name}.py' in outcome.out.split('example:')[1]


DEADLY = f"""
_base_ = '{ROOT / 'configs/demo/mask_rcnn_synthetic.py'}'
custom_imports = dict(imports=['mmcell', 'deadly'])
_pipeline = [*_base_.train_dataloader.dataset.pipeline[:2], dict(type='Deadly')]
train_dataloader = dict(num_workers=1, persistent_workers=False, dataset=dict(pipeline=_pipeline))
"""
TRANSFORM = """
import os
import signal

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module(force=True)
class Deadly(BaseTransform):
    def transform(self, results):
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
"""


def test_a_data_worker_that_dies_is_named_with_its_image(data, tmp_path, monkeypatch, tool):
    (tmp_path / 'deadly.py').write_text(TRANSFORM)
    (tmp_path / 'config.py').write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    outcome = tool('train', tmp_path / 'config.py', '--work-dir', tmp_path / 'work')
    errors = [line for line in outcome.err.splitlines() if line.startswith('error: ')]
    assert outcome.status == 2 and len(errors) == 1 and 'Traceback' not in outcome.err
    assert 'image.tif: a data worker was killed while it loaded this; free memory' in errors[0]
