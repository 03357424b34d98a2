"""A piece of tissue on glass: how much of each stain every pixel has taken up."""

from __future__ import annotations

import numpy as np

from mmcell.synthetic.fields import smooth_noise
from mmcell.synthetic.frame import Window

_EVERYWHERE = (slice(None), slice(None))


class Glass:
    """Amounts of stain, painted from the background up, and the textures that all painting shares.

    Args:
        rng: Source of randomness.
        size: Height and width.

    Attributes:
        size: Height and width.
        hematoxylin: float32 of shape (H, W).
        eosin: float32 of shape (H, W).
        grain: Noise of unit variance and pixel scale, float32 of shape (H, W).
        clumps: The same, coarser: chromatin.
        foam: The same, coarser still: vacuoles.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.size = size
        self.hematoxylin = np.zeros(size, np.float32)
        self.eosin = np.zeros(size, np.float32)
        self.grain = smooth_noise(rng, size, 0.8)
        self.clumps = smooth_noise(rng, size, 1.4)
        self.foam = smooth_noise(rng, size, 1.8)

    def cover(
        self,
        amount: np.ndarray,
        hematoxylin: np.ndarray | float,
        eosin: np.ndarray | float,
        window: Window = _EVERYWHERE,
    ) -> None:
        """Replace what is there by new stain, where `amount` is 1; blend where it is between 0 and 1."""
        self.hematoxylin[window] += amount * (hematoxylin - self.hematoxylin[window])
        self.eosin[window] += amount * (eosin - self.eosin[window])
