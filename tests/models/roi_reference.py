"""RoIAlign by the loops of its definition, in double precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def align(levels: Sequence[NDArray], *arguments) -> NDArray[np.float64]:
    """Features, (K, C, rows, columns), of boxes, (K, 5); arguments as :func:`mmcell.models.roi_align.roi_align`."""
    rois, _, _, size, *_ = arguments
    out = np.zeros((len(rois), levels[0].shape[1], *size))
    for box, row, column, level, image, y, x, weight in _shares(levels, *arguments):
        out[box, :, row, column] += weight * levels[level][image, :, y, x].astype(np.float64)
    return out


def align_backward(levels: Sequence[NDArray], gradient: NDArray, *arguments) -> list[NDArray[np.float64]]:
    """The gradient of each level, where that of the features is `gradient`."""
    gradients = [np.zeros(level.shape) for level in levels]
    for box, row, column, level, image, y, x, weight in _shares(levels, *arguments):
        gradients[level][image, :, y, x] += weight * gradient[box, :, row, column]
    return gradients


def _shares(
    levels: Sequence[NDArray],
    rois: NDArray,
    level_of: NDArray,
    scales: Sequence[float],
    size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[tuple]:
    """Box, row and column of a bin; level, image, y and x of a pixel; the pixel's weight in a sample of the bin."""
    for box, (roi, level) in enumerate(zip(rois.astype(np.float64), level_of)):
        height, width = levels[level].shape[2:]
        x1, y1, x2, y2 = roi[1:] * scales[level] - (0.5 if aligned else 0)
        box_width, box_height = x2 - x1, y2 - y1
        if not aligned:
            box_width, box_height = max(box_width, 1), max(box_height, 1)
        bin_height, bin_width = box_height / size[0], box_width / size[1]
        down = sampling_ratio or int(np.ceil(bin_height))
        across = sampling_ratio or int(np.ceil(bin_width))
        for row, column, i, j in np.ndindex(*size, down, across):
            sample_y = y1 + row * bin_height + (i + 0.5) * bin_height / down
            sample_x = x1 + column * bin_width + (j + 0.5) * bin_width / across
            if not (-1 <= sample_y <= height and -1 <= sample_x <= width):
                continue
            for y, y_weight in _neighbours(sample_y, height):
                for x, x_weight in _neighbours(sample_x, width):
                    yield box, row, column, level, int(roi[0]), y, x, y_weight * x_weight / (down * across)


def _neighbours(at: float, size: int) -> list[tuple[int, float]]:
    at = min(max(at, 0), size - 1)
    low = int(at)
    return [(low, 1 - (at - low)), (min(low + 1, size - 1), at - low)]
