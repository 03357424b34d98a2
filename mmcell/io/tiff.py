"""Headers of TIFF files, checked before a pixel is decoded: what they say is allocated, and decoders believe it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mmcell.errors import InputError
from mmcell.io.headers import HEADER_BYTES, jpeg2000_size, jpeg_size
from mmcell.io.limits import MAX_IMAGE_BYTES

#: Compressions that we read, and how many bytes one byte of each can stand for at most. Others have no such bound, or
#: decoders that take more memory than the pixels.
MAX_RATIOS = {
    1: 1,  # none
    5: 2**11,  # LZW: 1365, by strings of up to 3839 bytes in codes of at most 12 bits
    7: 2**11,  # JPEG: 1024, by a bit for each block of 8 x 8 pixels of 3 subsampled channels
    8: 2**11,  # deflate: 1032
    32946: 2**11,  # deflate under its older number
    32773: 2**7,  # PackBits
    33003: 2**20,  # JPEG 2000 as Aperio stores it, YCbCr; empty packets: no bound worth the name
    33005: 2**20,  # the same, RGB
    34712: 2**20,  # JPEG 2000
    50000: 2**15,  # Zstandard: blocks of 128 KiB in 4 bytes
}

#: Compressions whose data bring a header of their own, which decoders believe instead of the file's.
_OWN_HEADERS = {7: jpeg_size, 33003: jpeg2000_size, 33005: jpeg2000_size, 34712: jpeg2000_size}

_RESTORE = 'restore it from its source'


def check_header(path: Path, tiff: Any, max_pixels: int) -> Any:
    """Check what the header of an open file says; as large as it says the image may be decoded then.

    Args:
        path: The file, to name it.
        tiff: :class:`tifffile.TiffFile`.
        max_pixels: How many pixels the picture may have.

    Returns:
        Its only page, with whole numbers for all that sizes are computed from.

    Raises:
        InputError: If there are no or several pages, the picture is too large or of a kind that we do not read, or the
            file ends before its pixels do.
    """
    page = first_page(path, tiff)
    if len(tiff.pages) != 1:
        raise InputError(path, f'holds {len(tiff.pages)} pages', 'save one picture a file')
    if page.photometric not in (None, 0, 1, 2, 6):
        name = getattr(page.photometric, 'name', page.photometric)
        raise InputError(path, f'stores colours as {name}', 'save it as grey, RGB or RGBA')
    if page.compression not in MAX_RATIOS:
        name = getattr(page.compression, 'name', page.compression)
        raise InputError(path, f'is compressed as {name}', 'save it with LZW or deflate')
    check_size(path, page.imagelength, page.imagewidth, max_pixels)
    bits = page.bitspersample
    if page.dtype is None or not isinstance(bits, int) or not 1 <= bits <= 64 or not 1 <= page.samplesperpixel <= 4:
        problem = f'has {page.samplesperpixel} channels of {bits} bits'
        raise InputError(path, problem, 'save it as one grey, RGB or RGBA picture with 8 or 16 bits a channel')
    if math.prod(page.shaped) != page.imagelength * page.imagewidth * page.samplesperpixel:
        raise InputError(path, f'has the shape {page.shaped}', 'save it as one picture without depth')
    if page.photometric in (2, 6) and page.samplesperpixel < 3:
        raise InputError(path, f'has {page.samplesperpixel} channels where RGB is due', _RESTORE)
    if page.planarconfig not in (1, 2):
        raise InputError(path, f'has the planar configuration {page.planarconfig}', _RESTORE)
    if page.nbytes > MAX_IMAGE_BYTES:
        raise InputError(path, f'holds {page.nbytes} bytes of pixels', f'cut it to at most {MAX_IMAGE_BYTES} bytes')
    _check_segments(path, page)
    return page


def first_page(path: Path, tiff: Any) -> Any:
    """The first page of an open file, with whole numbers for its size.

    Raises:
        InputError: If there is none, or it has no size.
    """
    if not tiff.pages:
        raise InputError(path, 'is truncated or holds no picture', _RESTORE)
    page = tiff.pages.first
    sizes = [page.imagelength, page.imagewidth, page.samplesperpixel]
    sizes += [page.tilelength, page.tilewidth] if page.is_tiled else [page.rowsperstrip]
    if any(not isinstance(size, int) or size < 1 for size in sizes):
        raise InputError(path, 'has a header without sizes', _RESTORE)
    return page


def check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    """Refuse an image without pixels, or with more than `max_pixels`.

    Raises:
        InputError: If so.
    """
    if height < 1 or width < 1:
        raise InputError(path, f'is empty ({width} x {height} pixels)', _RESTORE)
    if height * width > max_pixels:
        raise InputError(path, f'is too large ({width} x {height} pixels)', f'cut it to at most {max_pixels} pixels')


def check_ratio(path: Path, pixel_bytes: int, stored_bytes: int, max_ratio: int) -> None:
    """Refuse a file that is too small for the pixels that its header promises.

    Raises:
        InputError: If so.
    """
    if pixel_bytes > max_ratio * stored_bytes:
        raise InputError(path, 'holds fewer pixels than its header says', _RESTORE)


def segment_size(page: Any) -> tuple[int, int]:
    """Height and width of the strips or tiles of a page."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def check_segment(path: Path, page: Any, data: bytes) -> None:
    """Refuse compressed data of a strip or tile that say to be larger than it.

    Args:
        path: The file, to name it.
        page: From :func:`check_header`.
        data: All of the data, or at least their header.

    Raises:
        InputError: If so.
    """
    measure = _OWN_HEADERS.get(page.compression)
    if measure is None:
        return
    size, most = measure(data), segment_size(page)
    if size is None or size[0] > most[0] or size[1] > most[1]:
        raise InputError(path, f'holds a tile of the size {size} where {most} is due', _RESTORE)


