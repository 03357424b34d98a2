"""Conversions that are killed, and conversions whose workers are."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mmcell.converters import LAYOUTS, convert
from mmcell.converters.class_tiff import ClassTiff
from mmcell.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
KILLS, SEED = 40, int(os.environ.get('MMCELL_KILL_SEED', 0))


class Deadly(ClassTiff):
    """A layout one of whose images ends the process that reads it, as running out of memory does."""

    def read(self, name: str):
        if name == 'slide1_crop0':
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(name)


def test_a_worker_that_dies_is_named_with_its_image(class_tiff, tmp_path):
    with pytest.raises(InputError, match=r'slide1_crop0.*: a process that was reading .* was killed; free memory'):
        convert(Deadly(class_tiff), tmp_path / 'out', workers=2)
    assert not (tmp_path / 'out').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['source']


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason='mounts a /dev/shm of its own')
def test_shared_memory_that_is_full(class_tiff, tmp_path):
    """As in a container of 64 MB; processes cannot make locks then."""
    script = 'mount -t tmpfs -o size=4k tmpfs /dev/shm && { cat /dev/zero > /dev/shm/x; exec "$@"; }'
    command = ['unshare', '--mount', 'sh', '-c', script, 'sh', sys.executable, ROOT / 'tools/convert.py', 'class_tiff']
    command += [class_tiff, '--out', tmp_path / 'out', '--workers', '2']
    outcome = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert outcome.returncode == 2 and not (tmp_path / 'out').exists()
    assert outcome.stderr.splitlines()[-1].startswith('error: /dev/shm: cannot be used (No space left on device)')


def test_other_things_in_the_folder_stay(class_tiff, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/notes.txt').write_text('mine')
    for _ in range(2):
        convert(ClassTiff(class_tiff), tmp_path / 'out', workers=1, overwrite=True)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['annotations', 'images', 'notes.txt']


def state(out: Path) -> str:
    """What is in a folder: names, links and bytes."""
    digest = hashlib.sha256()
    for path in sorted(out.rglob('*')):
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else ''
        digest.update(repr((path.relative_to(out).as_posix(), content)).encode())
    return digest.hexdigest()


def run_conversion(source: Path, out: Path) -> None:
    convert(LAYOUTS.get('class_tiff')(source), out, workers=1, overwrite=True)


@pytest.mark.slow
def test_killed_at_any_moment_old_or_new(class_tiff, tmp_path, capsys):
    """Two sources in turn: whenever a conversion is killed, the folder is that of the one or of the other."""
    other = tmp_path / 'other'
    shutil.copytree(class_tiff, other)
    shutil.rmtree(other / 'train/slide2_crop1')
    out, states, fork = tmp_path / 'out', {}, multiprocessing.get_context('fork')
    for source in (class_tiff, other):
        begun = time.perf_counter()
        run_conversion(source, out)
        seconds = time.perf_counter() - begun
        states[source] = state(out)
    assert len(set(states.values())) == 2
    draw, found, before = random.Random(SEED), Counter(), states[other]
    for number in range(KILLS):
        source = (class_tiff, other)[number % 2]
        process = fork.Process(target=run_conversion, args=(source, out))
        process.start()
        # Half of them towards the end, where the new takes the place of the old.
        time.sleep(seconds * draw.uniform(0.7 if number % 4 < 2 else 0, 1.2))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        after = state(out)
        assert after in (before, states[source])
        found['new' if after == states[source] else 'old'] += 1
        before = after
    run_conversion(class_tiff, out)
    assert state(out) == states[class_tiff]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['other', 'out', 'source']  # nothing left behind
    with capsys.disabled():
        print(f'\n{KILLS} conversions killed: {found["old"]} left the old folder, {found["new"]} the new; nothing lost')
