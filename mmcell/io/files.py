"""Files: written so that a reader sees the old one or the new one, never half of one; read within bounds."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import glob
import hashlib
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from mmcell.errors import InputError, show
from mmcell.io.limits import MAX_JSON_BYTES


def current_umask() -> int:
    """The permissions that new files of this process do not get."""
    current = os.umask(0)
    os.umask(current)
    return current


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove what processes that were killed left in a folder: entries named `<prefix><process id>.<anything>`."""
    for path in folder.glob(f'{glob.escape(prefix)}*'):
        process = path.name.removeprefix(prefix).partition('.')[0]
        if process.isdigit() and not _is_alive(int(process)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True


def replace_folder(target: Path, new: Path) -> None:
    """Put a folder in the place of another, which then is where the new one was; or in a free place.

    On Linux both change places in one step, so that whoever looks sees the old folder or the new one. Where the file
    system cannot do that, there is a moment without either.

    Args:
        target: Where the folder is to be.
        new: The folder, on the same file system.
    """
    if not os.path.lexists(target):
        new.rename(target)
    elif not _exchange(target, new):
        spare = new.with_name(f'{new.name}.old')
        target.rename(spare)
        new.rename(target)
        spare.rename(new)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths by Linux's renameat2; False where there is no such thing."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(one))


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it takes the target's place, on failure it is removed.

    Beside, because a rename is atomic only within one file system. Parent folders are made.

    Raises:
        InputError: If the target's folder cannot be made or written to.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, prefix := f'.{target.stem}.tmp')
        # The suffix stays, since some writers choose their format by it.
        handle, name = tempfile.mkstemp(prefix=f'{prefix}{os.getpid()}.', suffix=target.suffix, dir=target.parent)
        os.close(handle)
        # mkstemp makes private files; a result should have the permissions of any other file.
        Path(name).chmod(0o666 & ~current_umask())
    except OSError as error:
        raise InputError(target, f'cannot be written ({error.strerror})', 'choose a writable place') from None
    try:
        yield Path(name)
        Path(name).replace(target)
    except OSError as error:
        raise InputError(
            target, f'cannot be written ({error.strerror})', 'choose another place or free disk space'
        ) from None
    finally:
        Path(name).unlink(missing_ok=True)


def check_writable(folder: str | Path, names: Iterable[str] = ()) -> None:
    """Refuse a folder that cannot be made or written to, so that work is not done in vain; leaves nothing behind.

    It is tried, since permissions do not say all: disks are full, mounts read-only, links lead nowhere.

    Args:
        folder: The folder, which need not exist.
        names: Files that will be written there, whose places must be free or taken by files.

    Raises:
        InputError: If something is in the way.
    """
    made: list[Path] = []
    where = folder = Path(folder)
    try:
        for part in (*reversed(folder.parents), folder):
            if not part.is_dir():
                part.mkdir()
                made.append(part)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
        for where in (folder / name for name in names):
            if where.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise InputError(where, f'cannot be written ({reason})', 'choose a writable place') from None
    finally:
        for part in reversed(made):
            part.rmdir()


@contextmanager
def locked(path: str | Path, busy: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a file's lock, which goes with this process however that ends; its children do not hold it.

    Where the file system knows no locks, nothing is held.

    Args:
        path: The file; it is made, with its folder, and stays.
        busy: Called with what the holder wrote of itself if another process holds the lock, before that is waited for;
            raises not to wait.

    Raises:
        InputError: If the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+')
    except OSError as error:
        raise InputError(path, f'cannot be written ({error.strerror})', 'choose a writable place') from None
    with file:
        try:
            # Not flock, which forked children would share, such as those that load data for a process that was killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if busy is not None:
                file.seek(0)
                busy(file.read(200).strip() or 'another process')
            fcntl.lockf(file, fcntl.LOCK_EX)
        except OSError:
            pass
        with suppress(OSError):
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}')
            file.flush()
        yield


def write_bytes(target: str | Path, data: bytes) -> None:
    """Write `data` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_json(target: str | Path, value: Any) -> None:
    """Write `value` as compact JSON, atomically.

    Raises:
        ValueError: If it holds NaN or infinity, which JSON cannot express.
    """
    write_bytes(target, json.dumps(value, separators=(',', ':'), allow_nan=False).encode())


def digest_file(path: str | Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits.

    Raises:
        InputError: If it cannot be read.
    """
    check_file(path)
    digest = hashlib.sha256()
    try:
        with Path(path).open('rb') as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise InputError(path, f'cannot be read ({error.strerror})', 'check the path and its permissions') from None
    return digest.hexdigest()


def check_file(path: str | Path) -> int:
    """Refuse what is no regular file: to open a named pipe can block for ever, and a device never ends.

    Returns:
        Its size in bytes.

    Raises:
        InputError: If it is missing, or no file.
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise InputError(path, f'cannot be read ({reason})', 'check the path and its permissions') from None
    if not stat.S_ISREG(status.st_mode):
        reason = 'Is a directory' if stat.S_ISDIR(status.st_mode) else 'not a regular file'
        raise InputError(path, f'cannot be read ({reason})', 'name a file')
    return status.st_size


def read_bytes(path: str | Path, limit: int | None = None) -> bytes:
    """All of a file, or its first bytes.

    Raises:
        InputError: If it cannot be read.
    """
    check_file(path)
    try:
        with Path(path).open('rb') as file:
            return file.read(-1 if limit is None else limit)
    except OSError as error:
        raise InputError(path, f'cannot be read ({error.strerror})', 'check the path and its permissions') from None


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: If it is missing, not readable, too large, or not JSON.
    """
    if check_file(path) > MAX_JSON_BYTES:
        raise InputError(path, f'has more than {MAX_JSON_BYTES >> 20} MB', 'split it into several')
    return parse_json(path, read_bytes(path))


def parse_json(where: str | Path, data: bytes) -> Any:
    """Parse JSON.

    Args:
        where: What to name in an error.
        data: The JSON.

    Raises:
        InputError: If it is none.
    """
    # Garbage is collected later: deep in a file that nests without end, whatever is finalized would fail too, and print
    # so. It is also faster.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200]
        raise InputError(where, f'is not valid JSON ({reason})', 'write it again or restore it') from None
    finally:
        if collecting:
            gc.enable()


def relative_name(name: Any) -> PurePosixPath:
    """A path from an outside file, which must stay in the folder that it is relative to.

    Raises:
        ValueError: If it is no text, empty, absolute, leads upwards, or cannot be a path.
    """
    if not isinstance(name, str) or not name or '\0' in name or not _is_utf_8(name):
        raise ValueError(f'{show(name)} is not a path')
    path = PurePosixPath(name.replace('\\', '/'))
    if path.is_absolute() or '..' in path.parts or not path.name:
        raise ValueError(f'{show(name)} leaves the folder')
    return path


def names_in_json(names: Sequence[str]) -> list[str]:
    r"""Names that :func:`relative_name` takes as they are: those of files, with `%XX` for bytes that it refuses.

    Linux allows bytes that are no UTF-8 and backslashes in names; JSON holds no such bytes, and elsewhere a backslash
    stands between folders. A name that has some gets an escape for each, for control characters and for `%`.

    Args:
        names: Relative paths, '/' between folders, each once, decoded as Python does (`surrogateescape`).

    Returns:
        As many, of which no two are the same.

    >>> names_in_json(['100%/a.tif', 'caf\udce9.tif'])
    ['100%/a.tif', 'caf%E9.tif']
    """
    taken = set(names)
    written = []
    for name in names:
        if not _is_read_as_written(name):
            name = ''.join(_escape(letter) for letter in name)
            while name in taken:
                name = f'{name}%'
            taken.add(name)
        written.append(name)
    return written


def _is_read_as_written(name: str) -> bool:
    try:
        return str(relative_name(name)) == name
    except ValueError:
        return False


def _escape(letter: str) -> str:
    if letter in '%\\\x7f' or letter < ' ' or not _is_utf_8(letter):
        return ''.join(f'%{byte:02X}' for byte in os.fsencode(letter))
    return letter


def _is_utf_8(text: str) -> bool:
    """Whether a text can be written: JSON can hold halves of characters, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
