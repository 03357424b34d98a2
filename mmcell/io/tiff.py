"""TIFF files: their headers are checked before a pixel is decoded, since what they say is allocated and believed."""

from __future__ import annotations

import html
import io
import math
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from mmcell.errors import InputError
from mmcell.io.limits import MAX_IMAGE_BYTES, MAX_PIXELS
from mmcell.io.stored import RESTORE, Alpha, Stored, check_ratio, check_size, square_mpp, unreadable

#: Compressions that we read, and how many bytes one byte of each can stand for at most. Others have no such bound, or
#: decoders that take more memory than the pixels.
MAX_RATIOS = {
    1: 1,  # none
    5: 2**11,  # LZW: 1365, by strings of up to 3839 bytes in codes of at most 12 bits
    7: 2**11,  # JPEG: 1024, by a bit for each block of 8 x 8 pixels of 3 subsampled channels
    8: 2**11,  # deflate: 1032
    32946: 2**11,  # deflate under its older number
    32773: 2**7,  # PackBits
    33005: 2**20,  # JPEG 2000 as Aperio stores it, RGB; empty packets: no bound worth the name
    34712: 2**20,  # JPEG 2000
    34927: 2**20,  # WebP under its older number; a tile of one color takes thirty bytes
    50001: 2**20,  # WebP
    50000: 2**15,  # Zstandard: blocks of 128 KiB in 4 bytes
}

#: Compressions whose data bring a header of their own, which decoders believe instead of the file's.
_OWN_HEADERS = {
    7: JpegImageFile,
    33005: Jpeg2KImageFile,
    34712: Jpeg2KImageFile,
    34927: WebPImageFile,
    50001: WebPImageFile,
}

# Lossy ones, whose decoders give RGB where colors are stored as YCbCr.
_PHOTOGRAPHIC = (7, 34927, 50001)
_GREY, _RGB, _PALETTE, _YCBCR = (0, 1), 2, 3, 6

#: Microns of what files give lengths in.
_MICRON = ('µm', 'μm', '\\u00B5m', 'um', 'micron', 'microns')
_UNITS = {'nm': 1e-3, 'mm': 1e3, 'cm': 1e4, **dict.fromkeys(_MICRON, 1.0)}
# A slide has some ten levels, a label and an overview.
_MAX_PAGES = 64

# Decoded strips or tiles that are kept: those of a row of windows, so that each is decoded once or twice.
_CACHE_BYTES = 1 << 28


