"""Turns by right angles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes


@TRANSFORMS.register_module()
class RandomQuarterTurn(BaseTransform):
    """Turn by 0, 1, 2 or 3 quarters, each as likely: tissue has no up or down, and nothing is interpolated.

    Together with mmdet's ``RandomFlip(prob=0.5)`` all eight orientations are as likely.

    Required keys: img; optional: gt_bboxes (HorizontalBoxes), gt_masks (LabelMapMasks), scale_factor.

    Modified keys: all of these, and img_shape. An odd turn swaps the two numbers of scale_factor (w, h).

    Args:
        prob: Probability of the draw; otherwise the image stays as it is.

    Raises:
        ValueError: If `prob` is not between 0 and 1.
    """

    def __init__(self, prob: float = 1.0) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be between 0 and 1, not {prob}')
        self.prob = prob

    @cache_randomness
    def _quarters(self) -> int:
        return np.random.randint(4) if np.random.rand() < self.prob else 0

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Turn image, boxes and masks counterclockwise."""
        quarters = self._quarters()
        if not quarters:
            return results
        width = results['img'].shape[1]
        height = results['img'].shape[0]
        results['img'] = np.ascontiguousarray(np.rot90(results['img'], quarters))
        results['img_shape'] = results['img'].shape[:2]
        if 'gt_masks' in results:
            results['gt_masks'] = results['gt_masks'].rot90(quarters)
        if 'gt_bboxes' in results:
            x1, y1, x2, y2 = results['gt_bboxes'].tensor.unbind(1)
            boxes = {
                1: (y1, width - x2, y2, width - x1),
                2: (width - x2, height - y2, width - x1, height - y1),
                3: (height - y2, x1, height - y1, x2),
            }[quarters]
            results['gt_bboxes'] = HorizontalBoxes(torch.stack(boxes, 1))
        if quarters % 2 and 'scale_factor' in results:
            results['scale_factor'] = results['scale_factor'][::-1]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'
