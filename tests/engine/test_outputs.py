"""What infer writes, killed at every step: the same call goes on, and no files of two calls stand together."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from torch import nn

from mmcell.engine.outputs import FILES, JOURNAL_NAME, Outputs
from mmcell.engine.predictor import CellModel
from mmcell.io.files import digest_file
from mmcell.report.export import export_results

SIZE = (40, 50)
IMAGES = 3
#: Before what a process is killed: all that changes a file system.
STEPS = frozenset(('open', 'os.rename', 'os.remove', 'os.mkdir', 'os.truncate', 'os.rmdir'))


@pytest.fixture
def images(tmp_path) -> list[Path]:
    paths = [tmp_path / f'images/{number}.png' for number in range(IMAGES)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((*SIZE, 3), 60 * number, np.uint8))
    return paths


@pytest.fixture
def write(images, result) -> Callable[[Path, str], None]:
    """(out, version): write as infer does, the results of a version on its own images."""
    model = CellModel(nn.Identity(), [], ('a', 'b'))

    def run(out: Path, version: str) -> None:
        with Outputs(out, model, {'version': version, 'score threshold': 0.5}, 'rgb') as outputs:
            if outputs.is_finished(lambda: [digest_file(path) for path in images]):
                return
            for number, path in enumerate(images, start=1):
                if outputs.has(number, digest_file(path)):
                    continue
                out.parent.mkdir(exist_ok=True)
                with (out.parent / f'done_{version}').open('a') as file:
                    file.write(f'{number}\n')
                name = f'{version}{number}'
                image = {'id': number, 'file_name': f'{name}.png', 'height': SIZE[0], 'width': SIZE[1]}
                found = [
                    result(number + 12 * k, 5 + (version == 'y'), 0.9 - 0.3 * k, image_id=number) for k in range(2)
                ]
                outputs.add(path, {**image, 'output_name': name, 'sha256': digest_file(path)}, found)
            outputs.finish({'model': version}, None, keep=False)

    return run


def read(out: Path) -> dict[str, bytes]:
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob('*') if path.is_file()}
    return {name: data for name, data in files.items() if not Path(name).name.startswith('.')}


def killed_before(step: int, run: Callable[[], None]) -> bool:
    """Run in a process that dies before its step-th change of a file; whether it did."""
    process = os.fork()
    if not process:
        left = [step]

        def count(event: str, arguments: tuple) -> None:
            if event in STEPS and (event != 'open' or (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            run()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def versions_of(files: dict[str, bytes], whole: dict[str, dict[str, bytes]]) -> set[str]:
    """Of which calls there are files; each is whole."""
    found = set()
    for name, data in files.items():
        if name != JOURNAL_NAME:
            here = [version for version, all_files in whole.items() if all_files.get(name) == data]
            assert len(here) == 1, name
            found |= set(here)
    return found


@pytest.mark.parametrize('every', [13, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_step(images, write, tmp_path, every):
    whole = {}
    for version in 'xy':
        write(tmp_path / version / 'out', version)
        whole[version] = read(tmp_path / version / 'out')
        assert set(whole[version]) == {*FILES, *(f'overlays/{version}{k}.png' for k in range(1, IMAGES + 1))}
    step, steps = 0, 0
    while True:
        folder = tmp_path / str(step)
        out = folder / 'out'
        write(out, 'x')
        killed = killed_before(step, lambda out=out: write(out, 'y'))
        left = read(out)
        if left.keys() <= {JOURNAL_NAME}:
            pass
        elif versions_of(left, whole) == {'x'}:
            assert JOURNAL_NAME not in left
        else:
            assert versions_of(left, whole) == {'y'}
            assert 'results.json' not in left or left.keys() >= whole['y'].keys()
        if (out / 'results.json').exists() and (out / 'images.json').exists():
            export_results(out / 'results.json', out / 'images.json', folder / 'csv', 'csv')
        write(out, 'y')
        assert read(out) == whole['y']
        done = (folder / 'done_y').read_text().split()
        # Only what was being written is done once more.
        assert set(done) == set('123') and len(done) <= IMAGES + 1
        if not killed:
            break
        step, steps = step + every, steps + 1
    assert steps >= 50 // every


def test_a_finished_call_does_nothing(images, write, tmp_path):
    write(tmp_path / 'out', 'x')
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*')}
    write(tmp_path / 'out', 'x')
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*')}


def test_an_image_that_changed_is_done_again(images, write, tmp_path, capsys):
    out = tmp_path / 'out'
    assert killed_before(18, lambda: write(out, 'x'))
    first = (tmp_path / 'done_x').read_text().split()
    assert 1 < len(first) < IMAGES
    cv2.imwrite(str(images[0]), np.full((*SIZE, 3), 200, np.uint8))
    write(out, 'x')
    assert (tmp_path / 'done_x').read_text().split()[len(first) :] == ['1', '3']
    assert json.loads((out / 'images.json').read_text())['images'][0]['sha256'] == digest_file(images[0])
    cv2.imwrite(str(images[2]), np.full((*SIZE, 3), 220, np.uint8))
    write(out, 'x')
    assert f'{out}: starting over and removing earlier results\n' in capsys.readouterr().out
    assert (tmp_path / 'done_x').read_text().split()[-IMAGES:] == ['1', '2', '3']


def test_another_call_says_what_differs(images, write, tmp_path, capsys):
    write(tmp_path / 'out', 'x')
    (tmp_path / 'out/notes.txt').touch()
    (tmp_path / 'out/overlays/own.png').touch()
    write(tmp_path / 'out', 'y')
    assert capsys.readouterr().out.endswith('removing earlier results (other version)\n')
    assert {path.name for path in (tmp_path / 'out').rglob('*.png')} == {'own.png', 'y1.png', 'y2.png', 'y3.png'}
