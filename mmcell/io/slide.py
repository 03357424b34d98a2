"""Images and slides of any size, read window by window, at any of their levels or at any resolution."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmcell.errors import InputError
from mmcell.io.files import check_file
from mmcell.io.images import ChannelOrder, as_rgb, open_stored, read_rgb
from mmcell.io.limits import MAX_SLIDE_PIXELS
from mmcell.io.stored import Stored, square_mpp, unreadable

#: What only OpenSlide reads: Hamamatsu, MIRAX, Leica, Ventana, DICOM, Sakura.
OPENSLIDE_SUFFIXES = frozenset(('.ndpi', '.vms', '.vmu', '.mrxs', '.scn', '.bif', '.dcm', '.svslide'))
#: Slides that folders are searched for.
SLIDE_SUFFIXES = OPENSLIDE_SUFFIXES | {'.svs'}

# Rows of a shrunk image that are read at once.
_STRIP = 64
# Pixels around a resampled window that its own depend on, see :meth:`Slide.read`.
_MARGIN = 2


class Slide:
    """An image or a slide whose windows are read as they are asked for.

    Of a TIFF file (pyramids, OME-TIFF, Aperio's SVS) and of what OpenSlide reads, only what a window needs is read and
    decoded; other formats are decoded as a whole at the first window. Labels, thumbnails and overviews of the glass are
    no part of it. The pixels of the largest level are those of :func:`mmcell.io.images.read_image`. Where a scanner
    gives bounds, the slide is what lies within, as QuPath shows it.

    Args:
        path: The file.
        channel_order: Order in which the file stores its colors; OpenSlide gives RGB whatever it is.
        mpp: Microns per pixel, where one knows better than the file.

    Attributes:
        size: Height and width in pixels of the largest level.
        levels: Heights and widths of all levels, the largest first.
        mpp: Microns per pixel of the largest level; None if neither the file nor the argument says it.

    Raises:
        InputError: If the file cannot be read.
    """

    def __init__(self, path: str | Path, channel_order: ChannelOrder = 'rgb', mpp: float | None = None) -> None:
        self.path = Path(path)
        self._source = _open(self.path, channel_order)
        self.levels = self._source.levels
        self.size = self.levels[0]
        self.mpp = self._source.mpp if mpp is None else mpp

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and forget its pixels."""
        self._source.close()

    @property
    def identity(self) -> str | None:
        """What OpenSlide tells slides apart by, the same for all files of one; None for what it did not open."""
        return getattr(self._source, 'identity', None)

    def size_at(self, mpp: float) -> tuple[int, int]:
        """Height and width at some microns per pixel, rounded up to whole pixels; :attr:`mpp` must be known."""
        own = self._known_mpp()
        return math.ceil(self.size[0] * own / mpp - 1e-6), math.ceil(self.size[1] * own / mpp - 1e-6)

    def _known_mpp(self) -> float:
        if self.mpp is None:
            raise ValueError('microns per pixel are not known')
        return self.mpp

    def read(
        self, x: int, y: int, width: int, height: int, level: int = 0, mpp: float | None = None
    ) -> NDArray[np.uint8]:
        """Pixels of a window, (height, width, 3), RGB.

        Args:
            x: Left edge, in pixels of the level, or of the resolution.
            y: Upper edge.
            width: Of the window, which lies inside the slide.
            height: Of the window.
            level: Index into :attr:`levels`.
            mpp: Instead of `level`: microns per pixel; :attr:`mpp` must be known. The smallest level that has all the
                detail is resampled (bilinear, with antialiasing). A pixel does not depend on the window it is read in.

        Raises:
            InputError: If this part of the file is broken.
        """
        if mpp is None:
            return self._source.read(level, x, y, x + width, y + height)
        return self.read_scaled(x, y, width, height, mpp / self._known_mpp())

    def read_scaled(self, x: int, y: int, width: int, height: int, scale: float) -> NDArray[np.uint8]:
        """As :meth:`read` at `scale` times :attr:`mpp`, whether that is known or not."""
        if math.isclose(scale, 1, rel_tol=1e-6):
            return self._source.read(0, x, y, x + width, y + height)
        shrunk = [self.size[1] / level[1] for level in self.levels]
        level = max(i for i, factor in enumerate(shrunk) if i == 0 or factor <= scale * 1.001)
        step_x, step_y = (scale * self.levels[level][i] / self.size[i] for i in (1, 0))
        (rows, columns), margin = self.levels[level], _MARGIN
        # Source pixels under the window and its margin, which is left away where the slide ends.
        x1, y1 = max(x - margin, 0), max(y - margin, 0)
        box = x1 * step_x, y1 * step_y, (x + width + margin) * step_x, (y + height + margin) * step_y
        x2, y2 = x + width + margin, y + height + margin
        left, top = math.floor(box[0]), math.floor(box[1])
        right, bottom = min(math.ceil(box[2]), columns), min(math.ceil(box[3]), rows)
        pixels = self._source.read(level, left, top, right, bottom)
        # The last pixel of a row may reach beyond the slide by a fraction.
        below, beside = max(math.ceil(box[3]) - rows, 0), max(math.ceil(box[2]) - columns, 0)
        if below or beside:
            pixels = cv2.copyMakeBorder(pixels, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        box = box[0] - left, box[1] - top, box[2] - left, box[3] - top
        resized = Image.fromarray(pixels).resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR, box=box)
        return np.ascontiguousarray(np.asarray(resized)[y - y1 :, x - x1 :][:height, :width])

    def shrink(self, factor: int, level: int = 0) -> NDArray[np.uint8]:
        """All of a level, read strip by strip, each `factor` x `factor` pixels averaged to one.

        Returns:
            (ceil(H / factor), ceil(W / factor), 3) RGB for a level of height H and width W.
        """
        strips, (height, width) = [], self.levels[level]
        for top in range(0, height, _STRIP * factor):
            strips.append(shrink(self.read(0, top, width, min(_STRIP * factor, height - top), level), factor))
        return np.concatenate(strips)

    def overview(self, edge: int) -> tuple[NDArray[np.uint8], float]:
        """A picture of the whole, (h, w, 3) RGB, and how many pixels of the largest level one of it spans.

        Args:
            edge: Pixels that its longer edge has at most; the smallest level that has as many is shrunk.
        """
        level = max(index for index, size in enumerate(self.levels) if index == 0 or max(size) >= edge)
        factor = -(-max(self.levels[level]) // edge)
        return self.shrink(factor, level), factor * max(self.size) / max(self.levels[level])


def shrink(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Pixels, (h, w, 3), each `factor` x `factor` of them averaged to one: (ceil(h / factor), ceil(w / factor), 3)."""
    padding = 0, -pixels.shape[0] % factor, 0, -pixels.shape[1] % factor
    pixels = cv2.copyMakeBorder(pixels, *padding, cv2.BORDER_REPLICATE)
    size = pixels.shape[1] // factor, pixels.shape[0] // factor
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def without_repeats(paths: Iterable[Path]) -> list[Path]:
    """Paths without those DICOM files that are levels of a slide of which another file is there: any opens all of it.

    Files that cannot be opened stay, for whoever opens them to say so.
    """
    kept, seen = [], set()
    for path in paths:
        if path.suffix.lower() == '.dcm':
            try:
                with Slide(path) as slide:
                    key = path.parent, slide.identity
            except InputError:
                key = path, None
            if key in seen:
                continue
            seen.add(key)
        kept.append(path)
    return kept


def _open(path: Path, channel_order: ChannelOrder) -> _File | _OpenSlide:
    if path.suffix.lower() in OPENSLIDE_SUFFIXES:
        return _OpenSlide(path)
    try:
        return _File(path, channel_order)
    except InputError:
        # TIFF files of scanners that tifffile's pages do not describe, such as Ventana's and Philips'.
        if path.suffix.lower() in ('.svs', '.tif', '.tiff') and _is_known(path):
            return _OpenSlide(path)
        raise


class _File:
    """Levels that :mod:`mmcell.io.stored` reads."""

    def __init__(self, path: Path, channel_order: ChannelOrder) -> None:
        self._path, self._channel_order = path, channel_order
        first = open_stored(path, MAX_SLIDE_PIXELS)
        self._open: dict[int, Stored] = {0: first}
        self.levels, self.mpp = first.levels, first.mpp

    def read(self, level: int, x1: int, y1: int, x2: int, y2: int) -> NDArray[np.uint8]:
        if level not in self._open:
            self._open[level] = open_stored(self._path, MAX_SLIDE_PIXELS, level)
        pixels, _ = read_rgb(self._open[level], x1, y1, x2, y2)
        return np.array(pixels[..., ::-1] if self._channel_order == 'bgr' else pixels, order='C')

    def close(self) -> None:
        for stored in self._open.values():
            stored.close()


class _OpenSlide:
    """Levels that OpenSlide reads, within the bounds that the scanner gives."""

    def __init__(self, path: Path) -> None:
        check_file(path)
        library = _library(path)
        try:
            self._slide = library.OpenSlide(path)
        except library.OpenSlideError as error:
            raise unreadable(path, 'slide', error) from None
        self._path, self._library = path, library
        slide, properties = self._slide, self._slide.properties
        self.identity = properties.get('openslide.quickhash-1')
        self._factors = slide.level_downsamples
        self.levels = [size[::-1] for size in slide.level_dimensions]
        self._left, self._top = (int(properties.get(f'openslide.bounds-{axis}', 0)) for axis in 'xy')
        if 'openslide.bounds-width' in properties:
            bounds = [int(properties[f'openslide.bounds-{side}']) for side in ('height', 'width')]
            self.levels = [tuple(max(1, int(side / factor)) for side in bounds) for factor in self._factors]
        across, down = (float(properties.get(f'openslide.mpp-{axis}', 0)) for axis in 'xy')
        self.mpp = square_mpp(path, across, down)

    def read(self, level: int, x1: int, y1: int, x2: int, y2: int) -> NDArray[np.uint8]:
        left, top = (round(at * self._factors[level]) for at in (x1, y1))
        corner = left + self._left, top + self._top
        try:
            pixels = np.asarray(self._slide.read_region(corner, level, (x2 - x1, y2 - y1)))
        except self._library.OpenSlideError as error:
            raise unreadable(self._path, 'slide', error) from None
        return as_rgb(self._path, pixels)[0]  # what was not scanned is transparent

    def close(self) -> None:
        self._slide.close()


def _library(path: Path) -> Any:
    try:
        import openslide
    except (ImportError, OSError):
        problem = 'is a kind of slide that only OpenSlide reads, which is not installed'
        raise InputError(path, problem, "install it: pip install '.[slides]'") from None
    return openslide


def _is_known(path: Path) -> bool:
    """Whether OpenSlide is there and reads this file."""
    try:
        return _library(path).OpenSlide.detect_format(path) is not None
    except InputError:
        return False
