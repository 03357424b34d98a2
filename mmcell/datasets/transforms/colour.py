"""Brightness, as the course report changes it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomBrightness(BaseTransform):
    """Multiply all pixels by one factor, uniform in [1 - delta, 1 + delta], rounded and clipped to 0…255.

    Modified keys: img (uint8, (H, W, 3)).

    Args:
        delta: Largest relative change, 0 to 1.
    """

    def __init__(self, delta: float = 0.3) -> None:
        if not 0 <= delta <= 1:
            raise ValueError(f'delta must be between 0 and 1, not {delta}')
        self.delta = delta

    @cache_randomness
    def _factor(self) -> float:
        return np.random.uniform(1 - self.delta, 1 + self.delta)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change the brightness of `results['img']`."""
        values = np.clip(np.rint(np.arange(256) * self._factor()), 0, 255).astype(np.uint8)
        results['img'] = cv2.LUT(results['img'], values)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(delta={self.delta})'
