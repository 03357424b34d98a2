"""The config that a run leaves: whole, and no hindrance to a signal."""

from __future__ import annotations

import os
import signal

import pytest
import yapf.yapflib.yapf_api
from mmengine.config import Config

from mmcell.engine.dumping import WholeConfig
from mmcell.errors import Interrupted


def formatting(monkeypatch, action) -> None:
    format_code = yapf.yapflib.yapf_api.FormatCode

    def act_and_format(*arguments, **settings):
        action()
        return format_code(*arguments, **settings)

    monkeypatch.setattr(yapf.yapflib.yapf_api, 'FormatCode', act_and_format)


@pytest.fixture
def config() -> WholeConfig:
    return WholeConfig.of(Config(dict(a=1, b=dict(c="o'brien", d=[1, 2]))))


def test_it_is_what_mmengine_writes(config, tmp_path):
    assert isinstance(config, Config)
    config.a = 2
    config.dump(tmp_path / 'ours.py')
    Config(config.to_dict()).dump(tmp_path / 'theirs.py')
    assert (tmp_path / 'ours.py').read_bytes() == (tmp_path / 'theirs.py').read_bytes()
    config.dump(tmp_path / 'ours.json')
    assert config.dump() == (tmp_path / 'ours.py').read_text()
    for name in ('ours.py', 'ours.json'):
        assert Config.fromfile(tmp_path / name).to_dict() == config.to_dict()


@pytest.mark.parametrize('before', [b'a = 0\n', None])
def test_a_kill_while_it_is_formatted_leaves_the_old_one(config, tmp_path, monkeypatch, before):
    path = tmp_path / 'a.py'
    if before:
        path.write_bytes(before)
    if not (child := os.fork()):
        formatting(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
        config.dump(path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (path.read_bytes() if path.exists() else None) == before


@pytest.mark.parametrize('error', [Interrupted(signal.SIGTERM, 'go on'), KeyboardInterrupt()])
def test_a_signal_is_none_of_its_faults(config, monkeypatch, error):
    def interrupt() -> None:
        raise error

    formatting(monkeypatch, interrupt)
    with pytest.raises(type(error)) as stop:
        config.dump()
    assert stop.value is error
