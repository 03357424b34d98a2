"""From amounts of stain to an RGB image: Beer-Lambert absorption, then a camera."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from mmcell.synthetic.fields import smooth_noise

# Optical density (R, G, B) of one unit of each stain: Ruifrok and Johnston, "Quantification of histochemical staining
# by color deconvolution", Anal. Quant. Cytol. Histol. 23 (2001).
HEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11])
# A redder eosin, as other laboratories have it: "H&E" of Landini's Colour Deconvolution plugin for ImageJ.
RED_EOSIN = np.array([0.09, 0.95, 0.28])


def absorb(rng: np.random.Generator, hematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """Light that passes through stained tissue: I = I0 * 10^-(h * H + e * E).

    Every call is another laboratory: the strength and the hue of both stains and the white of the lamp vary.

    Args:
        rng: Source of randomness.
        hematoxylin: Amount of hematoxylin, float32 of shape (H, W), not negative.
        eosin: Amount of eosin, likewise.

    Returns:
        np.ndarray: Intensity in 0..255, float32 of shape (H, W, 3), RGB.
    """
    density = np.zeros((*hematoxylin.shape, 3), np.float32)
    mixed_eosin = EOSIN + rng.uniform(0.3, 1.4) * (RED_EOSIN - EOSIN)
    for amount, vector in ((hematoxylin, HEMATOXYLIN), (eosin, mixed_eosin)):
        # Absolute, since no stain emits light.
        vector = np.abs(vector + rng.normal(0, 0.03, 3))
        vector *= rng.uniform(0.85, 1.2) / np.linalg.norm(vector)
        density += amount[..., None] * vector.astype(np.float32)
    white = (rng.uniform(240, 252) + rng.uniform(-3, 3, 3)).astype(np.float32)
    return white * np.power(np.float32(10), -density)


def photograph(rng: np.random.Generator, intensity: np.ndarray) -> np.ndarray:
    """Blur, uneven light and shot noise of a slide scanner.

    Args:
        rng: Source of randomness.
        intensity: float32 of shape (H, W, 3) in 0..255.

    Returns:
        np.ndarray: uint8 of shape (H, W, 3).
    """
    sigma = rng.uniform(0.5, 0.8)
    image = gaussian_filter(intensity, (sigma, sigma, 0))
    image *= 1 + 0.01 * smooth_noise(rng, image.shape[:2], 80.0)[..., None]
    # Photons arrive as a Poisson process: the noise grows with the square root of the light.
    image += 0.2 * np.sqrt(np.maximum(image, 0)) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
