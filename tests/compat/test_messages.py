"""The tools as a user starts them: what they print holds no warning that nobody can act on."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from mmengine.logging import MMLogger, print_log

import mmcell.cli  # noqa: F401  silences
from mmcell.compat import messages
from mmcell.compat.messages import MAX_LENGTH, MESSAGES, shorten_terminal
from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
#: What a warning looks like, whoever prints it; torch lists its compiler's options, of which some have such names.
WARNING = re.compile(r'^(?!  - Build settings).*(warning\b|deprecat|could not|skipping|traceback)', re.IGNORECASE)
CONFIG = 'configs/demo/mask_rcnn_synthetic.py'


def run_tool(name: str, *arguments: object) -> list[str]:
    """The lines that look like a warning, of a tool in a process of its own."""
    process = subprocess.run(
        [sys.executable, ROOT / 'tools' / f'{name}.py', *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return [line for line in (process.stdout + process.stderr).splitlines() if WARNING.match(line)]


@pytest.fixture
def data(tmp_path, monkeypatch, tool) -> Path:
    write_class_tiff(tmp_path / 'source', num_images=5, size=(64, 64), num_cells=6, num_test_images=1)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    return tmp_path


def train(data: Path, *options: str) -> list[str]:
    """An epoch of one step and its validation, which is all that a run consists of."""
    options = ('--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1', *options)
    return run_tool('train', CONFIG, '--work-dir', data / 'run', *options)


@pytest.mark.slow
def test_no_tool_warns_of_anything(data):
    spawned = ('env_cfg.mp_cfg.mp_start_method=spawn', 'default_hooks.checkpoint.save_best=None')
    checkpoint = data / 'run' / 'epoch_1.pth'
    results = data / 'val' / 'val-results.json'
    truth = data / 'data' / 'annotations' / 'val.json'
    assert train(data, *spawned) == []
    assert train(data, 'train_cfg.max_epochs=2', 'resume=True') == []
    assert run_tool('test', CONFIG, checkpoint, '--out', data / 'val', '--show-dir', data / 'overlays') == []
    assert run_tool('test', CONFIG, checkpoint, '--format-only', '--out', data / 'submission') == []
    assert run_tool('infer', CONFIG, checkpoint, data / 'source' / 'test_release', '--out', data / 'infer') == []
    assert run_tool('report', results, '--truth', truth, '--runs', data / 'run', '--out', data / 'page.html') == []
    assert run_tool('export', results, '--to', 'geojson', '--images', truth, '--out', data / 'geojson') == []


def test_only_the_named_messages_are_dropped(capsys):
    shorten_terminal(False)
    MMLogger.get_instance('test_quiet')
    for message in (*MESSAGES, 'Could not import something else.'):
        print_log(message)
        print_log(message, logger='current', level=30)
    del MMLogger._instance_dict['test_quiet']
    shorten_terminal()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'Could not import something else.' and lines[1].endswith('Could not import something else.')
    assert len(lines) == 2


def test_a_short_terminal_and_a_whole_log(capsys, tmp_path):
    long = 'missing keys:\n' + 'a.very.long.name ' * 40
    try:
        for shorten in (True, False):
            shorten_terminal(shorten)
            log = tmp_path / f'{shorten}.log'
            logger = MMLogger.get_instance(f'test_short_{shorten}', log_file=str(log))
            logger.info('a dump of everything')
            logger.warning(long)
            logger.warning(long)
            print_log('Loads checkpoint by local backend from path: x')
            warnings.showwarning(f'from Python, {shorten}', UserWarning, 'file.py', 1)
            assert 'a dump of everything' in log.read_text() and long in log.read_text()
            del MMLogger._instance_dict[f'test_short_{shorten}']
            out, err = capsys.readouterr()
            if shorten:
                first, second = err.splitlines()
                assert out == '' and second == 'warning: from Python, True'
                assert first.startswith('warning: missing keys: a.very.long.name ') and len(first) < MAX_LENGTH + 60
            else:
                assert 'a dump of everything' in out and long in out and 'Loads checkpoint' in out
    finally:
        shorten_terminal()


def test_a_log_on_a_full_disk_is_one_line(capfd):
    messages._write_warning.cache_clear()
    logger, handler = logging.Logger('full'), logging.FileHandler('/dev/full')
    logger.addHandler(handler)
    record = logger.makeRecord('full', logging.INFO, 'file', 1, 'text', (), None)
    for _ in range(2):
        messages._call_handlers(logger, record)
    assert capfd.readouterr().err == 'warning: the log cannot be written ([Errno 28] No space left on device)\n'
    with contextlib.suppress(OSError):
        handler.close()
