"""Colour augmentations of the reference."""

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


@TRANSFORMS.register_module()
class RandomGrayscale(BaseTransform):
    """Replace the colours by their luma, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), in all three channels.

    Modified keys: img (uint8, (H, W, 3), BGR).

    Args:
        prob: Probability of the change.
    """

    def __init__(self, prob: float = 0.2) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be between 0 and 1, not {prob}')
        self.prob = prob

    @cache_randomness
    def _applies(self) -> bool:
        return bool(np.random.rand() < self.prob)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Turn `results['img']` grey with probability `prob`."""
        if self._applies():
            luma = results['img'] @ np.array([0.114, 0.587, 0.299])
            results['img'] = np.repeat(np.rint(luma).astype(np.uint8)[..., None], 3, axis=2)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'
