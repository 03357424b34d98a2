"""What the files that belong to an image are called: one rule for overlays, GeoJSON, label maps and tables."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

#: Bytes of a name in UTF-8. File systems take 255, encrypted ones 143; endings and those of temporary files come on
#: top.
MAX_BYTES = 100
_DIGITS = 8
# What a separator is somewhere, or Windows refuses.
_UNSAFE = re.compile(r'[<>:"/\\|?*]')
# What Windows takes for a device, whatever its ending.
_DEVICE = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


def unique_stems(file_names: Sequence[str]) -> list[str]:
    """A name without ending for what belongs to each image, of which no two are the same.

    It is the path without its last ending, with its folders joined by '_': `a/b.png` becomes `a_b`. What some file
    system cannot hold is replaced by '_': separators, control characters, bytes that are no UTF-8, a dot in front. A
    name of more than :data:`MAX_BYTES` is cut, and ends in a hash of the whole path. Where two come out the same, on a
    file system that does not tell `A` from `a` either, each of them gets such a hash, longer if need be.

    The same paths give the same names, in whatever order. Only a path that is there twice is told apart by its place.

    Args:
        file_names: Paths of the images, '/' between folders, decoded as Python does (`surrogateescape`).

    >>> unique_stems(['a/b.png', 'c.png', 'c.tif'])
    ['a_b', 'c_58704e58', 'c_469a4706']
    """
    stems = [_safe(name) for name in file_names]
    seen: Counter[str] = Counter()
    hashes = []
    for name in file_names:
        hashes.append(_hash(name, seen[name]))
        seen[name] += 1
    names = [_fit(stem) or _hashed(stem, digest, _DIGITS) for stem, digest in zip(stems, hashes)]
    digits = _DIGITS
    # Each round takes longer hashes, or gives one to a path that looked like a made name: it comes to an end.
    while clashing := _clashing(names):
        for index in clashing:
            names[index] = _hashed(stems[index], hashes[index], digits)
        digits = min(2 * digits, 64)
    return names


def readable(path: str | os.PathLike[str]) -> str:
    r"""A path as text that can be written down: a byte that is no UTF-8 becomes an escape such as `\xe9`."""
    return os.fsencode(path).decode('utf-8', 'backslashreplace')


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    parts = [part for part in (*path.parent.parts, path.stem) if part != '/']
    text = unicodedata.normalize('NFC', '_'.join(parts))
    text = ''.join(letter if letter.isprintable() else '_' for letter in _UNSAFE.sub('_', text))
    text = re.sub(r'^\.|[. ]+$', '_', text)
    return f'_{text}' if _DEVICE.match(text) else text or '_'


def _fit(stem: str) -> str | None:
    return stem if len(stem.encode()) <= MAX_BYTES else None


def _hashed(stem: str, digest: str, digits: int) -> str:
    room = MAX_BYTES - digits - 1
    return f'{stem.encode()[:room].decode(errors="ignore")}_{digest[:digits]}'


def _hash(name: str, place: int) -> str:
    data = name.encode(errors='surrogatepass')
    return hashlib.sha256(data if place == 0 else data + b'\0%d' % place).hexdigest()


def _clashing(names: Sequence[str]) -> list[int]:
    """Places of the names that some file system takes for the same."""
    keys = [unicodedata.normalize('NFD', unicodedata.normalize('NFKC', name).casefold()) for name in names]
    counts = Counter(keys)
    return [index for index, key in enumerate(keys) if counts[key] > 1]
