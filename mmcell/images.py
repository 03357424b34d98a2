"""Reading microscopy images and label maps exactly, or saying in one line why not."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmcell.errors import InputError

ChannelOrder = Literal['rgb', 'bgr']

#: Images of more pixels are refused before they are decoded: a whole one would not fit in memory as float32.
MAX_PIXELS = 2**29

_TIFF_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
_JPEG_MAGIC = b'\xff\xd8\xff'

# tifffile logs what it cannot parse; we raise instead.
logging.getLogger('tifffile').setLevel(logging.CRITICAL)


def read_image(path: str | Path, channel_order: ChannelOrder = 'rgb') -> NDArray[np.uint8]:
    """Read an 8- or 16-bit grey, RGB or RGBA image (TIFF, PNG) or a JPEG.

    16-bit values are scaled from their full range (65535 becomes 255), alpha is composed on white (glass without
    tissue is white in brightfield microscopy), grey is repeated to three channels.

    Args:
        path: The image file; its format is told from its first bytes, not from its name.
        channel_order: Order in which the file stores its colours. 'bgr' swaps red and blue.

    Returns:
        uint8 array of shape (H, W, 3), RGB.

    Raises:
        InputError: If the file is missing, broken, too large or of a kind not listed above.
    """
    return read_image_and_opacity(path, channel_order)[0]


def read_image_and_opacity(path: str | Path, channel_order: ChannelOrder = 'rgb') -> tuple[NDArray[np.uint8], bool]:
    """Read an image as :func:`read_image` does, and tell whether it is opaque (has no alpha below its maximum).

    Raises:
        InputError: As :func:`read_image`.
    """
    pixels, white_is_zero, premultiplied = _read_pixels(Path(path))
    if white_is_zero:
        pixels = ~pixels
    if pixels.dtype == np.uint16:
        pixels = _TO_8_BIT[pixels]
    elif pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype != np.uint8:
        raise InputError(path, f'has pixels of type {pixels.dtype}', 'save it with 8 or 16 bits a channel')
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] > 4:
        raise InputError(path, f'has shape {pixels.shape}', 'save it as one grey, RGB or RGBA picture')
    opaque = True
    if pixels.shape[2] in (2, 4):
        colour, alpha = pixels[..., :-1], pixels[..., -1:]
        opaque = bool((alpha == 255).all())
        pixels = colour if opaque else _on_white(colour, alpha, premultiplied)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[..., ::-1] if channel_order == 'bgr' else pixels), opaque


def read_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image, from its header alone.

    Raises:
        InputError: If the header cannot be read.
    """
    path = Path(path)
    data = _head(path, 1 << 16)
    if data.startswith(_TIFF_MAGIC):
        import tifffile

        try:
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages.first
                return page.imagelength, page.imagewidth
        except Exception as error:
            raise _unreadable(path, 'TIFF', error) from None
    if data.startswith(_PNG_MAGIC):
        if len(data) < 24:
            raise InputError(path, 'is truncated', 'restore it from its source')
        return int.from_bytes(data[20:24], 'big'), int.from_bytes(data[16:20], 'big')
    height, width = read_image(path).shape[:2]
    return height, width


def read_label_map(path: str | Path) -> NDArray[np.int32]:
    """Read a label map: pixel value = instance id, 0 = background.

    Args:
        path: A one-channel TIFF or PNG of any integer type, or of floats that hold integers.

    Returns:
        int32 array of shape (H, W).

    Raises:
        InputError: If the file cannot be read, has several channels, or holds an id that is negative, NaN, fractional
            or above 2**31 - 1.
    """
    # Ids are what is stored, whatever the file says about black and white.
    pixels, _, _ = _read_pixels(Path(path))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 2:
        raise InputError(
            path, f'has shape {pixels.shape}, but a label map has one channel', 'save instance ids, not colours'
        )
    if np.issubdtype(pixels.dtype, np.complexfloating):
        raise InputError(path, 'holds complex numbers', 'save instance ids as integers')
    if pixels.dtype == np.bool_:
        return pixels.astype(np.int32)
    if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
        raise InputError(path, 'holds ids that are NaN or infinite', 'save instance ids as integers')
    low, high = pixels.min(), pixels.max()
    if low < 0:
        raise InputError(path, f'holds the negative id {low:g}', 'number instances from 1; 0 is background')
    if high > np.iinfo(np.int32).max:
        raise InputError(path, f'holds the id {high:g}, above 2147483647', 'number instances from 1')
    ids = pixels.astype(np.int32)
    if np.issubdtype(pixels.dtype, np.floating) and not np.array_equal(ids, pixels):
        fractional = pixels[ids != pixels][0]
        raise InputError(path, f'holds the fractional id {fractional:g}', 'save instance ids as integers')
    return ids


