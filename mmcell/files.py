"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmcell.errors import InputError


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


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
        # The suffix stays, since some writers choose their format by it.
        handle, name = tempfile.mkstemp(prefix=f'.{target.stem}.', suffix=target.suffix, dir=target.parent)
        os.close(handle)
        # mkstemp makes private files; a result should have the permissions of any other file.
        Path(name).chmod(0o666 & ~_umask())
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


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: If it is missing, not readable, or not JSON.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(path, f'cannot be read ({error.strerror})', 'check the path') from None
    except (ValueError, RecursionError) as error:
        raise InputError(path, f'is not valid JSON ({error})', 'write it again or restore it') from None
