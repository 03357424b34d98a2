"""What picture files store: one way to their pixels, whoever asks and for however much of them."""

from __future__ import annotations

import io
import os
import struct
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from mmcell.errors import InputError
from mmcell.io.files import check_file, read_bytes
from mmcell.io.limits import MAX_PIXELS

Alpha = Literal['straight', 'premultiplied', 'unknown']

_Stored = TypeVar('_Stored', bound='Stored')

RESTORE = 'restore it from its source'

#: Readers of headers by the first bytes of a file. Not `PIL.Image.open`, which has a smaller limit of its own.
PICTURES = {b'\x89PNG\r\n\x1a\n': PngImageFile, b'\xff\xd8\xff': JpegImageFile}

#: Parts of a PNG, and those of them that may say how it is to be turned.
_NOTES = (b'IHDR', b'eXIf', b'tEXt', b'zTXt', b'iTXt', b'IEND')

#: How many bytes of pixels one byte of a PNG or JPEG can stand for at most, see :data:`mmcell.io.tiff.MAX_RATIOS`.
_MAX_RATIO = 2**11

#: Microns per pixel of a microscope. What files say beyond that is about printing: 72 dots an inch are 353.
_MPP = 0.01, 10.0


class Stored(ABC):
    """Pixels of an open file as it stores them, turned as it says that they are to be shown.

    Attributes:
        size: Height and width in pixels, as shown.
        levels: Heights and widths of all levels, the largest first; those of a pyramid are read one by one.
        mpp: Microns per pixel of the largest level, where the file says so.
        bits: Bits of a channel, or None where the type of the pixels says it.
        white_is_zero: Whether the lowest number of a gray picture is white.
        alpha: What a second or fourth channel is.
        lossy: Whether numbers come back changed: JPEG keeps colors alike, not equal.
        palette: Colors of the numbers stored, (K, 3 or 4) uint8, if these are no colors themselves.
    """

    kind: str
    mpp: float | None = None
    bits: int | None = None
    white_is_zero: bool = False
    alpha: Alpha = 'straight'
    lossy: bool = False
    palette: NDArray[np.uint8] | None = None

    def __init__(self, path: Path, shape: tuple[int, int], orientation: int) -> None:
        self.path = path
        # Numbers of EXIF and of TIFF 6.0, page 36; what is none of them means nothing.
        self._across = orientation in (5, 6, 7, 8)
        self._mirrored, self._upside_down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
        self.size = shape[::-1] if self._across else shape
        self.levels = [self.size]

    def __enter__(self: _Stored) -> _Stored:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 (pictures hold nothing open)
        """Close the file and forget its pixels."""

    def read(self, x1: int, y1: int, x2: int, y2: int) -> NDArray:
        """Pixels of the window from x1, y1 to x2, y2, which lies inside the picture: (y2 - y1, x2 - x1, channels).

        Raises:
            InputError: If this part of the file is broken.
        """
        height, width = self.size
        if self._mirrored:
            x1, x2 = width - x2, width - x1
        if self._upside_down:
            y1, y2 = height - y2, height - y1
        try:
            pixels = self._fetch(x1, x2, y1, y2) if self._across else self._fetch(y1, y2, x1, x2)
        except InputError:
            raise
        except Exception as error:  # Decoders raise what they like.
            raise unreadable(self.path, self.kind, error) from None
        if self._across:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self._upside_down else 1, :: -1 if self._mirrored else 1]

    @abstractmethod
    def _fetch(self, top: int, bottom: int, left: int, right: int) -> NDArray:
        """Stored pixels, (bottom - top, right - left, channels)."""


