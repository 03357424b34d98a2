"""A file of records that grows one by one; a kill costs no more than the record that was being written."""

from __future__ import annotations

import fcntl
import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

from mmcell.errors import InputError

#: A line of the file: a summary, which is kept in memory, and content, which is read when asked for. JSON has no tab
#: between its tokens, and none within.
_BETWEEN = b'\t'


class Journal:
    """Records on disk, each with a number and a summary.

    A record counts once its line has ended: a line that a kill cut off is dropped. A process that has the file open
    keeps others from it, until it ends in whatever way.

    Args:
        path: The file. It is made, and its folder with it, by :meth:`start`.

    Attributes:
        header: What the records are of, as given to :meth:`start`; None if there is no file, or one of something else.
        summaries: Of each record, by its number; later ones replace earlier ones.

    Raises:
        InputError: If the file cannot be opened, or another process has it open.
    """

    def __init__(self, path: Path) -> None:
        self.header: dict[str, Any] | None = None
        self.summaries: dict[int, dict[str, Any]] = {}
        self._path, self._end = path, 0
        self._file: FileIO | None = None
        self._places: dict[int, tuple[int, int]] = {}
        if path.exists():
            self._file = self._open('r+b')
            self._read()

    def start(self, header: dict[str, Any]) -> None:
        """Begin anew, without records."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._open('x+b')
        self.header, self.summaries, self._places, self._end = header, {}, {}, 0
        self._append(_encode(header))

    def add(self, number: int, summary: dict[str, Any], content: Any) -> None:
        """Add a record, or replace the one of this number; ready for JSON. It is on the disk then."""
        before = _encode({'number': number, **summary}) + _BETWEEN
        data = _encode(content)
        self._places[number] = self._append(before + data) + len(before), len(data)
        self.summaries[number] = summary

    def content(self, number: int) -> Any:
        """Content of a record."""
        start, size = self._places[number]
        with self._path.open('rb') as file:
            file.seek(start)
            return json.loads(file.read(size))

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and let others have it."""
        if self._file is not None:
            self._file.close()

    def _open(self, mode: str) -> FileIO:
        try:
            file = FileIO(self._path, mode)
        except FileExistsError:
            raise self._busy() from None
        except OSError as error:
            raise InputError(self._path, f'cannot be opened ({error.strerror})', 'choose a writable place') from None
        try:
            # Unlike a file with a process id, it goes with the process, however that ends.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise self._busy() from None
        except OSError:  # Some network file systems have no locks.
            pass
        return file

    def _busy(self) -> InputError:
        return InputError(self._path, 'is in use by another process', 'wait for it to end, or choose another folder')

    def _read(self) -> None:
        """Note what the file holds, and where the last whole line ends."""
        try:
            with self._path.open('rb') as file:
                for line in file:
                    if not line.endswith(b'\n'):
                        break
                    if self.header is None:
                        self.header = _as_dict(json.loads(line))
                    else:
                        before, _, data = line.partition(_BETWEEN)
                        summary = _as_dict(json.loads(before))
                        number = summary.pop('number')
                        self.summaries[number] = summary
                        self._places[number] = self._end + len(before) + 1, len(data) - 1
                    self._end += len(line)
        except (ValueError, KeyError, TypeError, RecursionError):  # not written by us
            self.header, self.summaries = None, {}

    def _append(self, line: bytes) -> int:
        """Write a line after the last whole one; returns where it begins."""
        start, data, file = self._end, memoryview(line + b'\n'), self._file
        assert file is not None  # since :meth:`start`
        try:
            file.truncate(start)
            file.seek(start)
            while data:  # A disk that fills up takes a part.
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        except OSError as error:
            raise InputError(self._path, f'cannot be written ({error.strerror})', 'free disk space') from None
        self._end += len(line) + 1
        return start


def _encode(value: Any) -> bytes:
    return json.dumps(value, separators=(',', ':'), allow_nan=False).encode()


def _as_dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError('not an object')
    return value
