"""Every change over experiment 2, at small size, on synthetic cells: two steps of training, then a submission; and
what wraps a trained detector."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmcell.coco.submission import validate_submission
from mmcell.config import load_config
from mmcell.synthetic import write_class_tiff

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BASE = CONFIGS / 'small/mask_rcnn_aug.py'
#: They take a checkpoint of their base.
WRAPPED = tuple(f'mask_rcnn_aug_{name}' for name in ('tiled', 'tta', 'tiled_tta', 'tiled_tta_ensemble'))
ABLATIONS = [
    *sorted({path.stem for path in (CONFIGS / 'cell').glob('mask_rcnn_aug_*.py')} - {*WRAPPED, 'mask_rcnn_aug_fsdp'}),
    'mask_rcnn_strong',
]
OPTIONS = (
    'train_cfg.max_epochs=1',
    *(
        f'{loader}.{setting}'
        for loader in ('train_dataloader', 'test_dataloader')
        for setting in ('num_workers=0', 'persistent_workers=False')
    ),
)


@pytest.fixture
def data(tmp_path, monkeypatch, tool) -> Path:
    write_class_tiff(tmp_path / 'source', num_images=5, size=(96, 96), num_cells=12, num_test_images=2)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    return tmp_path / 'data'


@pytest.mark.slow
@pytest.mark.parametrize('name', ABLATIONS)
def test_trains_and_submits(name, data, tmp_path, tool):
    config, options = CONFIGS / 'cell' / f'{name}.py', ('--base', BASE, '--cfg-options', *OPTIONS)
    outcome = tool('train', config, '--work-dir', tmp_path / 'work', *options)
    assert outcome.status == 0, outcome.err
    files = config, tmp_path / 'work/epoch_1.pth', '--out', tmp_path / 'out'
    outcome = tool('test', *files, '--format-only', *options)
    assert outcome.status == 0, outcome.err
    validate_submission(tmp_path / 'out/test-results.zip', data / 'annotations/test.json')


@pytest.mark.slow
@pytest.mark.parametrize('name', WRAPPED)
def test_wraps_a_trained_detector(name, data, tmp_path, tool):
    checkpoint = tmp_path / 'plain.pth'
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        plain = MODELS.build(load_config(BASE).model)
    plain.roi_head.bbox_head.fc_cls.bias.data[-1] = 2.7  # mostly background: an untrained model sees cells everywhere
    torch.save({'state_dict': plain.state_dict()}, checkpoint)
    options = ('--base', BASE, '--cfg-options', *OPTIONS[-2:])
    outcome = tool('test', CONFIGS / 'cell' / f'{name}.py', checkpoint, '--format-only', '--out', tmp_path, *options)
    assert outcome.status == 0, outcome.err
    validate_submission(tmp_path / 'test-results.zip', data / 'annotations/test.json')