class Picture(Stored):
    """A PNG or JPEG, which is decoded as a whole once a pixel of it is asked for.

    Raises:
        InputError: If its header cannot be read, or says that it is too large or has other colors than gray and RGB.
    """

    def __init__(self, path: Path) -> None:
        start = read_bytes(path, 32)
        self.kind = 'PNG' if start.startswith(b'\x89PNG') else 'JPEG'
        self.lossy = self.kind == 'JPEG'
        header = read_header(path)
        with header:
            width, height = header.size
            if header.mode in ('CMYK', 'YCCK'):
                raise InputError(path, f'stores colors as {header.mode}', 'save it as gray or RGB')
            if getattr(header, 'is_animated', False):
                raise InputError(path, 'holds several pictures', 'save one picture per file')
            try:
                # Not that of PngImageFile, which decodes the pixels.
                exif = ImageFile.getexif(header if self.lossy else _read_notes(path))
            except Exception as error:
                raise unreadable(path, self.kind, error) from None
        super().__init__(path, (height, width), exif.get(0x112, 1))
        self._is_indexed = header.mode in ('P', '1')
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[start[25]] if self.kind == 'PNG' else 3
        bits = channels * (start[24] if self.kind == 'PNG' else 8)
        check_size(path, height, width, MAX_PIXELS)
        check_ratio(path, height * width * bits // 8, check_file(path), _MAX_RATIO)
        self._pixels: NDArray | None = None

    def _fetch(self, top: int, bottom: int, left: int, right: int) -> NDArray:
        if self._pixels is None:
            self._pixels = self._decode()
            self._pixels = self._pixels.reshape(*self._pixels.shape[:2], -1)
        return self._pixels[top:bottom, left:right]

    def _decode(self) -> NDArray:
        if self._is_indexed:  # imagecodecs gives the colors of a palette only.
            with read_header(self.path) as picture:
                pixels = np.asarray(picture)
                if picture.mode == 'P':
                    picture.apply_transparency()
                    self.palette = np.array(picture.getpalette('RGBA'), dtype=np.uint8).reshape(-1, 4)
            return pixels
        # It takes long to import; header-only work does without it.
        import imagecodecs

        return (imagecodecs.png_decode if self.kind == 'PNG' else imagecodecs.jpeg8_decode)(read_bytes(self.path))


def _read_notes(path: Path) -> ImageFile:
    """A PNG without its pixels: what stands behind them, where headers end, is read as well."""
    notes = io.BytesIO()
    with path.open('rb') as file:
        notes.write(file.read(8))
        name = b''
        while name != b'IEND' and len(start := file.read(8)) == 8:
            length, name = struct.unpack('>I4s', start)
            if name in _NOTES:
                notes.write(start + file.read(length + 4))
            else:
                file.seek(length + 4, os.SEEK_CUR)
    notes.seek(0)
    return PngImageFile(notes)


def read_header(path: Path) -> ImageFile:
    """Header of a PNG or JPEG; its pixels are decoded when asked for.

    Raises:
        InputError: If it is none, or broken.
    """
    start = read_bytes(path, 8)
    for magic, reader in PICTURES.items():
        if start.startswith(magic):
            try:
                return reader(path)
            except Exception as error:  # Pillow raises what it likes.
                raise unreadable(path, reader.format or 'image', error) from None
    raise InputError(path, 'is not a TIFF, PNG or JPEG file', 'save it as TIFF or PNG')


def check_size(path: Path, height: int, width: int, max_pixels: int) -> None:
    """Refuse an image without pixels, or with more than `max_pixels`.

    Raises:
        InputError: If so.
    """
    if height < 1 or width < 1:
        raise InputError(path, f'is empty ({width} x {height} pixels)', RESTORE)
    if height * width > max_pixels:
        raise InputError(path, f'is too large ({width} x {height} pixels)', f'cut it to at most {max_pixels} pixels')


def check_ratio(path: Path, pixel_bytes: int, stored_bytes: int, max_ratio: int) -> None:
    """Refuse a file that is too small for the pixels that its header promises.

    Raises:
        InputError: If so.
    """
    if pixel_bytes > max_ratio * stored_bytes:
        raise InputError(path, 'holds fewer pixels than its header says', RESTORE)


def square_mpp(path: Path, across: float, down: float) -> float | None:
    """Microns per pixel that a file gives for its width and its height; None for what no microscope has.

    Raises:
        InputError: If they differ.
    """
    if not _MPP[0] <= min(across, down) <= max(across, down) <= _MPP[1]:
        return None
    if max(across, down) > 1.02 * min(across, down):
        raise InputError(path, f'has pixels of {across:g} x {down:g} microns', 'resample it to square ones')
    return (across + down) / 2


def unreadable(path: Path, kind: str, error: Exception) -> InputError:
    """What to raise where a library cannot read a file."""
    reason = str(error) or type(error).__name__
    return InputError(path, f'cannot be read as {kind} ({reason[:200]})', f'{RESTORE} or save it again')
