"""COCO run-length encoding of all instances of an image at once: by runs, never by bitmaps.

COCO RLE reads a mask column by column: pixel (y, x) of an image of height h has position ``x * h + y``. Counts of
background and foreground pixels alternate, starting with background. The compressed string stores each count from the
fourth on as the difference to the count two before it, five bits to a character, least significant first, bit 5 set
when more characters follow (``rleToString`` in cocodataset/cocoapi, ``common/maskApi.c``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

# A count of 32 bits and its sign fit into seven characters of five bits.
_MAX_CHARACTERS = 7


class RLE(TypedDict):
    """A COCO mask.

    ``counts`` is a compressed string where we write it; bytes and uncompressed lists are read as well.
    """

    size: list[int]
    counts: str


@dataclass(frozen=True)
class Runs:
    """The foreground runs of N instances on one image.

    Args:
        starts: First position of each run, (R,) int64.
        ends: One past the last position of each run, (R,) int64, greater than ``starts``.
        offsets: Instance i owns the runs ``offsets[i]:offsets[i + 1]``, ascending and disjoint; (N + 1,) int64.
        size: Height and width of the image in pixels.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    offsets: NDArray[np.int64]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owners(self) -> NDArray[np.int64]:
        """Index of the instance that each run belongs to, (R,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def areas(self) -> NDArray[np.int64]:
        """Number of pixels of each instance, (N,)."""
        covered = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        return np.diff(covered[self.offsets])

    @property
    def boxes(self) -> NDArray[np.int64]:
        """Tight boxes, (N, 4) as x, y, w, h in pixels; zeros for an instance without pixels."""
        height = self.size[0]
        boxes = np.zeros((len(self), 4), dtype=np.int64)
        filled = np.flatnonzero(np.diff(self.offsets))
        if not len(filled):
            return boxes
        first, last = self.offsets[filled], self.offsets[filled + 1] - 1
        left, top = np.divmod(self.starts, height)
        right, bottom = np.divmod(self.ends - 1, height)
        # A run that goes on into the next column touches the bottom of the one and the top of the other.
        crosses = right > left
        top[crosses], bottom[crosses] = 0, height - 1
        x, y = left[first], np.minimum.reduceat(top, first)
        boxes[filled] = np.stack([x, y, right[last] - x + 1, np.maximum.reduceat(bottom, first) - y + 1], axis=1)
        return boxes

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Position of every foreground pixel, instance after instance, (A,) for A pixels in all."""
        lengths = self.ends - self.starts
        before = np.cumsum(lengths) - lengths
        return np.repeat(self.starts - before, lengths) + np.arange(lengths.sum())

    def select(self, index: NDArray[np.integer]) -> Runs:
        """The runs of some instances, in the order of `index`, which may name one more than once."""
        sizes = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        runs = np.repeat(self.offsets[:-1][index] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return Runs(self.starts[runs], self.ends[runs], offsets, self.size)

    @classmethod
    def cat(cls, parts: Sequence[Runs]) -> Runs:
        """The runs of all instances of several parts of one size, one part after the other; at least one part."""
        sizes = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(
            np.concatenate([part.starts for part in parts]),
            np.concatenate([part.ends for part in parts]),
            np.concatenate([[0], np.cumsum(sizes)]),
            parts[0].size,
        )

    def encode(self) -> list[RLE]:
        """Compressed RLE of each instance, byte for byte what ``pycocotools.mask.encode`` gives."""
        pixels = self.size[0] * self.size[1]
        runs = np.diff(self.offsets)
        # Each run ends where the background before the instance's next run begins.
        previous = np.zeros_like(self.starts)
        previous[1:] = self.ends[:-1]
        filled = runs > 0
        previous[self.offsets[:-1][filled]] = 0
        covered = np.zeros(len(self), dtype=np.int64)
        covered[filled] = self.ends[self.offsets[1:][filled] - 1]
        # pycocotools writes no trailing background of length 0, except that an empty mask is one run of background.
        trailing = (covered < pixels) | ~filled
        sizes = 2 * runs + trailing
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        counts = np.empty(offsets[-1], dtype=np.int64)
        at = np.arange(len(self.starts)) * 2 + (offsets[:-1] - 2 * self.offsets[:-1])[self.owners]
        counts[at], counts[at + 1] = self.starts - previous, self.ends - self.starts
        counts[offsets[1:][trailing] - 1] = (pixels - covered)[trailing]
        return [RLE(size=list(self.size), counts=text) for text in _compress(counts, offsets)]


@dataclass(frozen=True)
class Instances:
    """The instances of a label map, ordered by id.

    Args:
        ids: Pixel values, ascending, (N,), in the label map's dtype.
        boxes: Tight boxes, (N, 4) int64 as x, y, w, h in pixels.
        areas: Number of pixels, (N,) int64.
        rles: Compressed masks, N of them.
    """

    ids: NDArray[np.integer]
    boxes: NDArray[np.int64]
    areas: NDArray[np.int64]
    rles: list[RLE]


def find_runs(plane: NDArray[np.integer]) -> tuple[NDArray[np.integer], Runs]:
    """Find the runs of every instance of a label map.

    The cost depends on the number of pixels and of runs, not on how large or how scattered the ids are.

    Args:
        plane: Label map, (H, W), any integer dtype; 0 is background.

    Returns:
        The ids, ascending, (N,), and their runs.
    """
    height, width = plane.shape
    # To compare row by row and turn only the outcome, one byte a pixel, is several times faster than to turn the plane.
    edges = np.ones((height, width), dtype=bool)
    np.not_equal(plane[1:], plane[:-1], out=edges[1:])
    np.not_equal(plane[:1, 1:], plane[-1:, :-1], out=edges[:1, 1:])
    starts = (
        np.flatnonzero(cv2.transpose(edges.view(np.uint8)).view(bool)) if plane.size else np.zeros(0, dtype=np.int64)
    )
    ends = np.append(starts[1:], plane.size)
    values = plane[starts % height, starts // height]
    foreground = np.flatnonzero(values)
    order = foreground[np.argsort(values[foreground], kind='stable')]
    ids, first = np.unique(values[order], return_index=True)
    return ids, Runs(starts[order], ends[order], np.append(first, len(order)), (height, width))


def find_box_runs(bitmaps: NDArray[np.bool_], corners: NDArray[np.integer], size: tuple[int, int]) -> Runs:
    """Find the runs of masks that are known only inside boxes of the image.

    Args:
        bitmaps: One box an instance, (N, W', H') of bool, column by column as RLE reads them. What lies outside the
            image must be False.
        corners: Upper left corner of each box in the image, (N, 2) as x, y in pixels.
        size: Height and width of the image.
    """
    height = size[0]
    count, columns, rows = bitmaps.shape
    # A row of background above each column keeps apart the runs of columns that are not neighbors in the image.
    flat = np.zeros(count * columns * (rows + 1) + 1, dtype=bool)
    flat[:-1].reshape(count, columns, rows + 1)[..., 1:] = bitmaps
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    column, y = np.divmod(edges, rows + 1)
    owners, x = np.divmod(column, columns)
    positions = (corners[owners, 0] + x) * height + corners[owners, 1] + y
    starts, ends, owners = positions[::2], positions[1::2], owners[::2]
    # Runs from the bottom of the image go on at the top of the next column.
    apart = (starts[1:] != ends[:-1]) | (owners[1:] != owners[:-1])
    first, last = np.ones((2, len(starts)), dtype=bool)
    first[1:], last[:-1] = apart, apart
    offsets = np.searchsorted(owners[first], np.arange(count + 1))
    return Runs(starts[first], ends[last], offsets, size)


def encode_label_map(plane: NDArray[np.integer]) -> Instances:
    """Encode all instances of a label map in one pass.

    Args:
        plane: Label map, (H, W), any integer dtype; 0 is background, ids may have gaps.
    """
    ids, runs = find_runs(plane)
    return Instances(ids, runs.boxes, runs.areas, runs.encode())


def decode(rles: Sequence[RLE] | Sequence[dict[str, Any]], size: tuple[int, int]) -> Runs:
    """Find the runs of many RLE masks of one image.

    Args:
        rles: N masks; ``counts`` may be str, bytes or an uncompressed list.
        size: Height and width that each of them must have.

    Raises:
        ValueError: If a mask has another size, or counts that are malformed or do not cover the image.
    """
    size = (size[0], size[1])
    try:
        for i, rle in enumerate(rles):
            if tuple(rle['size']) != size:
                raise ValueError(f'mask {i} has size {list(rle["size"])}, the image has {list(size)}')
        texts = [_text(rle) for rle in rles]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'a mask is not RLE ({type(error).__name__}: {error})') from None
    backgrounds, foregrounds, offsets = _expand(texts)
    if min(backgrounds.min(initial=0), foregrounds.min(initial=0)) < 0:
        raise ValueError('a mask has a negative count')
    # Sums of larger ones could exceed 64 bits and come out as if they fitted.
    if max(backgrounds.max(initial=0), foregrounds.max(initial=0)) > size[0] * size[1]:
        raise ValueError('a mask has a count beyond its image')
    total = np.cumsum(backgrounds + foregrounds)
    before = np.concatenate([[0], total])[offsets]
    covered = np.diff(before)
    if (covered != size[0] * size[1]).any():
        i = int(np.argmax(covered != size[0] * size[1]))
        raise ValueError(f'mask {i} has counts for {covered[i]} pixels, the image has {size[0] * size[1]}')
    ends = total - np.repeat(before[:-1], np.diff(offsets))
    filled = np.flatnonzero(foregrounds)
    starts = (ends - foregrounds)[filled]
    return Runs(starts, ends[filled], np.searchsorted(filled, offsets), size)


def _compress(counts: NDArray[np.int64], offsets: NDArray[np.int64]) -> list[str]:
    """COCO strings of the groups ``counts[offsets[i]:offsets[i + 1]]``."""
    index = np.arange(len(counts)) - np.repeat(offsets[:-1], np.diff(offsets))
    late = np.flatnonzero(index > 2)
    numbers = counts.copy()
    numbers[late] -= counts[late - 2]
    magnitudes = np.where(numbers < 0, ~numbers, numbers)
    lengths = 1 + np.searchsorted(16 * 32 ** np.arange(_MAX_CHARACTERS - 1), magnitudes, side='right')
    first = np.cumsum(lengths) - lengths
    owner = np.repeat(np.arange(len(numbers)), lengths)
    digit = np.arange(len(owner)) - first[owner]
    more = digit < lengths[owner] - 1
    characters = 48 + ((numbers[owner] >> 5 * digit) & 31) + 32 * more
    text = characters.astype(np.uint8).tobytes().decode('ascii')
    bounds = np.append(first, len(owner))[offsets].tolist()
    return [text[a:b] for a, b in pairwise(bounds)]


def compress(rle: RLE) -> RLE:
    """The same mask with compressed counts.

    Raises:
        ValueError: If the counts are malformed.
    """
    return rle if isinstance(rle['counts'], (str, bytes)) else RLE(size=rle['size'], counts=_text(rle).decode())


def _text(rle: RLE | dict[str, Any]) -> bytes:
    counts: Any = rle['counts']
    if isinstance(counts, str):
        return counts.encode()
    if isinstance(counts, list):
        numbers = np.array(counts)
        if numbers.ndim != 1 or numbers.dtype.kind not in 'iu' or not 0 <= numbers.min() <= numbers.max() < 2**32:
            raise ValueError('the counts are not whole numbers of pixels')
        return _compress(numbers.astype(np.int64), np.array([0, len(numbers)]))[0].encode()
    if not isinstance(counts, bytes):
        raise ValueError('the counts are neither text nor numbers')
    return counts


def _expand(texts: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Counts of N COCO strings: the inverse of :func:`_compress`.

    Returns:
        Counts of background and of the foreground behind each, both (R,), and the offsets, (N + 1,), at which each
        string's counts begin. Where a string ends in background, a foreground of 0 is added.
    """
    codes = np.frombuffer(b''.join(texts), dtype=np.uint8) - np.uint8(48)  # what lies below 48 wraps to above 63
    bounds = np.cumsum([0, *map(len, texts)])
    closes = codes < 32
    ends = np.flatnonzero(closes)
    starts = np.concatenate([[0], ends + 1])[: len(ends)]
    lengths = ends - starts + 1
    most = lengths.max(initial=0)
    filled = bounds[1:][np.diff(bounds) > 0]
    if codes.max(initial=0) > 63 or not closes[filled - 1].all() or most > _MAX_CHARACTERS:
        raise ValueError('the counts are not a COCO run-length string')
    numbers = np.where(codes[ends] & 16, -1 << 5 * lengths, 0)
    for digit in range(most):
        longer = np.flatnonzero(lengths > digit)
        numbers[longer] |= (codes[starts[longer] + digit] & 31).astype(np.int64) << 5 * digit

    sizes = np.diff(np.concatenate([[0], np.cumsum(closes)])[bounds])
    rows = (sizes + 1) // 2
    offsets = np.concatenate([[0], np.cumsum(rows)])
    pairs = np.zeros((offsets[-1], 2), dtype=np.int64)
    at = np.arange(len(numbers)) + np.repeat(2 * offsets[:-1] - (np.cumsum(sizes) - sizes), sizes)
    pairs.reshape(-1)[at] = numbers
    # From the fourth on a number is a difference to the count two before it, so pairs add up; but the third stands for
    # itself, which the first must not disturb.
    first = offsets[:-1][rows > 0]
    leading = pairs[first, 0]
    pairs[first, 0] = 0
    total = np.concatenate([[[0, 0]], np.cumsum(pairs, axis=0)])
    pairs = total[1:] - np.repeat(total[offsets[:-1]], rows, axis=0)
    pairs[first, 0] = leading
    pairs[offsets[1:][sizes % 2 == 1] - 1, 1] = 0
    return pairs[:, 0], pairs[:, 1], offsets
