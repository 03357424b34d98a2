"""`mmcell TOOL …` is `python tools/TOOL.py …`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mmcell
from mmcell.cli.command import run
from mmcell.cli.main import main
from mmcell.engine.launch import command_line
from mmcell.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(path.stem for path in (ROOT / 'tools').glob('*.py'))


@pytest.fixture
def command(capsys, monkeypatch):
    """Exit status, standard output and standard error of `mmcell` with arguments."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', ['bin/mmcell', *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    return call


def test_help_names_every_tool(command):
    for arguments in ((), ('--help',)):
        status, out, _ = command(*arguments)
        assert status == 0 and [line.split()[0] for line in out.split('tools:\n')[1].splitlines() if line][:-2] == TOOLS
    assert command('--version')[:2] == (0, f'mmcell {mmcell.__version__}\n')


def test_a_tool_is_run_and_called_by_this_name(command, tmp_path):
    status, out, _ = command('synthesize', '--help')
    assert status == 0 and out.startswith('usage: mmcell synthesize ') and '\n  mmcell synthesize --out build' in out
    arguments = ('--out', str(tmp_path / 'new'), '--images', '1', '--size', '64', '64', '--cells', '2')
    assert command('synthesize', *arguments)[0] == 0 and (tmp_path / 'new' / 'train').is_dir()
    assert command_line('test', 'a b') == "mmcell test 'a b'"


def test_what_is_no_tool_is_one_line(command):
    for arguments in (('synthesise',), ('../tools/diff',), ('synthesize', '--images', 'x')):
        status, out, err = command(*arguments)
        assert status == 2 and out == '' and err.count('\n') == 1 and 'see mmcell ' in err


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (ModuleNotFoundError("No module named 'wandb'", name='wandb'), "No module named 'wandb'"),
        (ImportError('Please run "pip install wandb"\nto install it'), 'Please run "pip install wandb" to install it'),
    ],
)
def test_a_package_that_is_missing_is_one_line(capsys, error, line):
    def fail(argv: object) -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run(fail)
    assert stop.value.code == 2
    cure = 'tools/doctor.py says which, and how to fix it'
    assert capsys.readouterr().err == f'error: a package is missing or broken: {line}; {cure}\n'


@pytest.mark.parametrize(
    ('called', 'named'), [('mmcell infer', 'mmcell doctor'), ('tools/infer.py', 'python tools/doctor.py')]
)
def test_a_cure_names_a_tool_as_this_one_was_called(capsys, monkeypatch, called, named):
    monkeypatch.setattr(sys, 'argv', [called])

    def fail(argv: object) -> None:
        raise InputError('/their/tools/doctor.py', 'is no image', 'python tools/doctor.py tools/mine.py')

    with pytest.raises(SystemExit):
        run(fail)
    assert capsys.readouterr().err == f'error: /their/tools/doctor.py: is no image; {named} tools/mine.py\n'


def test_a_module_of_ours_that_is_missing_is_a_bug():
    def fail(argv: object) -> None:
        raise ModuleNotFoundError("No module named 'mmcell.nothing'", name='mmcell.nothing')

    with pytest.raises(ModuleNotFoundError):
        run(fail)
