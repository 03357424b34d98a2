"""Tiles and test-time augmentation through the tools: one config, a valid submission."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmcell.config import load_config
from mmcell.submission import validate_submission
from mmcell.synthetic import write_class_tiff

DEMO = Path(__file__).resolve().parents[2] / 'configs/demo/mask_rcnn_synthetic.py'
TILED = f"""
_base_ = '{DEMO}'
_base_.model.test_cfg.rcnn.max_per_img = 10
_views = dict(type='CellTTA', detector=_base_.model, mirror=(False,), turns=(0, 1))
model = dict(_delete_=True, type='TiledDetector', detector=_views, tile=48, overlap=24, scale=1.5)
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""
#: Two folds, the second one's weights named in the config, each of two scales, tiled, from two views.
FUSED = """
_base_ = './tiled.py'
_scales = dict(type='EnsembleDetector', detectors=[_base_.model, dict(_base_.model, scale=1.0)])
model = dict(_delete_=True, type='EnsembleDetector', detectors=[_scales, _scales], checkpoints=[None, 'fold1.pth'])
"""


@pytest.fixture
def work(tmp_path, monkeypatch, tool):
    """A folder with a converted data set, the weights of two folds of the plain detector, and the configs."""
    write_class_tiff(tmp_path / 'source', num_images=3, size=(64, 64), num_cells=6, num_test_images=2)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    monkeypatch.chdir(tmp_path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        for fold in range(2):
            torch.manual_seed(fold)
            torch.save({'state_dict': MODELS.build(load_config(DEMO).model).state_dict()}, f'fold{fold}.pth')
    Path('tiled.py').write_text(TILED)
    Path('fused.py').write_text(FUSED)
    return tmp_path


@pytest.mark.parametrize('config', ['tiled.py', 'fused.py'])
def test_a_submission_of_tiles_views_and_folds(work, tool, config):
    outcome = tool('test', config, 'fold0.pth', '--format-only', '--out', 'out')
    assert outcome.status == 0, outcome.err
    for suffix in ('json', 'zip'):
        validate_submission(f'out/test-results.{suffix}', 'data/annotations/test.json')
    results = json.loads(Path('out/test-results.json').read_text())
    assert len(results) > 10
    if config == 'fused.py':
        # What one fold alone finds counts half; the tool that fuses files gives what the config gives.
        files = []
        for fold in range(2):
            Path('scales.py').write_text("_base_ = './fused.py'\nmodel = dict(checkpoints=[None, None])")
            assert tool('test', 'scales.py', f'fold{fold}.pth', '--format-only', '--out', f'out{fold}').status == 0
            files.append(f'out{fold}/test-results.json')
        images = ('--images', 'data/annotations/test.json', '--format-only')
        assert tool('fuse', *files, *images, '--out', 'fused').status == 0
        by_tool = json.loads(Path('fused/test-results.json').read_text())
        assert [each['segmentation'] for each in by_tool] == [each['segmentation'] for each in results]
        np.testing.assert_allclose([each['score'] for each in by_tool], [each['score'] for each in results], atol=1e-6)


def test_a_missing_fold_is_named(work, tool):
    Path('fold1.pth').unlink()
    outcome = tool('test', 'fused.py', 'fold0.pth', '--format-only', '--out', 'out')
    assert outcome.status == 2 and not Path('out/test-results.json').exists()
    assert outcome.err.splitlines()[-1].startswith('error: fold1.pth: is not a checkpoint file')
