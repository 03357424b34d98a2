"""A checkpoint that is a trap: no tool may run what is in it, wherever it lies."""

from __future__ import annotations

import functools
import pickle
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mmcell.config import load_config
from mmcell.errors import InputError
from mmcell.io.checkpoints import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/demo/mask_rcnn_synthetic.py'


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def save_by_pickle(content: dict, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path, monkeypatch):
    """The address of a folder on a server."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


@pytest.fixture(params=['torch', 'pickle', 'http'])
def trap(request, tmp_path, address, monkeypatch):
    """A checkpoint and the file that it makes when it is unpickled; it is shown to do so first."""
    sprung, path = tmp_path / 'sprung', tmp_path / 'trap.pth'
    save = save_by_pickle if request.param == 'pickle' else torch.save
    save({'state_dict': {'weight': torch.zeros(1)}, 'meta': Trap(sprung)}, path)
    if save is save_by_pickle:
        pickle.loads(path.read_bytes())
    else:
        with monkeypatch.context() as context:
            context.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
            torch.load(path, weights_only=False)
    assert sprung.exists()
    sprung.unlink()
    return f'{address}/trap.pth' if request.param == 'http' else path, sprung


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
    name = 'model.backbone.init_cfg'
    assert load_config(CONFIG).model.backbone.init_cfg is None
    options = (f'{name}._delete_=True', f'{name}.type=Pretrained', f'{name}.checkpoint={path}')
    check(tool('train', CONFIG, '--work-dir', tmp_path / 'work', '--cfg-options', *options), sprung)


@pytest.mark.parametrize('part', ['model.neck', 'model'])
def test_pretrained_parts(tool, tmp_path, data, part):
    torch.save({'x': Trap(tmp_path / 'sprung')}, tmp_path / 'trap.pth')
    options = (f'{part}.init_cfg.type=Pretrained', f'{part}.init_cfg.checkpoint={tmp_path / "trap.pth"}')
    check(tool('train', CONFIG, '--work-dir', tmp_path / 'work', '--cfg-options', *options), tmp_path / 'sprung')


def test_mmengine_and_torch_run_nothing_either(tmp_path, address):
    """What a run loads without checks, such as a teacher, and what other packages load in our processes."""
    torch.save({'x': Trap(tmp_path / 'sprung')}, path := tmp_path / 'trap.pth')
    for each in (path, path.as_uri(), f'{address}/trap.pth'):
        with pytest.raises(InputError, match=r'trap\.pth: .*, as programs do'):
            CheckpointLoader.load_checkpoint(str(each), 'cpu')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=False)
    with pytest.raises(pickle.UnpicklingError):
        torch.hub.load_state_dict_from_url(f'{address}/trap.pth')
    assert not (tmp_path / 'sprung').exists()


def test_a_config_in_a_checkpoint_is_left_out(tmp_path):
    """mmengine runs `meta['config']` when it resumes."""
    torch.save({'state_dict': {}, 'meta': {'epoch': 1, 'config': 'import os'}}, tmp_path / 'a.pth')
    assert load_checkpoint(tmp_path / 'a.pth')['meta'] == {'epoch': 1}
