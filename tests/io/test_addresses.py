"""Checkpoints from addresses: fetched once, whole, and what their names promise."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mmcell.compat.checkpoints import SCHEMES
from mmcell.errors import InputError
from mmcell.io.addresses import locate, promised_hash
from mmcell.io.checkpoints import load_checkpoint


class Web:
    """A folder that is served, and what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []
        folder.mkdir()
        web = self

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                web.asked.append(self.path)

            def send_header(self, key: str, value: str) -> None:
                longer = key == 'Content-Length' and 'cut' in self.path
                super().send_header(key, str(int(value) + 1000) if longer else value)

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=str(folder)))
        self.address = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def save(self, name: str, value: float) -> str:
        """Serve weights; `HASH` in the name becomes what it promises. Returns the address."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        torch.save({'state_dict': {'x': torch.tensor(value)}}, path)
        if 'HASH' in name:
            path = path.rename(path.with_name(path.name.replace('HASH', digest(path)[:8])))
        return f'{self.address}/{path.relative_to(self.folder)}'


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def value(address: str | Path) -> float:
    return load_checkpoint(address)['state_dict']['x'].item()


@pytest.fixture
def web(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path / 'mmengine'))
    served = Web(tmp_path / 'web')
    yield served
    served.server.shutdown()
    served.server.server_close()


def test_fetched_once_and_not_mixed_up(web, tmp_path, capsys):
    first, other, hashed = (
        web.save(name, number) for number, name in enumerate(('a/best.pth', 'b/best.pth', 'r-HASH.pth'))
    )
    assert [value(each) for each in (first, other, hashed)] == [0, 1, 2]
    assert capsys.readouterr().err.count('fetching http') == 3
    assert [value(each) for each in (first, other, hashed)] == [0, 1, 2] and len(web.asked) == 3
    # A copy that nothing vouches for is named.
    assert capsys.readouterr().err.count('; remove that to download it again') == 2
    assert locate(hashed).parent == tmp_path / 'torch/hub/checkpoints'


def test_what_a_name_promises(web):
    assert promised_hash('resnet50-11ad3fa6.pth') == '11ad3fa6'
    assert promised_hash('mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth') == 'd4b0c5d6'
    assert promised_hash('run-20260131.pth') is promised_hash('model-b.pth') is promised_hash('epoch_1.pth') is None
    web.save('resnet50-11ad3fa6.pth', 0)
    with pytest.raises(InputError, match=r'resnet50-11ad3fa6.pth: is not the file that its name promises'):
        locate(f'{web.address}/resnet50-11ad3fa6.pth')
    path = locate(address := web.save('r-HASH.pth', 1))
    path.write_bytes(path.read_bytes() + b'more')
    with pytest.raises(InputError, match=f'{path}: is not the file .*remove it, and it is downloaded again'):
        locate(address)


@pytest.mark.parametrize('name', ['missing.pth', 'cut.pth', 'page.pth'])
def test_what_is_no_checkpoint_is_refused_and_not_kept(web, tmp_path, name):
    web.save('cut.pth', 0)
    (web.folder / 'page.pth').write_text('<html>log in</html>')
    with pytest.raises(InputError, match=f'{web.address}/{name}: '):
        load_checkpoint(f'{web.address}/{name}')
    assert not list((tmp_path / 'torch').rglob('*.pth'))


def test_names_of_catalogues(web, tmp_path, monkeypatch):
    home = tmp_path / 'mmengine'
    home.mkdir()
    torch.save({'state_dict': {'x': torch.tensor(5.0)}}, home / 'local.pth')
    (home / 'open_mmlab.json').write_text(json.dumps({'ours': web.save('a.pth', 4), 'local': 'local.pth'}))
    assert value('open-mmlab://ours') == value('openmmlab://ours') == 4 and value('open-mmlab://local') == 5
    for address in ('open-mmlab://nothing', 'mmcls://nothing'):
        with pytest.raises(InputError, match=f'{address}: is none of the '):
            locate(address)


def test_a_classifier_gives_its_backbone(web, monkeypatch):
    state = {'backbone.x': torch.tensor(3.0), 'head.x': torch.tensor(4.0)}
    torch.save({'state_dict': state}, web.folder / 'a.pth')
    monkeypatch.setattr('mmengine.runner.checkpoint.get_mmcls_models', lambda: {'net': f'{web.address}/a.pth'})
    assert load_checkpoint('mmcls://net') == {'state_dict': {'x': torch.tensor(3.0)}}


@pytest.mark.parametrize('address', ['torchvision://resnet50', 'https://example.org/a.pth', 'mmcls://resnet50'])
def test_without_a_network_it_is_one_line(tmp_path, monkeypatch, address):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    for kind in ('http_proxy', 'https_proxy'):
        monkeypatch.setenv(kind, 'http://127.0.0.1:9')
    with pytest.raises(InputError) as error:
        locate(address)
    line = str(error.value)
    assert line.startswith(address) and 'cannot be fetched' in line and len(line) < 300 and '\n' not in line


def test_paths(tmp_path, monkeypatch):
    path = tmp_path / 'a b.pth'
    torch.save({'state_dict': {'x': torch.tensor(1.0)}}, path)
    monkeypatch.setenv('HOME', str(tmp_path))
    assert value('~/a b.pth') == value(path.as_uri()) == value(str(path)) == 1
    for address in ('file://elsewhere/a.pth', 's3://bucket/a.pth', 'x:petrel://a.pth', 'pavi://a', 'ftp://a/b.pth'):
        with pytest.raises(InputError):
            load_checkpoint(address)


def test_mmengine_has_no_other_loaders():
    """Those that this one replaces are all that there are."""
    assert set(SCHEMES) == set(CheckpointLoader._schemes)
    assert {loader.__module__ for loader in CheckpointLoader._schemes.values()} == {'mmcell.compat.checkpoints'}
