"""Tiles and test-time augmentation through the tools: one config, a valid submission."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmcell.config import load_config
from mmcell.submission import validate_submission
from mmcell.synthetic import write_class_tiff

DEMO = Path(__file__).resolve().parents[2] / 'configs/demo/mask_rcnn_synthetic.py'
CONFIG = f"""
_base_ = '{DEMO}'
_views = dict(type='CellTTA', detector=_base_.model, mirror=(False,), turns=(0, 1))
model = dict(_delete_=True, type='TiledDetector', detector=_views, tile=48, overlap=24, scale=1.5)
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""


def test_a_submission_of_tiles_and_views(tmp_path, monkeypatch, tool):
    write_class_tiff(tmp_path / 'source', num_images=3, size=(64, 64), num_cells=6, num_test_images=2)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    # The checkpoint is that of the plain detector.
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        torch.save({'state_dict': MODELS.build(load_config(DEMO).model).state_dict()}, tmp_path / 'weights.pth')
    (tmp_path / 'tiled_views.py').write_text(CONFIG)
    files = tmp_path / 'tiled_views.py', tmp_path / 'weights.pth', '--out', tmp_path / 'out'
    few = ('--cfg-options', 'model.detector.detector.test_cfg.rcnn.max_per_img=10')
    outcome = tool('test', *files, '--format-only', *few)
    assert outcome.status == 0, outcome.err
    for suffix in ('json', 'zip'):
        validate_submission(tmp_path / f'out/test-results.{suffix}', tmp_path / 'data/annotations/test.json')
    assert len(json.loads((tmp_path / 'out/test-results.json').read_text())) > 10
