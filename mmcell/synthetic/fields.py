"""Random fields that tissue is textured with."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], sigma: float) -> np.ndarray:
    """Gaussian noise of zero mean and unit variance that is correlated over about `sigma` pixels.

    Args:
        rng: Source of randomness.
        size: Height and width.
        sigma: Standard deviation of the smoothing kernel in pixels.

    Returns:
        np.ndarray: float32 of shape (H, W).
    """
    # A smooth field holds nothing finer than its kernel, so a coarse grid does, and stays fast for wide kernels.
    step = max(1, int(sigma / 2))
    height, width = (-(-side // step) + 2 for side in size)
    coarse = gaussian_filter(rng.standard_normal((height, width), dtype=np.float32), sigma / step, mode='wrap')
    coarse = (coarse - coarse.mean()) / (coarse.std() + 1e-6)
    full = cv2.resize(coarse, (width * step, height * step), interpolation=cv2.INTER_CUBIC)
    return full[: size[0], : size[1]]


def fibres(rng: np.random.Generator, direction: np.ndarray, sigma: float, length: int) -> np.ndarray:
    """Wavy fibres of zero mean and unit variance: noise averaged along a given direction.

    This is line integral convolution (Cabral and Leedom, SIGGRAPH 1993) along straight lines, which is enough where the
    direction turns slowly against `length`.

    Args:
        rng: Source of randomness.
        direction: Direction of the fibres in radians, float32 of shape (H, W).
        sigma: Half the thickness of a fibre in pixels.
        length: Half the length over which a fibre keeps its brightness, in pixels.

    Returns:
        np.ndarray: float32 of shape (H, W).
    """
    size = direction.shape
    noise = smooth_noise(rng, size, sigma)
    dx, dy = np.cos(direction), np.sin(direction)
    x, y = np.meshgrid(np.arange(size[1], dtype=np.float32), np.arange(size[0], dtype=np.float32))
    total = np.zeros(size, np.float32)
    for step in range(-length, length + 1, 2):
        total += cv2.remap(noise, x + step * dx, y + step * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return (total - total.mean()) / (total.std() + 1e-6)


def ramp(values: np.ndarray, width: float) -> np.ndarray:
    """A soft step: 0 well below zero, 1 well above, `width` wide in the units of `values`."""
    return np.clip(values / width + 0.5, 0, 1)
