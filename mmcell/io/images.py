"""Reading microscopy images and label maps exactly, or saying in one line why not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmcell.errors import InputError
from mmcell.io.files import read_bytes
from mmcell.io.limits import MAX_MASK_PIXELS, MAX_PIXELS
from mmcell.io.stored import Alpha, Picture, Stored

ChannelOrder = Literal['rgb', 'bgr']


def read_image(path: str | Path, channel_order: ChannelOrder = 'rgb') -> NDArray[np.uint8]:
    """Read an 8- or 16-bit gray, RGB or RGBA image (TIFF, PNG) or a JPEG.

    16-bit values are scaled from their full range (65535 becomes 255), alpha is composed on white (glass without
    tissue is white in brightfield microscopy), gray is repeated to three channels.

    Args:
        path: The image file; its format is told from its first bytes, not from its name.
        channel_order: Order in which the file stores its colors. 'bgr' swaps red and blue.

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
    with open_stored(path, MAX_PIXELS) as stored:
        pixels, opaque = read_rgb(stored, 0, 0, *stored.size[::-1])
    return np.ascontiguousarray(pixels[..., ::-1] if channel_order == 'bgr' else pixels), opaque


def open_stored(path: str | Path, max_pixels: int, level: int = 0) -> Stored:
    """Open a TIFF, PNG or JPEG, and check its header.

    Args:
        path: The file; its format is told from its first bytes, not from its name.
        max_pixels: How many pixels a TIFF may have; others are always read as a whole.
        level: Which level of a pyramid; other files than TIFF have one.

    Raises:
        InputError: If it is none of them, or its header says that it cannot be read.
    """
    path = Path(path)
    if read_bytes(path, 4) in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        from mmcell.io.tiff import TiffPixels  # tifffile takes long to import.

        return TiffPixels(path, max_pixels, level)
    return Picture(path)


def read_rgb(stored: Stored, x1: int, y1: int, x2: int, y2: int) -> tuple[NDArray[np.uint8], bool]:
    """A window of an open file as :func:`as_rgb`."""
    pixels = stored.read(x1, y1, x2, y2)
    if stored.palette is not None:
        if pixels.max() >= len(stored.palette):
            raise InputError(stored.path, 'holds numbers that its palette has no colors for', 'save it as RGB')
        return as_rgb(stored.path, stored.palette[pixels[..., 0]])
    return as_rgb(stored.path, pixels, stored.alpha, stored.bits, stored.white_is_zero)


def as_rgb(
    where: str | Path,
    pixels: NDArray,
    alpha: Alpha = 'straight',
    bits: int | None = None,
    white_is_zero: bool = False,
) -> tuple[NDArray[np.uint8], bool]:
    """Pixels of any kind that :func:`read_image` takes as 8-bit RGB.

    Args:
        where: What to name in an error.
        pixels: (H, W) or (H, W, C) with gray, gray and alpha, RGB or RGBA; bool, uint8 or uint16.
        alpha: What the alpha is: colors may be multiplied by it, and one that is 'unknown' has to be opaque.
        bits: Bits of a channel that are used; None for all.
        white_is_zero: Whether the lowest gray is white.

    Returns:
        (H, W, 3) uint8, contiguous, and whether all of it is opaque.

    Raises:
        InputError: If they are of another type or shape, or none.
    """
    if pixels.dtype.kind not in 'bu' or pixels.dtype.itemsize > 2:
        raise InputError(where, f'has pixels of type {pixels.dtype}', 'give 8 or 16 bits per channel, whole numbers')
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] > 4 or 0 in pixels.shape:
        raise InputError(where, f'has shape {pixels.shape}', 'give one gray, RGB or RGBA picture')
    bits = 1 if pixels.dtype == np.bool_ else bits or 8 * pixels.dtype.itemsize
    if bits != 8:
        highest = 2**bits - 1
        if pixels.max() > highest:
            raise InputError(where, f'holds numbers beyond the {bits} bits that it says it uses', 'save it again')
        levels = ((np.arange(highest + 1, dtype=np.uint32) * 255 + highest // 2) // highest).astype(np.uint8)
        pixels = levels[pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels]
    opaque, colour = True, pixels
    if pixels.shape[2] in (2, 4):
        colour, weight = pixels[..., :-1], pixels[..., -1:]
        opaque = bool((weight == 255).all())
    if white_is_zero:
        colour = ~colour
    if not opaque:
        if alpha == 'unknown':
            problem = f'has {pixels.shape[2]} channels, of which it does not say that the last one is alpha'
            raise InputError(where, problem, 'save it as one gray, RGB or RGBA picture')
        colour = _on_white(colour, weight, alpha == 'premultiplied')
    return np.ascontiguousarray(np.repeat(colour, 3, axis=2) if colour.shape[2] == 1 else colour), opaque


def read_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image, from its header alone.

    Raises:
        InputError: If the header cannot be read, or says that the image cannot.
    """
    with open_stored(path, MAX_MASK_PIXELS) as stored:
        return stored.size


def say_turned(size: Sequence[Any], other: Sequence[Any]) -> str:
    """A word on two sizes that differ by a quarter turn, for the end of a problem; empty for others."""
    swapped = tuple(size) == tuple(other)[::-1] != tuple(other)
    return ', turned by a quarter as an EXIF orientation says' if swapped else ''


def read_label_map(path: str | Path) -> NDArray[np.int32]:
    """Read a label map: pixel value = instance id, 0 = background.

    Args:
        path: A one-channel TIFF or PNG of any integer type, or of floats that hold integers.

    Returns:
        int32 array of shape (H, W).

    Raises:
        InputError: If the file cannot be read, is a JPEG, has several channels, or holds an id that is negative, NaN,
            fractional or above 2**31 - 1.
    """
    # Ids are what is stored, whatever the file says about black and white, or about colors.
    with open_stored(path, MAX_PIXELS) as stored:
        if stored.lossy:
            raise InputError(path, 'may be compressed with loss, which changes ids', 'save label maps as PNG or TIFF')
        pixels = stored.read(0, 0, *stored.size[::-1])
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 2:
        raise InputError(
            path, f'has shape {pixels.shape}, but a label map has one channel', 'save instance ids, not colors'
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
