"""A training that starts from a model by its name, without the ImageNet weights that its config names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmcell.config import load_config
from mmcell.io import shipped
from mmcell.io.checkpoints import load_checkpoint, save_safetensors

CONFIG = Path(__file__).resolve().parents[2] / 'configs/models/consep.py'
HEADS = [f'model.detector.detector.roi_head.{head}_head.num_classes=2' for head in ('bbox', 'mask')]


@pytest.mark.slow
def test_two_classes_from_a_model_of_four(tmp_path, tool, monkeypatch):
    monkeypatch.setattr(shipped, 'WEIGHTS', tmp_path / 'weights')
    init_default_scope('mmdet')
    torch.manual_seed(0)
    state = {name: value.half() for name, value in MODELS.build(load_config(CONFIG).model).state_dict().items()}
    path = tmp_path / 'weights/consep.safetensors'
    save_safetensors(path, state, {'dataset_meta': {'classes': ['a', 'b', 'c', 'd']}})
    (path.parent / shipped.SUMS).write_text(f'{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n')
    source, data = tmp_path / 'source', tmp_path / 'data'
    assert tool('synthesize', '--out', source, '--images', 6, '--size', 96, 96, '--cells', 6).status == 0
    for folder in (source / 'train').iterdir():
        for number in (3, 4):
            (folder / f'class{number}.tif').unlink(missing_ok=True)
    assert tool('convert', 'class_tiff', source, '--out', data, '--classes', 'one', 'two').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(data))
    monkeypatch.chdir(tmp_path)  # no ImageNet weights here
    options = [
        'load_from=consep',
        'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=0',
        'optim_wrapper.optimizer.lr=1e-20',  # 0 is refused
    ]
    options += ['train_dataloader.persistent_workers=False', 'train_dataloader.dataset.ann_file=annotations/train.json']
    outcome = tool('train', CONFIG, '--work-dir', tmp_path / 'run', '--cfg-options', *options, *HEADS)
    assert outcome.status == 0, outcome.err
    assert 'warning: consep: 2 of ' in outcome.err and 'bbox_head.fc_cls.weight' in outcome.err
    trained = load_checkpoint(tmp_path / 'run/epoch_1.pth')['state_dict']
    anew = {name for name, value in trained.items() if value.shape != state[name].shape}
    assert {name.rpartition('bbox_head.')[2] for name in anew} == {'fc_cls.weight', 'fc_cls.bias'}
    for name, value in trained.items():
        if name not in anew and 'running' not in name and 'num_batches' not in name:
            torch.testing.assert_close(value, state[name].float(), rtol=0, atol=1e-15)
