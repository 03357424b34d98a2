"""Resizing in more than one step."""

from __future__ import annotations

from typing import Any

import mmcv
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ChainedResize(Resize):
    """:class:`mmdet.datasets.transforms.Resize` that may follow another one.

    MMDetection's Resize overwrites `scale_factor` with its own; behind another resize, predictions would be scaled back
    by the last step only. Here the factors multiply.

    A strip, of which that one would leave no pixel in one direction and then fail, keeps one.

    Args: those of MMDetection's Resize.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Resize image, boxes, masks and segmentation map; `scale_factor` (w, h) is relative to `ori_shape`."""
        before = results.get('scale_factor', (1.0, 1.0))
        results = super().transform(results)
        own = results['scale_factor']
        results['scale_factor'] = (before[0] * own[0], before[1] * own[1])
        return results

    def _resize_img(self, results: dict[str, Any]) -> None:
        height, width = results['img'].shape[:2]
        size = mmcv.rescale_size((width, height), results['scale'])
        if not self.keep_ratio or min(size) > 0:
            super()._resize_img(results)
            return
        size = max(size[0], 1), max(size[1], 1)
        results['img'] = mmcv.imresize(results['img'], size, interpolation=self.interpolation, backend=self.backend)
        results['img_shape'] = size[::-1]
        results['scale_factor'] = size[0] / width, size[1] / height
        results['keep_ratio'] = self.keep_ratio

    def _resize_masks(self, results: dict[str, Any]) -> None:
        # As large as the image is now; MMDetection works it out once more.
        if results.get('gt_masks') is not None:
            results['gt_masks'] = results['gt_masks'].resize(results['img_shape'])


@TRANSFORMS.register_module()
class LimitLongEdge(ChainedResize):
    """Shrink an image whose long edge exceeds a limit; leave all others as they are.

    Images are shrunk by area interpolation, which does not alias; masks by nearest neighbor.

    Args:
        max_size: Limit in pixels.
    """

    def __init__(self, max_size: int = 1024) -> None:
        super().__init__(scale=(max_size, max_size), keep_ratio=True, interpolation='area')
        self.max_size = max_size

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Shrink, or only note the `scale_factor` of one that inference asks for."""
        if max(results['img'].shape[:2]) > self.max_size:
            return super().transform(results)
        results.setdefault('scale_factor', (1.0, 1.0))
        return results
