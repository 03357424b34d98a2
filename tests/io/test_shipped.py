"""Models by name: where they are, and that their weights are the ones that came with the package."""

from __future__ import annotations

import pytest
import torch

from mmcell.errors import InputError
from mmcell.io import shipped
from mmcell.io.addresses import locate
from mmcell.io.checkpoints import fingerprint, load_checkpoint, save_safetensors
from mmcell.io.files import digest_file
from mmcell.io.shipped import find_config, find_weights, read_sums

STATE = {'weight': torch.arange(6.0).half().reshape(2, 3), 'steps': torch.tensor(7)}
FACTS = {'score_thr': 0.6, 'dataset_meta': {'classes': ['one', 'two']}, 'mpp': 0.25}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder with the weights of a model `consep`."""
    import hashlib

    monkeypatch.setattr(shipped, 'WEIGHTS', tmp_path)
    path = tmp_path / 'consep.safetensors'
    save_safetensors(path, STATE, FACTS)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / 'SHA256SUMS').write_text(f'{digest}  consep.safetensors\n{"0" * 64}  nuclei.safetensors\n')
    return path


@pytest.mark.parametrize('by_name', [True, False])
def test_a_checkpoint_like_any_other(weights, by_name):
    content = load_checkpoint('consep' if by_name else weights)
    assert content['meta'] == FACTS and content['state_dict'].keys() == STATE.keys()
    for name, value in STATE.items():
        assert content['state_dict'][name].dtype == value.dtype and content['state_dict'][name].equal(value)


def test_its_file_and_fingerprint(weights):
    assert locate('consep') == weights and fingerprint(locate('consep')) == digest_file(weights)[:16]


def test_a_file_of_that_name_comes_first(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({'weight': torch.ones(1)}, 'consep')
    assert load_checkpoint('consep').keys() == {'weight'}


def test_other_weights_than_ours_are_refused(weights):
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert load_checkpoint(weights)['meta'] == FACTS  # of its own it is a sound file
    with pytest.raises(InputError, match=r'consep\.safetensors: is not the file that comes with mmcell \(SHA-256 '):
        load_checkpoint('consep')
    with pytest.raises(InputError, match=r'nuclei\.safetensors: cannot be read'):
        load_checkpoint('nuclei')


def test_unknown_names(weights):
    for find in (find_config, find_weights):
        with pytest.raises(InputError) as error:
            find('conseb')
        assert str(error.value) == 'conseb: is not a model that comes with mmcell; choose from consep, nuclei'
    with pytest.raises(InputError, match=r'conseb: is neither a checkpoint file nor a model .* from consep, nuclei'):
        load_checkpoint('conseb')


@pytest.mark.parametrize('content', [b'', b'\x80\x04.', b'\xff' * 40, (2).to_bytes(8, 'little') + b'{}' + b'junk'])
def test_broken_safetensors(tmp_path, content):
    path = tmp_path / 'broken.safetensors'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'broken\.safetensors: cannot be read as safetensors'):
        load_checkpoint(path)


def test_safetensors_of_others(tmp_path):
    from safetensors.torch import save_file

    save_file(STATE, tmp_path / 'plain.safetensors', {'mmcell': '["a list"]'})
    assert load_checkpoint(tmp_path / 'plain.safetensors')['meta'] == {}
    save_file(STATE, tmp_path / 'plain.safetensors')
    assert load_checkpoint(tmp_path / 'plain.safetensors')['state_dict']['weight'].equal(STATE['weight'])


@pytest.mark.parametrize('name', read_sums())
def test_what_we_ship(name):
    path = find_weights(name)
    assert find_config(name).is_file() and path.stat().st_size <= 16 << 20
    content = load_checkpoint(name)
    facts = content['meta']
    assert facts['config'] == f'configs/models/{name}.py' and 0 < facts['score_thr'] < 1
    assert facts['dataset_meta']['classes'] and facts['steps'] > 0
    kinds = {value.dtype for value in content['state_dict'].values()}
    assert kinds == {torch.float16, torch.int64}
