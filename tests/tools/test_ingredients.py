"""Every change over experiment 2, at small size, on synthetic cells: two steps of training, then a submission."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcell.submission import validate_submission
from mmcell.synthetic import write_class_tiff

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
INGREDIENTS = sorted(path.stem for path in (CONFIGS / 'cell').glob('mask_rcnn_aug_*.py'))
OPTIONS = (
    'train_cfg.max_epochs=1',
    *(
        f'{loader}.{setting}'
        for loader in ('train_dataloader', 'test_dataloader')
        for setting in ('num_workers=0', 'persistent_workers=False')
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize('name', INGREDIENTS)
def test_trains_and_submits(name, tmp_path, monkeypatch, tool):
    write_class_tiff(tmp_path / 'source', num_images=5, size=(96, 96), num_cells=12, num_test_images=2)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    monkeypatch.setenv('MMCELL_BASE', '../small/mask_rcnn_aug.py')
    config, options = CONFIGS / 'cell' / f'{name}.py', ('--cfg-options', *OPTIONS)
    outcome = tool('train', config, '--work-dir', tmp_path / 'work', *options)
    assert outcome.status == 0, outcome.err
    files = config, tmp_path / 'work/epoch_1.pth', '--out', tmp_path / 'out'
    outcome = tool('test', *files, '--format-only', *options)
    assert outcome.status == 0, outcome.err
    validate_submission(tmp_path / 'out/test-results.zip', tmp_path / 'data/annotations/test.json')
