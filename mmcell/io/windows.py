"""Reading large images window by window."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from mmcell.errors import InputError
from mmcell.io.files import check_file
from mmcell.io.images import ChannelOrder, read_image
from mmcell.io.limits import MAX_MASK_PIXELS, MAX_PIXELS
from mmcell.io.tiff import check_header, check_segment, segment_size

# Decoded strips or tiles that are kept: those of a row of windows, so that each is decoded once or twice.
_CACHE_BYTES = 1 << 28
# Rows of a shrunk image that are read at once.
_STRIP = 64


class ImageWindows:
    """An image whose windows are read as they are asked for.

    TIFF files of 8-bit grey or RGB are memory-mapped where they are uncompressed and in one piece; of others the strips
    or tiles that a window needs are decoded, up to 256 MiB of which are kept. Every other kind of image is read as a
    whole by :func:`mmcell.io.images.read_image`. The pixels are those of that function.

    Args:
        path: The image file.
        channel_order: Order in which the file stores its colours.

    Attributes:
        size: Height and width in pixels.

    Raises:
        InputError: If the image cannot be read.
    """

    def __init__(self, path: str | Path, channel_order: ChannelOrder = 'rgb') -> None:
        import tifffile

        self._path, self._channel_order = Path(path), channel_order
        self._pixels, self._tiff, self._cache = None, None, OrderedDict()
        check_file(path)
        try:
            self._tiff = tifffile.TiffFile(path)
            if not _has_plain_pixels(check_header(self._path, self._tiff, MAX_MASK_PIXELS)):
                self.close()
            elif self._tiff.pages.first.is_memmappable:
                page = self._tiff.pages.first
                self._pixels = page.asarray(out='memmap').reshape(page.imagelength, page.imagewidth, -1)
        except Exception:  # A broken file raises what it likes; read_image then says what is wrong.
            self.close()
        if self._tiff is None:
            self._pixels, self._channel_order = read_image(path, channel_order), 'rgb'
            self.size = self._pixels.shape[:2]
        else:
            page = self._tiff.pages.first
            self.size = page.imagelength, page.imagewidth

    def __enter__(self) -> ImageWindows:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and forget its pixels."""
        if self._tiff is not None:
            self._tiff.close()
        self._pixels, self._tiff = None, None
        self._cache.clear()

    def read(self, x1: int, y1: int, x2: int, y2: int) -> NDArray[np.uint8]:
        """Pixels of the window from x1, y1 to x2, y2, which lies inside the image: (y2 - y1, x2 - x1, 3), RGB.

        Raises:
            InputError: If this part of the file is broken.
        """
        if self._pixels is not None:
            pixels = self._pixels[y1:y2, x1:x2]
        else:
            pixels = self._decode(x1, y1, x2, y2)
        pixels = pixels.reshape(y2 - y1, x2 - x1, -1)
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        return np.array(pixels[..., ::-1] if self._channel_order == 'bgr' else pixels, order='C')

    def _decode(self, x1: int, y1: int, x2: int, y2: int) -> NDArray[np.uint8]:
        page = self._tiff.pages.first
        height, width = segment_size(page)
        across = -(-page.imagewidth // width)
        window = np.zeros((y2 - y1, x2 - x1, page.samplesperpixel), dtype=np.uint8)
        for row in range(y1 // height, -(-y2 // height)):
            for column in range(x1 // width, -(-x2 // width)):
                segment = self._segment(row * across + column)
                top, left = row * height, column * width
                part = segment[max(y1 - top, 0) : y2 - top, max(x1 - left, 0) : x2 - left]
                y, x = max(top - y1, 0), max(left - x1, 0)
                window[y : y + part.shape[0], x : x + part.shape[1]] = part
        return window

    def _segment(self, index: int) -> NDArray[np.uint8]:
        """A strip or tile of the file, (H, W, channels)."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        page = self._tiff.pages.first
        try:
            file = self._tiff.filehandle
            file.seek(page.dataoffsets[index])
            data = file.read(page.databytecounts[index])
            check_segment(self._path, page, data)
            segment = page.decode(data, index, jpegtables=page.jpegtables)[0][0]
        except InputError:
            raise
        except Exception as error:
            reason = f'cannot be read as TIFF ({str(error)[:200]})'
            raise InputError(self._path, reason, 'restore it from its source or save it again') from None
        self._cache[index] = segment
        while len(self._cache) > 1 and sum(each.nbytes for each in self._cache.values()) > _CACHE_BYTES:
            self._cache.popitem(last=False)
        return segment


def read_shrunk(
    path: str | Path, factor: int, channel_order: ChannelOrder = 'rgb'
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Read an image strip by strip, each `factor` x `factor` pixels averaged to one.

    Args:
        path: The image file.
        factor: How much to shrink it.
        channel_order: Order in which the file stores its colours.

    Returns:
        (ceil(H / factor), ceil(W / factor), 3) RGB, and the height and width H, W of the file.

    Raises:
        InputError: If the image cannot be read.
    """
    strips = []
    with ImageWindows(path, channel_order) as windows:
        height, width = windows.size
        for top in range(0, height, _STRIP * factor):
            strip = windows.read(0, top, width, min(top + _STRIP * factor, height))
            padding = 0, -len(strip) % factor, 0, -width % factor
            strip = cv2.copyMakeBorder(strip, *padding, cv2.BORDER_REPLICATE)
            size = strip.shape[1] // factor, strip.shape[0] // factor
            strips.append(cv2.resize(strip, size, interpolation=cv2.INTER_AREA))
        return np.concatenate(strips), windows.size


def _has_plain_pixels(page: object) -> bool:
    """Whether the stored values are those that read_image gives, in strips or tiles that can be held."""
    height, width = segment_size(page)
    return (
        page.bitspersample == 8
        and page.dtype == np.uint8
        and page.photometric in (1, 2, 6)
        and page.samplesperpixel in (1, 3)
        and not page.extrasamples
        and (page.planarconfig == 1 or page.samplesperpixel == 1)
        and (page.is_memmappable or height * width <= MAX_PIXELS)
    )
