"""Color changes in stain space: how much hematoxylin and eosin a pixel holds, by the law of Beer and Lambert."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from numpy.typing import NDArray
from skimage.color import hed_from_rgb, rgb_from_hed


def map_optical_density(
    image: NDArray[np.uint8], matrix: NDArray[np.floating], shift: NDArray[np.floating], white: float = 255
) -> NDArray[np.uint8]:
    """Map the optical density of each pixel linearly.

    Optical density is ``-ln(value / white)``; 0, for which it is infinite, counts as 1.

    Args:
        image: (H, W, 3) uint8, BGR.
        matrix: (3, 3): density becomes ``density @ matrix + shift``, channels in the order RGB.
        shift: (3,).
        white: Value of unstained glass.

    Returns:
        (H, W, 3) uint8, BGR, rounded and clipped.
    """
    density = cv2.LUT(image, -np.log(np.maximum(np.arange(256), 1) / white).astype(np.float32))
    # OpenCV multiplies from the left; reversed on both axes, the matrix serves BGR.
    affine = np.column_stack([matrix.T, shift - np.log(white)])[::-1, [2, 1, 0, 3]]
    density = cv2.transform(density, affine.astype(np.float32))
    values = cv2.exp(-density)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class RandomHEDJitter(BaseTransform):
    """Vary how strongly a slide is stained: hematoxylin, eosin and residual (DAB) each become alpha * c + beta.

    alpha is uniform in [1 - sigma, 1 + sigma] and beta in [-shift, shift], drawn for each stain: Tellez et al.,
    "Whole-slide mitosis detection in H&E breast histology", IEEE TMI 2018. Their later comparison ("Quantifying the
    effects of data augmentation and stain color normalization", MedIA 2019) calls 0.05 light and 0.2 strong. Stain
    vectors are those of Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", 2001,
    as ``skimage.color.rgb2hed`` has them.

    c is a density in natural units (ln), where a nucleus has about 1; scikit-image divides it by ln(1e6) = 13.8, and
    beta would be as many times stronger. Unlike ``rgb2hed``, negative stains are not cut off, so that an image without
    jitter, as at test time, is one of those that training sees.

    Modified keys: img (uint8, (H, W, 3), BGR).

    Args:
        sigma: Largest relative change of a stain, 0 to 1.
        shift: Largest density that is added to or taken from a stain; None is `sigma`.
        prob: Probability of the change.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, sigma: float = 0.05, shift: float | None = None, prob: float = 1.0) -> None:
        if not 0 <= sigma <= 1:
            raise ValueError(f'sigma must be between 0 and 1, not {sigma}')
        if shift is not None and shift < 0:
            raise ValueError(f'shift must be at least 0, not {shift}')
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be between 0 and 1, not {prob}')
        self.sigma = sigma
        self.shift = sigma if shift is None else shift
        self.prob = prob

    @cache_randomness
    def _draw(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """alpha and beta of each stain, (3,), or None."""
        if np.random.rand() >= self.prob:
            return None
        return np.random.uniform(1 - self.sigma, 1 + self.sigma, 3), np.random.uniform(-self.shift, self.shift, 3)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Jitter the stains of `results['img']`."""
        draw = self._draw()
        if draw is not None:
            alpha, beta = draw
            matrix = hed_from_rgb @ np.diag(alpha) @ rgb_from_hed
            results['img'] = map_optical_density(results['img'], matrix, beta @ rgb_from_hed)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(sigma={self.sigma}, shift={self.shift}, prob={self.prob})'
