"""Random crops of dense images, seen at a random zoom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from numpy.typing import NDArray

from mmcell.datasets.transforms.cells import replace_masks
from mmcell.structures.label_map_masks import LabelMapMasks


@TRANSFORMS.register_module()
class RandomZoomCrop(BaseTransform):
    """Cut a random window and see it at a random zoom, always as an image of the same size.

    The window is cut first and resized then, so the cost depends on `size` and not on the image. Where the image is
    smaller than the window, all of it is used and padded at the bottom and the right.

    With probability `rare_prob` the window is not uniform but holds a cell whose class is drawn with `class_weights`
    among the classes in the image; the cell then lies anywhere in the window. That balances classes within images; for
    a class that few images hold, let mmengine's ``ClassBalancedDataset`` repeat those images.

    The image is resized by area when it shrinks and bilinearly when it grows. Masks take the nearest pixel, at pixel
    centers like the image: OpenCV's plain nearest neighbor, which MMDetection's Resize uses, shifts masks by up to
    half a pixel. Boxes are those of the pixels that are left, and cells without any are dropped. Cells that the border
    cuts stay cells however little is left, as they do at the border of an annotated test image, which AP counts;
    `min_visible` turns slivers into ignored cells instead.

    Required keys: img (uint8, (H, W, 3)), gt_masks (LabelMapMasks), gt_bboxes (HorizontalBoxes), gt_bboxes_labels
    ((N,) int64), gt_ignore_flags ((N,) bool), scale_factor (optional).

    Modified keys: all of these, and img_shape. scale_factor (w, h) multiplies with that of an earlier resize; where the
    window begins is not noted, so predictions cannot be mapped back.

    Args:
        size: Height and width of the result in pixels, or one number for both.
        zoom: Smallest and largest zoom, drawn log-uniformly: 2 shows the cells twice as large as the image does.
        rare_prob: Probability that the window holds a cell of a drawn class.
        class_weights: Relative weight of each class in that draw, such as its inverse frequency in the data set, one
            number per class. None: all classes in the image are equally likely.
        min_visible: Cells of whose pixels less than this share lies in the window are ignored (gt_ignore_flags).
            MMDetection's assigners take ignored cells for background unless `ignore_iof_thr` is set.
        pad_val: Value of padded pixels, or one for each channel (BGR).

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        zoom: Sequence[float] = (1.0, 1.0),
        rare_prob: float = 0.0,
        class_weights: Sequence[float] | None = None,
        min_visible: float = 0.0,
        pad_val: float | Sequence[float] = 0,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.zoom = tuple(zoom)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f'size must be one or two positive integers, not {size}')
        if len(self.zoom) != 2 or not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f'zoom must be (low, high) with 0 < low <= high, not {zoom}')
        if not 0 <= rare_prob <= 1:
            raise ValueError(f'rare_prob must be between 0 and 1, not {rare_prob}')
        if not 0 <= min_visible <= 1:
            raise ValueError(f'min_visible must be between 0 and 1, not {min_visible}')
        if class_weights is not None and (not len(class_weights) or min(class_weights) < 0 or not any(class_weights)):
            raise ValueError(f'class_weights must be numbers of at least 0, not all 0, not {class_weights}')
        self.rare_prob = rare_prob
        self.class_weights = None if class_weights is None else tuple(class_weights)
        self.min_visible = min_visible
        self.pad_val = pad_val

    @cache_randomness
    def _draw(self) -> tuple[float, float, NDArray[np.float64]]:
        """The zoom, a number to compare with `rare_prob`, and four that pick class, cell, row and column."""
        zoom = float(np.exp(np.random.uniform(*np.log(self.zoom))))
        return zoom, np.random.rand(), np.random.rand(4)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop and zoom image, masks and boxes.

        Raises:
            ValueError: If a label has no entry in `class_weights`.
        """
        zoom, rare, numbers = self._draw()
        image = results['img']
        whole = np.array(image.shape[:2])
        size = np.array(self.size)
        wanted = np.maximum(np.rint(size / zoom).astype(int), 1)
        window = np.minimum(wanted, whole)
        # A window that the image limits is zoomed as much as one that it does not.
        shown = np.where(wanted <= whole, size, np.clip(np.rint(window * zoom).astype(int), 1, size))
        low, high = np.zeros(2, dtype=int), whole - window
        if rare < self.rare_prob:
            low, high = self._around_a_cell(results, numbers[:2], window, high)
        corner = low + (numbers[2:] * (high - low + 1)).astype(int)

        (y, x), (height, width) = corner, shown
        patch = image[y : y + window[0], x : x + window[1]]
        if tuple(shown) != patch.shape[:2]:
            how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
            patch = cv2.resize(patch, (int(width), int(height)), interpolation=how)
        out = np.empty((*self.size, image.shape[2]), dtype=image.dtype)
        out[...] = self.pad_val
        out[:height, :width] = patch

        masks = results['gt_masks']
        if self.min_visible:
            box = np.array([x, y, x + window[1], y + window[0]])
            left = masks.crop(box).areas < self.min_visible * masks.areas
            results['gt_ignore_flags'] = results['gt_ignore_flags'] | left
        rows, columns = (at + ((np.arange(n) + 0.5) * (w / n)).astype(int) for at, n, w in zip(corner, shown, window))
        planes = np.zeros((len(masks.planes), *self.size), dtype=np.int32)
        planes[:, :height, :width] = masks.planes[:, rows[:, None], columns]
        replace_masks(results, LabelMapMasks(planes, masks.plane_of, masks.value_of))

        before = results.get('scale_factor', (1.0, 1.0))
        results['img'] = out
        results['img_shape'] = self.size
        results['scale_factor'] = (float(before[0] * width / window[1]), float(before[1] * height / window[0]))
        return results

    def _around_a_cell(
        self, results: dict[str, Any], numbers: NDArray[np.float64], window: NDArray[Any], highest: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """First and last corner (y, x) of the windows that hold a drawn cell, or that a larger cell fills."""
        labels = results['gt_bboxes_labels']
        usable = ~results['gt_ignore_flags']
        classes = np.unique(labels[usable])
        if self.class_weights is not None and len(classes) and classes[-1] >= len(self.class_weights):
            raise ValueError(f'class_weights has {len(self.class_weights)} entries, none for label {classes[-1]}')
        weights = np.ones(len(classes)) if self.class_weights is None else np.array(self.class_weights)[classes]
        if not weights.any():
            return np.zeros(2, dtype=int), highest
        reached = np.cumsum(weights / weights.sum())
        label = classes[min(np.searchsorted(reached, numbers[0], side='right'), len(classes) - 1)]
        cells = np.flatnonzero(usable & (labels == label))
        box = results['gt_bboxes'].tensor[cells[int(numbers[1] * len(cells))]].numpy()
        first, last = np.floor(box[[1, 0]]).astype(int), np.ceil(box[[3, 2]]).astype(int) - window
        return np.clip(np.minimum(first, last), 0, highest), np.clip(np.maximum(first, last), 0, highest)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, zoom={self.zoom}, rare_prob={self.rare_prob}, '
            f'class_weights={self.class_weights}, min_visible={self.min_visible}, pad_val={self.pad_val})'
        )