class TiffPixels(Stored):
    """The one picture of a TIFF file, or a level of it; strips or tiles are decoded as windows need them.

    A picture may be stored several times, smaller and smaller (a pyramid), and an Aperio file may hold a thumbnail, a
    label and an overview of the glass, which are passed over. Where it is uncompressed and in one piece it is
    memory-mapped. Of decoded strips or tiles 256 MiB are kept. (tifffile itself reads parts of a picture through zarr
    alone, which nothing else here needs.)

    Args:
        path: The file.
        max_pixels: How many pixels the picture may have.
        level: Which of the :attr:`levels`.

    Raises:
        InputError: If there are no or several pictures, the picture is too large or of a kind that we do not read, or
            the file ends before its pixels do.
    """

    kind = 'TIFF'

    def __init__(self, path: Path, max_pixels: int, level: int = 0) -> None:
        self._file: tifffile.TiffFile | None = None
        self._cache: OrderedDict[int, NDArray] = OrderedDict()
        self._mapped: NDArray | None = None
        try:
            # As OME-TIFF it could lead to other files.
            self._file = tifffile.TiffFile(path, is_ome=False)
            pages = _levels(path, self._file)
            page = self._page = _check_header(path, pages[level], max_pixels)
            super().__init__(path, (page.imagelength, page.imagewidth), pages[0].tags.valueof(274, default=1))
            sizes = [(each.imagelength, each.imagewidth) for each in pages]
            self.levels = [size[::-1] if self._across else size for size in sizes]
            self.mpp = _microns_per_pixel(path, pages[0])
            self.bits = _used_bits(page, pages[0].description)
            self.lossy = page.compression in _OWN_HEADERS
            self.white_is_zero = page.photometric == 0
            self.alpha = _alpha(path, page)
            if page.photometric == _PALETTE:
                colours = np.asarray(page.colormap).T
                self.palette = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
            if page.is_memmappable:
                planes = page.asarray(out='memmap').reshape(page.shaped)[:, 0]
                self._mapped = planes[0] if len(planes) == 1 else np.moveaxis(planes[..., 0], 0, -1)
        except InputError:
            self.close()
            raise
        except Exception as error:  # A broken file raises what it likes.
            self.close()
            raise unreadable(path, self.kind, error) from None

    def close(self) -> None:
        """Close the file and forget its pixels."""
        if self._file is not None:
            self._file.close()
        self._mapped = None
        self._cache.clear()

    def _fetch(self, top: int, bottom: int, left: int, right: int) -> NDArray:
        if self._mapped is not None:
            return self._mapped[top:bottom, left:right]
        page = self._page
        height, width = _segment_size(page)
        across, down = -(-page.imagewidth // width), -(-page.imagelength // height)
        window = np.zeros((bottom - top, right - left, page.samplesperpixel), dtype=page.dtype)
        for plane in range(page.samplesperpixel if page.planarconfig == 2 else 1):
            for row in range(top // height, -(-bottom // height)):
                for column in range(left // width, -(-right // width)):
                    segment = self._segment((plane * down + row) * across + column)
                    y, x = row * height, column * width
                    part = segment[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
                    y, x = max(y - top, 0), max(x - left, 0)
                    channels = slice(plane, plane + part.shape[2])
                    window[y : y + part.shape[0], x : x + part.shape[1], channels] = part
        return window

    def _segment(self, index: int) -> NDArray:
        """A strip or tile of the file, (H, W, channels)."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        assert self._file is not None  # it is open
        page, file = self._page, self._file.filehandle
        file.seek(page.dataoffsets[index])
        data = file.read(page.databytecounts[index])
        _check_segment(self.path, page, data)
        decoded: Any = page.decode(data, index, jpegtables=page.jpegtables)[0]
        segment = decoded[0]
        self._cache[index] = segment
        # All but those at the edges are of one size.
        while len(self._cache) > 1 and len(self._cache) * segment.nbytes > _CACHE_BYTES:
            self._cache.popitem(last=False)
        return segment


def _alpha(path: Path, page: tifffile.TiffPage) -> Alpha:
    """What the channel beside gray or RGB is."""
    extra = page.samplesperpixel - (3 if page.photometric in (_RGB, _YCBCR) else 1)
    if extra < 0:
        raise InputError(path, f'has {page.samplesperpixel} channels where RGB is expected', RESTORE)
    if extra > 1:
        raise InputError(path, f'has {page.samplesperpixel} channels', 'save it as one gray, RGB or RGBA picture')
    # Where RGB has a fourth channel without a word about it, it is alpha: so OpenCV writes and libtiff reads.
    if not page.extrasamples:
        return 'straight' if page.photometric == _RGB else 'unknown'
    kinds: dict[int, Alpha] = {1: 'premultiplied', 2: 'straight'}
    return kinds.get(page.extrasamples[0], 'unknown')


def _levels(path: Path, tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The pages of the one picture of an open file, the largest first."""
    first, count = _first_page(path, tiff), len(tiff.pages)
    if count == 1 and not first.subifds:
        return [first]
    if count <= _MAX_PAGES:
        series = tiff.series
        pages = [page.aspage() for level in series[0].levels if (page := level.pages[0]) is not None]
        one = math.prod(series[0].shape) == math.prod(pages[0].shape)
        # What else is in an Aperio file are a thumbnail, a label and an overview.
        if one and (len(series) == 1 or series[0].kind == 'svs'):
            return pages
    raise InputError(path, f'holds {count} pages', 'save one picture per file')


def _microns_per_pixel(path: Path, page: tifffile.TiffPage) -> float | None:
    """What Aperio's description, OME-XML, ImageJ's description or the resolution in the tags says."""
    text = page.description[: 2**20]
    across = down = 0.0
    if found := re.search(r'\bMPP\s*=\s*([\d.]+)', text):
        across = down = _number(found[1])
    elif found := re.search(r'<(?:\w+:)?Pixels\b[^>]*>', text):
        across, down = (_ome_size(html.unescape(found[0]), axis) for axis in 'XY')
    else:
        unit = {2: 25400.0, 3: 1e4}.get(page.resolutionunit)
        if page.resolutionunit == 1 and (named := re.search(r'^unit=(\S+)', text, re.MULTILINE)):
            unit = _UNITS.get(named[1])
        if unit and min(page.resolution) > 0:
            across, down = (unit / number for number in page.resolution)
    return square_mpp(path, across, down)


def _used_bits(page: tifffile.TiffPage, text: str) -> int:
    """Bits of a channel, of which OME-XML may say that only the lower ones are used: 12 of 16, as cameras give."""
    found = re.search(r'<(?:\w+:)?Pixels\b[^>]*\bSignificantBits="(\d{1,2})"', text[: 2**20])
    used = int(found[1]) if found else 0
    return used if 0 < used < page.bitspersample else page.bitspersample


def _ome_size(element: str, axis: str) -> float:
    size, unit = (re.search(rf'\bPhysicalSize{axis}{what}="([^"]+)"', element) for what in ('', 'Unit'))
    return _number(size[1]) * _UNITS.get(unit[1] if unit else 'µm', 0) if size else 0.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _check_header(path: Path, page: tifffile.TiffPage, max_pixels: int) -> tifffile.TiffPage:
    """A page of an open file, with whole numbers for all that sizes are computed from."""
    _check_sizes(path, page)
    known = (*_GREY, _RGB, _PALETTE, None)
    if page.photometric not in known and (page.photometric != _YCBCR or page.compression not in _PHOTOGRAPHIC):
        name = getattr(page.photometric, 'name', page.photometric)
        raise InputError(path, f'stores colors as {name}', 'save it as gray, RGB or RGBA')
    if page.compression not in MAX_RATIOS:
        name = getattr(page.compression, 'name', page.compression)
        raise InputError(path, f'is compressed as {name}', 'save it with LZW or deflate')
    check_size(path, page.imagelength, page.imagewidth, max_pixels)
    bits = page.bitspersample
    if page.dtype is None or not isinstance(bits, int) or not 1 <= bits <= 64 or not 1 <= page.samplesperpixel <= 4:
        problem = f'has {page.samplesperpixel} channels of {bits} bits'
        raise InputError(path, problem, 'save it as one gray, RGB or RGBA picture with 8 or 16 bits per channel')
    if math.prod(page.shaped) != page.imagelength * page.imagewidth * page.samplesperpixel:
        raise InputError(path, f'has the shape {page.shaped}', 'save it as one picture without depth')
    if page.planarconfig not in (1, 2):
        raise InputError(path, f'has the planar configuration {page.planarconfig}', RESTORE)
    if page.nbytes > MAX_IMAGE_BYTES and max_pixels <= MAX_PIXELS:
        raise InputError(path, f'holds {page.nbytes} bytes of pixels', f'cut it to at most {MAX_IMAGE_BYTES} bytes')
    if page.compression == 1:
        page.predictor = (
            1  # Predictors belong to compressions: without one, libtiff ignores it, tifffile does not always.
        )
    _check_segments(path, page)
    return page


def _first_page(path: Path, tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """The first page of an open file, with whole numbers for its size."""
    if not tiff.pages:
        raise InputError(path, 'is truncated or holds no picture', RESTORE)
    _check_sizes(path, tiff.pages.first)
    return tiff.pages.first


def _check_sizes(path: Path, page: tifffile.TiffPage) -> None:
    sizes = [page.imagelength, page.imagewidth, page.samplesperpixel]
    sizes += [page.tilelength, page.tilewidth] if page.is_tiled else [page.rowsperstrip]
    if any(not isinstance(size, int) or size < 1 for size in sizes):
        raise InputError(path, 'has a header without sizes', RESTORE)


def _segment_size(page: tifffile.TiffPage) -> tuple[int, int]:
    """Height and width of the strips or tiles of a page."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _check_segment(path: Path, page: tifffile.TiffPage, data: bytes) -> None:
    """Refuse compressed data of a strip or tile that say to be larger than it."""
    if page.compression in _OWN_HEADERS:
        reader: Any = _OWN_HEADERS[page.compression]
        width, height = reader(io.BytesIO(data)).size
        most = _segment_size(page)
        if height > most[0] or width > most[1]:
            raise InputError(path, f'holds a tile of the size {(height, width)} where {most} is due', RESTORE)


def _check_segments(path: Path, page: tifffile.TiffPage) -> None:
    """Check that there are as many strips or tiles as the size asks for, none beyond the end of the file.

    tifffile fills what is missing with zeros, or with what happens to be in memory.
    """
    size = path.stat().st_size
    if not all(isinstance(number, int) for number in (*page.dataoffsets, *page.databytecounts)):
        raise InputError(path, 'does not say where its pixels lie', RESTORE)
    if any(offset + count > size for offset, count in zip(page.dataoffsets, page.databytecounts)):
        raise InputError(path, 'is truncated', RESTORE)
    height, width = _segment_size(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    segments = planes * math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width)
    counts = page.databytecounts
    # Several strips that lie one behind the other may be declared as one.
    declared = page.is_contiguous or (len(page.dataoffsets) == len(counts) == segments)
    if not declared or len(counts) == 0 or min(counts) < 1:
        raise InputError(path, 'holds fewer pixels than its header says', RESTORE)
    max_ratio = MAX_RATIOS[page.compression]
    check_ratio(path, math.ceil(math.prod(page.shaped) * page.bitspersample / 8), sum(counts), max_ratio)
    channels = 1 if page.planarconfig == 2 else page.samplesperpixel
    segment_bytes = height * width * channels * np.dtype(page.dtype).itemsize
    if segment_bytes > MAX_IMAGE_BYTES or (height * width > MAX_PIXELS and not page.is_memmappable):
        raise InputError(path, f'has tiles of {width} x {height} pixels', 'save it with smaller tiles')
    check_ratio(path, math.ceil(height * width * channels * page.bitspersample / 8), max(counts), max_ratio)
