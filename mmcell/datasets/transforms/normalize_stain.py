"""Normalisation of H&E colours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from numpy.typing import NDArray

from mmcell.datasets.transforms.stain import map_optical_density


class Stains(NamedTuple):
    """What haematoxylin and eosin look like on a slide.

    Args:
        vectors: Optical density (ln) in RGB of one unit of each, (2, 3), rows of length 1.
        strengths: 99th percentile of the concentration of each, (2,).
    """

    vectors: NDArray[np.float64]
    strengths: NDArray[np.float64]


#: The slide that Macenko's own code, and most after it, normalises to.
REFERENCE = Stains(
    np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]]),
    np.array([1.9705, 1.0308]),
)

#: Value of unstained glass, as in Macenko's code.
WHITE = 240


def estimate_stains(
    image: NDArray[np.uint8], max_pixels: int = 2**16, min_density: float = 0.15, min_tissue: float = 0.02
) -> Stains | None:
    """Estimate the stains of an H&E image.

    Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009: in the plane of
    the two main directions of optical density, stains are the directions at the 1st and 99th percentile of the angle.

    Args:
        image: (H, W, 3) uint8, BGR.
        max_pixels: Pixels that are looked at, about: a regular grid of a larger image.
        min_density: Pixels less dense than this in any channel are glass.
        min_tissue: Smallest share of pixels that must be tissue.

    Returns:
        None where the image does not tell: too little tissue, or colours that lie on a line, as a grey image's do.
    """
    step = max(1, int(np.ceil(np.sqrt(image.shape[0] * image.shape[1] / max_pixels))))
    pixels = image[::step, ::step, ::-1].reshape(-1, 3)
    density = -np.log(np.maximum(pixels, 1) / WHITE)
    tissue = density[(density >= min_density).all(axis=1)]
    if len(tissue) < max(min_tissue * len(density), _MIN_PIXELS):
        return None
    plane = np.linalg.eigh(np.cov(tissue.T))[1][:, :0:-1]  # (3, 2), the largest variance first
    plane *= np.where(plane.sum(axis=0) < 0, -1, 1)  # towards more density, so that angles do not wrap
    across, along = (tissue @ plane[:, ::-1]).T
    low, high = np.percentile(np.arctan2(across, along), (1, 99))
    if high - low < _MIN_ANGLE:
        return None
    vectors = np.array([plane @ (np.cos(angle), np.sin(angle)) for angle in (low, high)])
    if vectors[0, 0] < vectors[1, 0]:  # haematoxylin absorbs more red than eosin does
        vectors = vectors[::-1]
    strengths = np.percentile(tissue @ np.linalg.pinv(vectors), 99, axis=0)
    return Stains(vectors, strengths) if (strengths > 0).all() else None


#: Tissue pixels below which percentiles mean nothing.
_MIN_PIXELS = 100
#: Smallest angle between the stains in radians; between those of the reference it is 0.39.
_MIN_ANGLE = 0.1


@TRANSFORMS.register_module()
class NormalizeStain(BaseTransform):
    """Make haematoxylin and eosin look alike on all slides, whatever the laboratory and the scanner.

    The stains are estimated by :func:`estimate_stains`, their concentrations rescaled to the reference's 99th
    percentile and shown in the reference's colours. An image that does not tell its stains, or whose change would be
    beyond `max_gain`, stays as it is.

    Nothing is drawn. It belongs right behind ``LoadCellImage``, before any crop, in the pipelines of training and
    testing alike.

    Modified keys: img (uint8, (H, W, 3), BGR).

    Args:
        method: 'macenko'.
        max_pixels: Pixels that the estimate looks at, about.
        max_gain: Largest factor by which a stain may be strengthened or weakened; a trace of a stain times a large
            factor is noise.

    Raises:
        ValueError: If an argument is none of these.
    """

    def __init__(self, method: str = 'macenko', max_pixels: int = 2**16, max_gain: float = 4.0) -> None:
        if method != 'macenko':
            raise ValueError(f"method must be 'macenko', not {method!r}")
        if max_pixels < 1:
            raise ValueError(f'max_pixels must be at least 1, not {max_pixels}')
        if max_gain < 1:
            raise ValueError(f'max_gain must be at least 1, not {max_gain}')
        self.method = method
        self.max_pixels = max_pixels
        self.max_gain = max_gain

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Normalise `results['img']`."""
        stains = estimate_stains(results['img'], self.max_pixels)
        if stains is None:
            return results
        gains = REFERENCE.strengths / stains.strengths
        if np.maximum(gains, 1 / gains).max() <= self.max_gain:
            matrix = np.linalg.pinv(stains.vectors) @ np.diag(gains) @ REFERENCE.vectors
            results['img'] = map_optical_density(results['img'], matrix, np.zeros(3), WHITE)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(method={self.method!r}, max_pixels={self.max_pixels}, max_gain={self.max_gain})'
