"""Reading microscopy images and label maps exactly, or saying in one line why not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmcell.errors import InputError
from mmcell.io import tiff
from mmcell.io.files import read_bytes
from mmcell.io.headers import HEADER_BYTES, JPEG_MAGIC, PNG_MAGIC, jpeg_size, png_bits, png_size
from mmcell.io.limits import MAX_PIXELS

ChannelOrder = Literal['rgb', 'bgr']

_TIFF_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')

#: How many bytes of pixels one byte of a file can stand for at most, see :data:`mmcell.io.tiff.MAX_RATIOS`.
_MAX_RATIO = 2**11


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
    if white_is_zero and pixels.dtype.kind in 'bu':
        pixels = ~pixels
    pixels, opaque = as_rgb(path, pixels, premultiplied)
    return np.ascontiguousarray(pixels[..., ::-1] if channel_order == 'bgr' else pixels), opaque


def as_rgb(where: str | Path, pixels: NDArray, premultiplied: bool = False) -> tuple[NDArray[np.uint8], bool]:
    """Pixels of any kind that :func:`read_image` takes as 8-bit RGB.

    Args:
        where: What to name in an error.
        pixels: (H, W) or (H, W, C) with grey, grey and alpha, RGB or RGBA; bool, uint8 or uint16.
        premultiplied: Whether the colours are multiplied by alpha.

    Returns:
        (H, W, 3) uint8, contiguous, and whether all of it is opaque.

    Raises:
        InputError: If they are of another type or shape, or none.
    """
    if pixels.dtype == np.uint16:
        pixels = _TO_8_BIT[pixels]
    elif pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype != np.uint8:
        raise InputError(where, f'has pixels of type {pixels.dtype}', 'give 8 or 16 bits a channel, whole numbers')
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] > 4 or 0 in pixels.shape:
        raise InputError(where, f'has shape {pixels.shape}', 'give one grey, RGB or RGBA picture')
    opaque = True
    if pixels.shape[2] in (2, 4):
        colour, alpha = pixels[..., :-1], pixels[..., -1:]
        opaque = bool((alpha == 255).all())
        pixels = colour if opaque else _on_white(colour, alpha, premultiplied)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels), opaque


def read_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image, from its header alone.

    Raises:
        InputError: If the header cannot be read.
    """
    path = Path(path)
    data = read_bytes(path, HEADER_BYTES)
    if data.startswith(_TIFF_MAGIC):
        import tifffile

        try:
            with tifffile.TiffFile(path) as file:
                page = tiff.first_page(path, file)
                return page.imagelength, page.imagewidth
        except InputError:
            raise
        except Exception as error:
            raise _unreadable(path, 'TIFF', error) from None
    return _picture_size(path, data)


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
    composed = np.empty(colour.shape, dtype=np.uint8)
    # Some rows at a time: the intermediate numbers take many times the memory of the picture.
    step = max(1, 2**20 // colour.shape[1])
    for top in range(0, len(colour), step):
        rows = slice(top, top + step)
        weight = alpha[rows].astype(np.uint32)
        weighted = colour[rows].astype(np.uint32) * (255 if premultiplied else weight)
        composed[rows] = np.minimum((weighted + (255 - weight) * 255 + 127) // 255, 255)
    return composed


def _read_pixels(path: Path) -> tuple[NDArray, bool, bool]:
    """Pixels as stored, (H, W) or (H, W, C); whether zero means white; whether colours are multiplied by alpha."""
    data = read_bytes(path, HEADER_BYTES)
    if data.startswith(_TIFF_MAGIC):
        return _read_tiff(path)
    height, width = _picture_size(path, data)
    tiff.check_size(path, height, width, MAX_PIXELS)
    # imagecodecs takes long to import; header-only work does without it.
    import imagecodecs

    data = read_bytes(path)
    is_png = data.startswith(PNG_MAGIC)
    bits = png_bits(data) if is_png else 24
    tiff.check_ratio(path, height * width * bits // 8, len(data), _MAX_RATIO)
    try:
        return (imagecodecs.png_decode if is_png else imagecodecs.jpeg8_decode)(data), False, False
    except Exception as error:
        raise _unreadable(path, 'PNG' if is_png else 'JPEG', error) from None


def _picture_size(path: Path, data: bytes) -> tuple[int, int]:
    """Height and width of a PNG or JPEG, given its first bytes."""
    if data.startswith(PNG_MAGIC):
        size = png_size(data)
    elif data.startswith(JPEG_MAGIC):
        # Metadata may push the size far back.
        size = jpeg_size(data) or jpeg_size(read_bytes(path))
    else:
        raise InputError(path, 'is not a TIFF, PNG or JPEG file', 'save it as TIFF or PNG')
    if size is None:
        raise InputError(path, 'is truncated', 'restore it from its source')
    return size


def _read_tiff(path: Path) -> tuple[NDArray, bool, bool]:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = tiff.check_header(path, file, MAX_PIXELS)
            tiff.check_all_segments(path, page, file.filehandle)
            pixels = page.asarray()
            if page.axes[:1] == 'S':  # one plane a channel
                pixels = np.moveaxis(pixels, 0, -1)
            return pixels, page.photometric == 0, page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path, 'TIFF', error) from None


def _unreadable(path: Path, kind: str, error: Exception) -> InputError:
    reason = str(error) or type(error).__name__
    return InputError(path, f'cannot be read as {kind} ({reason[:200]})', 'restore it from its source or save it again')
