"""Sizes of PNG, JPEG and JPEG 2000 pictures from their first bytes."""

from __future__ import annotations

PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
JPEG_MAGIC = b'\xff\xd8\xff'

#: Bytes that hold the header of a picture: of a JPEG all but the largest metadata come before the size.
HEADER_BYTES = 1 << 16

# Start-of-frame markers but for those of Huffman tables, arithmetic conditioning and an extension, which lie between.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def png_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the IHDR chunk (ISO 15948, 11.2.2); None if there is none."""
    if len(data) < 26 or not data.startswith(PNG_MAGIC) or data[12:16] != b'IHDR':
        return None
    return int.from_bytes(data[20:24], 'big'), int.from_bytes(data[16:20], 'big')


def png_bits(data: bytes) -> int:
    """Bits of a pixel, given the IHDR chunk that :func:`png_size` found."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2}.get(data[25], 4)
    return data[24] * channels


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in the first frame header (ITU T.81, B.2.2); None if there is none in `data`."""
    at = 2
    while data.startswith(JPEG_MAGIC[:2]) and at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in _FRAMES:
            return int.from_bytes(data[at + 5 : at + 7], 'big'), int.from_bytes(data[at + 7 : at + 9], 'big')
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # filling, and markers without a length
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + max(int.from_bytes(data[at + 2 : at + 4], 'big'), 2)
    return None


def jpeg2000_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of the grid in the SIZ marker (ITU T.800, A.5.1); None if there is none."""
    at = data.find(b'\xff\x4f\xff\x51')
    if at < 0 or at + 16 > len(data):
        return None
    return int.from_bytes(data[at + 12 : at + 16], 'big'), int.from_bytes(data[at + 8 : at + 12], 'big')
