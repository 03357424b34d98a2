"""What a checkpoint may hold: weights that a model can have, whole, and nothing that grows when it is read."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmcell.errors import InputError
from mmcell.io.checkpoints import check_values, load_checkpoint, load_weights, meta_of, weights_of


def save(path: Path, weight: torch.Tensor, name: str = 'a.weight') -> Path:
    torch.save({'state_dict': {name: weight}, 'meta': {'epoch': 1}}, path)
    return path


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf, 1j])
@pytest.mark.parametrize('kind', ['state_dict', 'ema_state_dict', 'bare', 'safetensors'])
def test_weights_that_find_nothing(tmp_path, value, kind):
    weights = {'a.weight': torch.tensor([1.0, value, 2.0])}
    path = tmp_path / ('a.safetensors' if kind == 'safetensors' else 'a.pth')
    if kind == 'safetensors':
        save_file(weights, path)
    else:
        torch.save(weights if kind == 'bare' else {'state_dict': {}, kind: weights}, path)
    with pytest.raises(InputError, match=f"holds 'a.weight', which is {'complex' if value == 1j else 'not finite'};"):
        load_checkpoint(path)
    # Names and shapes alone are read without a look at the numbers; who uses them, looks.
    if kind != 'safetensors':
        content = load_checkpoint(path, mmap=True)
        with pytest.raises(InputError, match='holds'):
            check_values(path, content)


def test_numbers_that_are_fine(tmp_path):
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool)
    for kind in kinds:
        found = load_checkpoint(save(tmp_path / 'a.pth', torch.ones(2, 2).to(kind)))['state_dict']['a.weight']
        assert found.dtype == kind
    load_checkpoint(save(tmp_path / 'a.pth', torch.tensor([0.0, -math.inf]), 'attention.mask'))
    load_checkpoint(save(tmp_path / 'a.pth', torch.ones(3, 2).t()))


@pytest.mark.skipif(not hasattr(torch, 'float4_e2m1fn_x2'), reason='this torch has no numbers of four bits')
def test_numbers_that_torch_does_not_compute_with(tmp_path):
    four_bits = torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    with pytest.raises(InputError, match=r'in torch\.float4_e2m1fn_x2, which torch itself does not compute with'):
        load_checkpoint(save(tmp_path / 'a.pth', four_bits))


@pytest.mark.parametrize(
    'weight',
    [torch.zeros(1).expand(2**40), torch.eye(2).to_sparse(), torch.zeros(2, device='meta'), torch.zeros(1).expand(3)],
)
@pytest.mark.parametrize('mmap', [False, True])
def test_tensors_that_are_larger_than_their_file(tmp_path, weight, mmap):
    for content in ({'state_dict': {'a': weight}}, {'optimizer': {'state': {0: [weight]}}}):
        torch.save(content, tmp_path / 'a.pth')
        with pytest.raises(InputError, match='holds a tensor that is sparse'):
            load_checkpoint(tmp_path / 'a.pth', mmap=mmap)


def test_a_flipped_bit_is_told_by_the_checksum(tmp_path):
    path = save(tmp_path / 'a.pth', torch.full((1000,), 0.123))
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((1000,), 0.123).numpy().tobytes()) + 2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r'is not a checkpoint, or is broken .*CRC'):
        load_checkpoint(path)


def test_what_hangs_on_a_dict_of_weights(tmp_path):
    """torch looks up versions of modules there; a file can put anything in their place, or in that of a method."""
    for versions, kept in (({'': {'version': 2}}, True), ({'': {'version': 'x'}}, False), ([1], False)):
        state = OrderedDict(a=torch.zeros(1))
        state._metadata, state.copy = versions, 'no method'
        torch.save({'state_dict': state}, tmp_path / 'a.pth')
        content = load_checkpoint(tmp_path / 'a.pth')
        assert vars(content['state_dict']) == vars(weights_of(content)) == ({'_metadata': versions} if kept else {})


def test_a_member_of_an_ensemble_gets_all_its_weights(tmp_path):
    model = nn.Linear(2, 2)
    fresh = {name: torch.randn_like(value) for name, value in model.state_dict().items()}
    torch.save({f'module.{name}': value for name, value in fresh.items()}, tmp_path / 'a.pth')
    load_weights(model, tmp_path / 'a.pth')
    assert all(value.equal(fresh[name]) for name, value in model.state_dict().items())
    torch.save({name: value.to(torch.int8) for name, value in fresh.items()}, tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'holds weight in torch\.int8, which are not weights'):
        load_weights(model, tmp_path / 'a.pth')
    torch.save({'weight': fresh['weight']}, tmp_path / 'a.pth')
    with pytest.raises(InputError, match='does not fit'):
        load_weights(model, tmp_path / 'a.pth')


def test_notes_are_a_dict_or_none():
    assert meta_of({'meta': torch.zeros(1)}) == meta_of({}) == {} and meta_of({'meta': {'a': 1}}) == {'a': 1}
