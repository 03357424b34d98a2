"""Headers of MATLAB files, checked before scipy reads them: at a kind of number that there is not it crashes."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

#: Bytes of a variable that hold its header; names are short.
_HEAD = 4096

_MATRIX, _COMPRESSED = 14, 15
_FIRST_NUMERIC, _LAST_NUMERIC = 6, 15  # classes of arrays: double to uint64
_NUMBERS = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 12, 13))  # kinds of numbers as stored: int8 to uint64
_COMPLEX = 0x08


@dataclass(frozen=True)
class Variable:
    """A variable of a MATLAB file.

    Attributes:
        name: Its name.
        shape: Its shape; at least two numbers.
        numeric: Whether it is an array of real numbers, as which it can be read safely.
    """

    name: str
    shape: tuple[int, ...]
    numeric: bool


def list_variables(data: bytes) -> list[Variable]:
    """The variables of a MATLAB file of version 5 to 7.

    Source: MAT-File Format, MathWorks, chapter 1, https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf.

    Args:
        data: The whole file.

    Raises:
        ValueError: If it is malformed, or of another version.
    """
    order = {b'IM': '<', b'MI': '>'}.get(data[126:128])
    if order is None or 1 not in data[124:126]:
        raise ValueError('it is not of version 5 to 7')
    found, at = [], 128
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f'{order}II', data, at)
        if at + 8 + size > len(data):
            raise ValueError('it is truncated')
        if kind == _COMPRESSED:
            try:
                head = zlib.decompressobj().decompress(data[at + 8 : at + 8 + size], _HEAD)
            except zlib.error as error:
                raise ValueError(str(error)) from None
        else:
            head = data[at : at + 8 + min(size, _HEAD)]
        found.append(_parse(head, order))
        at += 8 + size
    return found


def _parse(head: bytes, order: str) -> Variable:
    """A variable, given its first bytes."""
    try:
        if struct.unpack_from(f'{order}I', head)[0] != _MATRIX:
            raise ValueError('it holds something other than variables')
        kind, flags, at = _element(head, 8, order)
        if kind != 6 or len(flags) != 8:
            raise ValueError('a variable has no flags')
        (packed,) = struct.unpack_from(f'{order}I', flags)
        kind, dimensions, at = _element(head, at, order)
        if kind != 5 or len(dimensions) < 8 or len(dimensions) % 4:
            raise ValueError('a variable has no shape')
        shape = struct.unpack(f'{order}{len(dimensions) // 4}i', dimensions)
        _, name, at = _element(head, at, order)
        numeric = _FIRST_NUMERIC <= packed & 0xFF <= _LAST_NUMERIC and not packed >> 8 & _COMPLEX
        if numeric:
            number, size = _tag(head, at, order)
            if number not in _NUMBERS or min(shape) < 0 or size > 8 * math.prod(shape):
                raise ValueError('a variable has numbers of an unknown type')
    except struct.error:
        raise ValueError('it is truncated') from None
    return Variable(name.decode('latin-1'), shape, numeric)


def _tag(data: bytes, at: int, order: str) -> tuple[int, int]:
    """Kind and number of bytes of the element at a place."""
    kind, size = struct.unpack_from(f'{order}II', data, at)
    # Up to four bytes may stand in the tag itself.
    return (kind & 0xFFFF, kind >> 16) if kind >> 16 else (kind, size)


def _element(data: bytes, at: int, order: str) -> tuple[int, bytes, int]:
    """Kind and content of the element at a place, and where the next one begins."""
    kind, size = _tag(data, at, order)
    start = at + 4 if struct.unpack_from(f'{order}I', data, at)[0] >> 16 else at + 8
    if start + size > len(data) or (start == at + 4 and size > 4):
        raise ValueError('it is truncated')
    return kind, data[start : start + size], (at + 8 if start == at + 4 else start + size + -size % 8)
