"""Predicting on images without a data set: which images, which weights, which names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmcell.config import load_config
from mmcell.engine.inference import find_images, load_model
from mmcell.errors import InputError, InputErrors

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def config():
    return load_config(ROOT / 'configs/demo/mask_rcnn_synthetic.py')


def test_images_of_folders_and_files(tmp_path):
    wanted = ('b.tif', 'sub/deep/a.PNG', 'sub/c.jpeg', 'odd.name')
    for name in (*wanted, 'notes.txt', '.hidden.tif', 'out/overlays/b.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sources = [tmp_path, tmp_path / 'b.tif', tmp_path / 'odd.name', tmp_path / 'sub']
    assert find_images(sources, skip=tmp_path / 'out') == sorted(tmp_path / name for name in wanted)


def test_images_are_found_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / 'in/out').mkdir(parents=True)
    (tmp_path / 'in/a.tif').touch()
    (tmp_path / 'in/out/a.png').touch()
    monkeypatch.chdir(tmp_path)
    assert find_images(['in'], skip=Path('in/out')) == [tmp_path / 'in/a.tif']


def test_every_missing_source_is_named(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputErrors, match=r'nowhere.tif: does not exist(.|\n)*empty: holds no image'):
        find_images([tmp_path / 'nowhere.tif', tmp_path / 'empty'], skip=tmp_path)


def save(model: torch.nn.Module, path: Path, **meta) -> Path:
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


def test_weights_and_class_names(config, tmp_path):
    from mmdet.registry import MODELS

    torch.manual_seed(1)
    trained = MODELS.build(config.model)
    model, classes = load_model(config, save(trained, tmp_path / 'a.pth'), 'cpu')
    assert classes == ('epithelial', 'lymphocyte', 'neutrophil', 'macrophage') and not model.training
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in trained.state_dict().items())

    names = ('a', 'b', 'c', 'd')
    assert load_model(config, save(trained, tmp_path / 'b.pth', dataset_meta={'classes': names}), 'cpu')[1] == names


def test_unfit_checkpoints(config, tmp_path):
    with pytest.raises(InputError, match='is not a checkpoint file'):
        load_model(config, tmp_path / 'nowhere.pth')
    (tmp_path / 'text.pth').write_bytes(b'no checkpoint')
    with pytest.raises(InputError, match='is not a checkpoint, or is cut off'):
        load_model(config, tmp_path / 'text.pth')
    (tmp_path / 'broken.pth').write_bytes(b'\x80 begins like an old checkpoint')
    with pytest.raises(InputError, match='is not a checkpoint, or is broken'):
        load_model(config, tmp_path / 'broken.pth')
    with pytest.raises(InputError, match='does not fit the model of'):
        load_model(config, save(torch.nn.Linear(1, 1), tmp_path / 'other.pth'))


def test_absent_device(config, tmp_path):
    from mmdet.registry import MODELS

    path = save(MODELS.build(config.model), tmp_path / 'a.pth')
    for device in ('cuda:99', 'toaster'):
        with pytest.raises(InputError, match='--device'):
            load_model(config, path, device)
