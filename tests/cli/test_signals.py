"""A tool that is told to stop says so in a line, whatever it is at."""

from __future__ import annotations

import os
import signal

import pytest

from mmcell.cli.command import run


def stop(main, capsys) -> tuple[int, str]:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        run(main, [])
    assert signal.getsignal(signal.SIGTERM) is before
    return stopped.value.code, capsys.readouterr().err


def test_sigterm_is_one_line(capsys, tmp_path):
    def main(_) -> None:
        try:
            (tmp_path / 'half').touch()
            signal.raise_signal(signal.SIGTERM)
        finally:
            (tmp_path / 'half').unlink()
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # a second one would end this at once

    assert stop(main, capsys) == (143, 'error: stopped by SIGTERM\n')
    assert not list(tmp_path.iterdir())


def test_processes_that_it_starts_end_without_a_word(capfd):
    ends = []

    def main(_) -> None:
        if not (child := os.fork()):
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    assert stop(main, capfd) == (0, '') and ends == [-signal.SIGTERM]


def test_torchrun_stops_its_processes_by_the_signal_itself(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error'))
    found = []
    assert stop(lambda _: found.append(signal.getsignal(signal.SIGTERM)), capsys) == (0, '')
    assert found == [signal.getsignal(signal.SIGTERM)]
