"""Files and folders appear whole, whatever happens to the process that writes them."""

from __future__ import annotations

import gc
import inspect
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest

from mmcell.errors import InputError
from mmcell.io import files
from mmcell.io.files import atomic_path, locked, remove_leftovers, replace_folder


def make(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / 'text').write_text(text)
    return folder


def swap_for_ever(target: Path, new: Path) -> None:
    while True:
        replace_folder(target, new)


def test_a_folder_is_there_at_every_moment(tmp_path):
    target, new = make(tmp_path / 'target', 'old'), make(tmp_path / 'new', 'new')
    process = multiprocessing.get_context('fork').Process(target=swap_for_ever, args=(target, new))
    process.start()
    seen = [(target / 'text').read_text() for _ in range(3000)]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert set(seen) == {'old', 'new'}
    assert {(folder / 'text').read_text() for folder in (target, new)} == {'old', 'new'}


@pytest.mark.parametrize('can_exchange', [True, False])
def test_replaced_folders(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(files, '_exchange', lambda one, other: False)
    target, new = tmp_path / 'target', make(tmp_path / 'new', 'first')
    replace_folder(target, new)
    assert (target / 'text').read_text() == 'first' and not new.exists()
    replace_folder(target, make(new, 'second'))
    assert (target / 'text').read_text() == 'second' and (new / 'text').read_text() == 'first'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['new', 'target']


def test_links_are_replaced_not_followed(tmp_path):
    make(tmp_path / 'there', 'kept')
    (tmp_path / 'target').symlink_to('there')
    (tmp_path / 'new').symlink_to('elsewhere')
    replace_folder(tmp_path / 'target', tmp_path / 'new')
    assert (tmp_path / 'target').readlink() == Path('elsewhere')
    assert (tmp_path / 'there/text').read_text() == 'kept'


def killed_while_writing(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text('half')
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    target = tmp_path / 'results.json'
    target.write_text('old')
    process = multiprocessing.get_context('fork').Process(target=killed_while_writing, args=(target,))
    process.start()
    process.join()
    assert target.read_text() == 'old' and len(list(tmp_path.iterdir())) == 2
    with atomic_path(target) as temporary:
        temporary.write_text('new')
    assert target.read_text() == 'new' and list(tmp_path.iterdir()) == [target]


def test_leftovers_of_the_living_and_of_others_stay(tmp_path):
    for name in (f'.out.tmp{os.getpid()}.x', '.out.tmp.x', '.out.tmpfile', 'out'):
        make(tmp_path / name, '')
    remove_leftovers(tmp_path, '.out.tmp')
    assert len(list(tmp_path.iterdir())) == 4


def test_names_with_the_letters_of_patterns(tmp_path):
    (tmp_path / f'.b[1]**c.tmp{2**22 - 3}.left.tif').touch()  # of a process that is not there
    (tmp_path / '.b1c.tmp4194301.other.tif').touch()
    with atomic_path(tmp_path / 'b[1]**c.tif') as temporary:
        temporary.write_bytes(b'new')
    assert {path.name for path in tmp_path.iterdir()} == {'b[1]**c.tif', '.b1c.tmp4194301.other.tif'}


class Busy(Exception):
    pass


def refuse(holder: str) -> None:
    raise Busy(holder)


def hold(path: Path, pipe: int) -> None:
    """Hold a lock, in a process that has a child, until it is killed."""
    with locked(path):
        if not os.fork():
            signal.pause()
        os.write(pipe, b'x')
        signal.pause()


def test_a_lock_goes_with_the_process_that_holds_it(tmp_path):
    """And not with its children, such as those that load data, which live on for a while."""
    path = tmp_path / 'new' / 'lock'
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.setpgid(0, 0)
        hold(path, writer)
    assert os.read(reader, 1) == b'x'
    try:
        with pytest.raises(Busy, match=f'process {child} on '), locked(path, refuse):
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for _ in range(2):
            with locked(path, refuse):
                assert path.read_text().startswith(f'process {os.getpid()} on ')
    finally:
        os.killpg(child, signal.SIGKILL)


class _Finalized:
    """In a cycle with itself, so that only the garbage collector finds it."""

    def __init__(self, heights: list[int]) -> None:
        self.itself, self.heights = self, heights

    def __del__(self) -> None:
        self.heights.append(len(inspect.stack(0)))


def test_no_garbage_is_collected_deep_in_a_file_that_nests_without_end(monkeypatch):
    """What is finalized there runs into the same limit, and Python prints so on standard error."""
    heights, unraisable, usual = [], [], gc.get_threshold()
    monkeypatch.setattr(sys, 'unraisablehook', unraisable.append)
    gc.collect()
    try:
        # Some of them let a collection fall where the limit is near.
        for threshold in range(700, 1000, 5):
            gc.set_threshold(threshold)
            _Finalized(heights)
            with pytest.raises(InputError, match='is not valid JSON'):
                files.parse_json('a.json', b'[' * 10**5)
    finally:
        gc.set_threshold(*usual)
    assert gc.isenabled() and not unraisable
    gc.collect()
    assert len(heights) == 60