_TO_8_BIT = ((np.arange(2**16, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _on_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8], premultiplied: bool) -> NDArray[np.uint8]:
    weight = alpha.astype(np.uint32)
    weighted = colour.astype(np.uint32) * (255 if premultiplied else weight)
    return np.minimum((weighted + (255 - weight) * 255 + 127) // 255, 255).astype(np.uint8)


def _read_pixels(path: Path) -> tuple[NDArray, bool, bool]:
    """Pixels as stored, (H, W) or (H, W, C); whether zero means white; whether colours are multiplied by alpha."""
    head = _head(path, 32)
    if head.startswith(_TIFF_MAGIC):
        return _read_tiff(path)
    # imagecodecs takes long to import; header-only work does without it.
    import imagecodecs

    if head.startswith(_PNG_MAGIC):
        kind, decode = 'PNG', imagecodecs.png_decode
        _check_pixels(path, *read_size(path))
    elif head.startswith(_JPEG_MAGIC):
        kind, decode = 'JPEG', imagecodecs.jpeg8_decode
    else:
        raise InputError(path, 'is not a TIFF, PNG or JPEG file', 'save it as TIFF or PNG')
    try:
        return decode(path.read_bytes()), False, False
    except Exception as error:
        raise _unreadable(path, kind, error) from None


def _read_tiff(path: Path) -> tuple[NDArray, bool, bool]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            if not tiff.pages:
                raise InputError(path, 'is truncated or holds no picture', 'restore it from its source')
            if len(tiff.pages) != 1:
                raise InputError(path, f'holds {len(tiff.pages)} pages', 'save one picture a file')
            page = tiff.pages.first
            _check_pixels(path, page.imagelength, page.imagewidth)
            if page.photometric not in (None, 0, 1, 2, 6):
                name = getattr(page.photometric, 'name', page.photometric)
                raise InputError(path, f'stores colours as {name}', 'save it as grey, RGB or RGBA')
            _check_complete(path, page)
            pixels = page.asarray()
            if page.axes[:1] == 'S':  # one plane a channel
                pixels = np.moveaxis(pixels, 0, -1)
            return pixels, page.photometric == 0, page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path, 'TIFF', error) from None


def _check_complete(path: Path, page: object) -> None:
    """Refuse a file that ends before its pixels do; tifffile fills what is missing with zeros."""
    size = path.stat().st_size
    if any(offset + count > size for offset, count in zip(page.dataoffsets, page.databytecounts)):
        raise InputError(path, 'is truncated', 'restore it from its source')
    if page.compression == 1 and sum(page.databytecounts) < math.ceil(page.size * page.bitspersample / 8):
        raise InputError(path, 'holds fewer pixels than its header says', 'restore it from its source')


def _check_pixels(path: Path, height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise InputError(path, f'is empty ({width} x {height} pixels)', 'restore it from its source')
    if height * width > MAX_PIXELS:
        raise InputError(path, f'is too large ({width} x {height} pixels)', f'cut it to at most {MAX_PIXELS} pixels')


def _head(path: Path, size: int) -> bytes:
    try:
        with path.open('rb') as file:
            return file.read(size)
    except OSError as error:
        raise InputError(path, f'cannot be read ({error.strerror})', 'check the path and its permissions') from None


def _unreadable(path: Path, kind: str, error: Exception) -> InputError:
    reason = str(error) or type(error).__name__
    return InputError(path, f'cannot be read as {kind} ({reason[:200]})', 'restore it from its source or save it again')
