"""What each data worker is at, so that the main process can say which image failed, and why.

torch hands an error of a worker on as the text of its traceback, and of a worker that is killed, as by the kernel when
memory runs out, it knows the process id alone. So each worker keeps a small file with the image that it is loading or
the error that it met, in a folder that goes with the process that made it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import traceback
import weakref
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from mmcell.errors import InputError

_folders: set[str] = set()
_NO_WORKERS = 'set num_workers=0 and persistent_workers=False in the dataloaders of the config'


class WorkerNotes:
    """The notes of one data set's workers.

    Args:
        maker: The notes are removed with this object, in the process that made it.
    """

    def __init__(self, maker: object) -> None:
        self.folder = tempfile.mkdtemp(prefix='mmcell-workers-')
        _folders.add(self.folder)
        weakref.finalize(maker, _remove, self.folder, os.getpid())

    @contextlib.contextmanager
    def loading(self, path: str) -> Iterator[None]:
        """Within, this process loads an image; an :class:`InputError` is noted and goes on."""
        # What torch cannot hand over, for want of shared memory, it drops, and the main process waits for ever.
        queue: Any = Queue
        queue._on_queue_feeder_error = staticmethod(self._end)
        self._note({'image': path})
        try:
            yield
        except InputError as error:
            self._note({'error': [error.where, error.problem, error.cure]})
            raise
        self._note({})

    def _end(self, error: Exception, batch: object) -> None:
        """End this process, since its batch cannot be handed to the main one."""
        cause = _find_shortage(error) or InputError('data', f'cannot be handed over ({str(error)[:100]})', _NO_WORKERS)
        # Not in the file of this process, which is its other thread's.
        self._note({'error': [cause.where, cause.problem, cause.cure]}, f'-{os.getpid()}')
        os.kill(os.getpid(), signal.SIGKILL)  # from a thread, and without waiting for anything

    def _note(self, content: dict[str, Any], name: str = '') -> None:
        with contextlib.suppress(OSError):  # a full disk, or the maker is gone: no reason to stop
            Path(self.folder, name or str(os.getpid())).write_text(json.dumps(content))


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # not in the workers, which inherit the object
        _folders.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


def explain(error: RuntimeError) -> InputError | None:
    """What the workers' notes say about an error that came out of torch's data loader.

    Args:
        error: The error, as it was raised in the main process.

    Returns:
        The error that a worker met, or one that names the images of workers that were killed; None if it is another
        matter.
    """
    modules = [frame.f_globals.get('__name__', '') for frame, _ in traceback.walk_tb(error.__traceback__)]
    loaders = [module.startswith('torch.utils.data') for module in modules]
    if not any(loaders):
        return None
    notes = _read_notes()
    for note in notes.values():
        if 'error' in note:
            return InputError(*note['error'])
    if shortage := _find_shortage(error):
        return shortage
    if not loaders[-1]:  # the loader has only passed on what a worker raised
        return None
    alive = {process.pid for process in multiprocessing.active_children()}
    images = [note['image'] for process, note in notes.items() if 'image' in note and process not in alive]
    problem = 'a data worker was killed while it loaded this'
    cure = 'free memory, or set num_workers=0 in the dataloader of the config to see why'
    return InputError(', '.join(images) or 'data', problem, cure)


def _find_shortage(error: Exception) -> InputError | None:
    """What the system ran out of, if that is what an error of torch says."""
    text = str(error)
    if 'Too many open files' in text:
        return InputError('data workers', 'have too many open files', f'ulimit -n 65536, or {_NO_WORKERS}')
    if not re.search(r'shared memory|shm|Bus error|</?torch_|No space left on device', text):
        return None
    free = ''
    with contextlib.suppress(OSError):
        free = f' ({shutil.disk_usage("/dev/shm").free >> 20} MB are free)'
    cure = f'start the container with --shm-size=8g or --ipc=host, or {_NO_WORKERS}'
    return InputError('/dev/shm', f'the shared memory is too small for the images of the data workers{free}', cure)


def _read_notes() -> dict[int, dict[str, Any]]:
    """Notes by process id, negative where a process ended itself; one that was being written is left out."""
    notes = {}
    for path in (path for folder in sorted(_folders) for path in Path(folder).iterdir()):
        with contextlib.suppress(OSError, ValueError):
            notes[int(path.name)] = json.loads(path.read_text())
    return notes
