"""Checkpoints that would keep torch busy for hours are refused at once; what trainings write is not."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmcell.errors import InputError
from mmcell.io import pickles
from mmcell.io.checkpoints import load_checkpoint
from mmcell.io.pickles import check_pickle

LIST, SAME, END = b']', b'h\x00', b'.'


def save(path: Path, data: bytes, is_zip: bool) -> Path:
    """A checkpoint as torch writes it, of old or of new, with these bytes for its pickle."""
    if not is_zip:
        path.write_bytes(b''.join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {})) + data)
        return path
    whole = io.BytesIO()
    torch.save({}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, 'w') as target:
        for name in source.namelist():
            target.writestr(name, data if name.endswith('.pkl') else source.read(name))
    return path


def twice(levels: int) -> bytes:
    """A list that holds a list twice, which holds a list twice, …, each finished before it is held."""
    made = b']q\x00'
    for level in range(levels):
        made = made + b'h' + bytes([level]) + b'\x86q' + bytes([level + 1])
    return made


BUSY = {
    'a name of 100,000 letters': b'\x80\x02c' + b'c' * 100_000 + b'\nx\n.',
    'a call of a text of 100,000 letters': b'\x80\x02X' + (100_000).to_bytes(4, 'little') + b'c' * 100_000 + b')R.',
    'an object of a text': b'\x80\x02X' + (100_000).to_bytes(4, 'little') + b'c' * 100_000 + b')\x81.',
    'pairs of pairs': b'\x80\x02' + twice(60) + END,
    'a call of pairs of pairs': b'\x80\x02' + twice(30) + b')R.',
    'pairs of pairs as a key': b'\x80\x02}' + twice(23) + b'Ns.',
    'lists that are filled once they are held': b'\x80\x02]q\x00]q\x01h\x00ah\x00ah\x00h\x01a.',
    'a text encoded by a slow codec': b'\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x08\x00\x00\x00punycode\x86R.',
    'too deep': b'\x80\x02' + b']' * 200 + b'a' * 199 + END,
    'cut off': b'\x80\x02]q\x00',
    'a stack without anything': b'\x80\x02a.',
}


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('data', BUSY.values(), ids=BUSY)
def test_what_keeps_busy_is_refused(tmp_path, data, is_zip):
    with pytest.raises(ValueError):
        check_pickle(io.BytesIO(data))
    path = save(tmp_path / 'a.pth', data, is_zip)
    with pytest.raises(InputError) as error:
        load_checkpoint(path)
    assert str(error.value).startswith(f'{path}: ') and len(str(error.value)) < 300 + len(str(path))


def test_limits(monkeypatch):
    monkeypatch.setattr(pickles, 'MAX_OPCODES', 1000)
    with pytest.raises(ValueError, match='over 1000 steps'):
        check_pickle(io.BytesIO(pickle.dumps(list(range(2000)), 2)))
    monkeypatch.setattr(pickles, 'MAX_WORK', 50)
    with pytest.raises(ValueError, match='over 50 parts'):
        check_pickle(io.BytesIO(pickle.dumps([set(range(40)), set(range(40))], 2)))


def test_what_is_packed_is_a_bomb(tmp_path):
    path = save(tmp_path / 'a.pth', pickle.dumps({'x': 'y' * 10**6}, 2), True)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed := tmp_path / 'b.pth', 'w', 8) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(InputError, match='is not a checkpoint'):
        load_checkpoint(packed)


@pytest.mark.parametrize('is_zip', [True, False])
def test_what_trainings_write_passes(tmp_path, is_zip):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    shared = ['a'] * 5
    content = {
        'state_dict': model.state_dict(),
        'optimizer': optimizer.state_dict(),
        'message_hub': {'log_scalars': OrderedDict(loss=HistoryBuffer(np.arange(5000.0), np.ones(5000, int)))},
        'meta': {'seed': np.int64(3), 'same': [shared, shared], 'cfg': 'x' * 10**5, 'big': 2**70, 'time': 1.5},
        'param_schedulers': [{'by_epoch': False, 'base_values': [1e-3], 'steps': (1, 2, 3, 4)}],
    }
    path = tmp_path / 'a.pth'
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded['state_dict']['0.weight'], model[0].weight)
    assert (
        loaded['meta'] == content['meta']
        and loaded['optimizer']['param_groups'] == content['optimizer']['param_groups']
    )


@pytest.mark.parametrize('length', [1, 128, 640, 2**15 + 128])
def test_numbers_of_the_old_format_are_no_pickle(tmp_path, length):
    """Behind the last pickle stands the length of the first storage: 128 begins as a pickle does."""
    torch.save({'a': torch.arange(length)}, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    assert torch.equal(load_checkpoint(tmp_path / 'a.pth')['a'], torch.arange(length))
