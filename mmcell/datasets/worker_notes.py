"""Which image each data worker is loading, so that one that is killed can be named with its image.

A worker that is killed, as by the kernel when memory runs out, cannot say what it was at; torch only knows its process
id. So each worker keeps a small file with the path of its image, in a folder that goes with the process that made it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path

_LOST = re.compile(r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)')
_folders: set[str] = set()


class WorkerNotes:
    """The notes of one data set's workers.

    Args:
        maker: The notes are removed with this object, in the process that made it.
    """

    def __init__(self, maker: object) -> None:
        self.folder = tempfile.mkdtemp(prefix='mmcell-workers-')
        _folders.add(self.folder)
        weakref.finalize(maker, _remove, self.folder, os.getpid())

    def note(self, path: str) -> None:
        """Say that this process is loading an image."""
        with contextlib.suppress(OSError):  # a full disk, or the maker is gone: no reason to stop
            Path(self.folder, str(os.getpid())).write_text(path)


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # not in the workers, which inherit the object
        _folders.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)


def find_images(message: str) -> list[str] | None:
    """The images that data workers were loading when torch said that these were lost.

    Args:
        message: The text of torch's error.

    Returns:
        Paths, as far as they are known; None if the error is another one.
    """
    found = _LOST.search(message)
    if found is None:
        return None
    notes = [Path(folder, pid) for folder in sorted(_folders) for pid in found[1].split(', ')]
    return [note.read_text() for note in notes if note.is_file()]
