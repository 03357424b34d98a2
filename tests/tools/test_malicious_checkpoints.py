"""A checkpoint that is a trap: no tool may run what is in it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from mmcell.config import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/demo/mask_rcnn_synthetic.py'


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def save_by_torch(content: dict, path: Path) -> None:
    torch.save(content, path)


def save_by_old_torch(content: dict, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_by_pickle(content: dict, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.fixture(params=[save_by_torch, save_by_old_torch, save_by_pickle])
def trap(request, tmp_path):
    """A checkpoint and the file that it makes when it is unpickled; it is shown to do so first."""
    sprung, path = tmp_path / 'sprung', tmp_path / 'trap.pth'
    request.param({'state_dict': {'weight': torch.zeros(1)}, 'meta': Trap(sprung)}, path)
    if request.param is save_by_pickle:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert sprung.exists()
    sprung.unlink()
    return path, sprung


def check(outcome, sprung) -> None:
    assert not sprung.exists()
    assert outcome.status == 2
    assert outcome.err.count('error: ') == 1 and 'trap.pth' in outcome.err and 'Traceback' not in outcome.err


def test_infer(tool, tmp_path, trap):
    path, sprung = trap
    tifffile.imwrite(tmp_path / 'image.tif', np.zeros((32, 32, 3), dtype=np.uint8))
    check(tool('infer', CONFIG, path, tmp_path / 'image.tif', '--out', tmp_path / 'out'), sprung)


@pytest.fixture
def data(class_tiff, tool, tmp_path, monkeypatch):
    assert tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'data', '--workers', 1).status == 0
    monkeypatch.setenv('MMCELL_DATA', f'{tmp_path / "data"}/')


def test_test(tool, tmp_path, data, trap):
    path, sprung = trap
    check(tool('test', CONFIG, path, '--out', tmp_path / 'out', '--format-only'), sprung)


def test_resume(tool, tmp_path, data, trap):
    path, sprung = trap
    check(tool('train', CONFIG, '--work-dir', tmp_path / 'work', '--resume', path), sprung)


def test_load_from(tool, tmp_path, data, trap):
    path, sprung = trap
    check(tool('train', CONFIG, '--work-dir', tmp_path / 'work', '--cfg-options', f'load_from={path}'), sprung)


def test_pretrained_backbone(tool, tmp_path, data, trap):
    path, sprung = trap
    options = ('model.backbone.init_cfg.type=Pretrained', f'model.backbone.init_cfg.checkpoint={path}')
    assert load_config(CONFIG).model.backbone.type
    check(tool('train', CONFIG, '--work-dir', tmp_path / 'work', '--cfg-options', *options), sprung)
