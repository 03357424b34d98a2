"""Reading large images window by window."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from mmcell.io.images import ChannelOrder, open_stored, read_rgb
from mmcell.io.limits import MAX_MASK_PIXELS

# Rows of a shrunk image that are read at once.
_STRIP = 64


class ImageWindows:
    """An image whose windows are read as they are asked for.

    Of a TIFF file, only what a window needs is read and decoded, see :class:`mmcell.io.tiff.TiffPixels`; other formats
    are decoded as a whole at the first window. The pixels are those of :func:`mmcell.io.images.read_image`.

    Args:
        path: The image file.
        channel_order: Order in which the file stores its colours.

    Attributes:
        size: Height and width in pixels.

    Raises:
        InputError: If the image cannot be read.
    """

    def __init__(self, path: str | Path, channel_order: ChannelOrder = 'rgb') -> None:
        self._stored, self._channel_order = open_stored(path, MAX_MASK_PIXELS), channel_order
        self.size = self._stored.size

    def __enter__(self) -> ImageWindows:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and forget its pixels."""
        self._stored.close()

    def read(self, x1: int, y1: int, x2: int, y2: int) -> NDArray[np.uint8]:
        """Pixels of the window from x1, y1 to x2, y2, which lies inside the image: (y2 - y1, x2 - x1, 3), RGB.

        Raises:
            InputError: If this part of the file is broken.
        """
        pixels, _ = read_rgb(self._stored, x1, y1, x2, y2)
        return np.array(pixels[..., ::-1] if self._channel_order == 'bgr' else pixels, order='C')


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