def check_all_segments(path: Path, page: Any, file: Any) -> None:
    """:func:`check_segment` for each of an open file."""
    if page.compression not in _OWN_HEADERS:
        return
    for offset, count in zip(page.dataoffsets, page.databytecounts):
        file.seek(offset)
        check_segment(path, page, file.read(min(count, HEADER_BYTES)))


def _check_segments(path: Path, page: Any) -> None:
    """Check that there are as many strips or tiles as the size asks for, none beyond the end of the file.

    tifffile fills what is missing with zeros, or with what happens to be in memory.
    """
    size = path.stat().st_size
    if not all(isinstance(number, int) for number in (*page.dataoffsets, *page.databytecounts)):
        raise InputError(path, 'does not say where its pixels lie', _RESTORE)
    if any(offset + count > size for offset, count in zip(page.dataoffsets, page.databytecounts)):
        raise InputError(path, 'is truncated', _RESTORE)
    height, width = segment_size(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    segments = planes * math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width)
    counts = page.databytecounts
    # Several strips that lie one behind the other may be declared as one.
    declared = page.is_contiguous or (len(page.dataoffsets) == len(counts) == segments)
    if not declared or len(counts) == 0 or min(counts) < 1:
        raise InputError(path, 'holds fewer pixels than its header says', _RESTORE)
    max_ratio = MAX_RATIOS[page.compression]
    check_ratio(path, math.ceil(math.prod(page.shaped) * page.bitspersample / 8), sum(counts), max_ratio)
    channels = 1 if page.planarconfig == 2 else page.samplesperpixel
    segment_bytes = height * width * channels * page.dtype.itemsize
    if segment_bytes > MAX_IMAGE_BYTES:
        raise InputError(path, f'has tiles of {width} x {height} pixels', 'save it with smaller tiles')
    check_ratio(path, math.ceil(height * width * channels * page.bitspersample / 8), max(counts), max_ratio)
