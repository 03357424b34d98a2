"""Normalization of H&E colors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from numpy.typing import NDArray

from mmcell.datasets.transforms.stain import map_optical_density
from mmcell.errors import InputError
from mmcell.io.images import read_image


class Stains(NamedTuple):
    """What hematoxylin and eosin look like on a slide.

    Args:
        vectors: Optical density (ln) in RGB of one unit of each, (2, 3), rows of length 1.
        strengths: 99th percentile of the concentration of each, (2,).
    """

    vectors: NDArray[np.float64]
    strengths: NDArray[np.float64]


#: The slide that Macenko's own code, and most after it, normalizes to.
REFERENCE = Stains(
    np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]]),
    np.array([1.9705, 1.0308]),
)

#: Value of unstained glass, as in Macenko's code.
WHITE = 240

#: Tissue pixels below which percentiles mean nothing.
_MIN_PIXELS = 100
#: Smallest angle between the stains in radians; between those of the reference it is 0.39.
_MIN_ANGLE = 0.1
#: Eosin absorbs green: published vectors have 0.07 (Ruifrok) to 0.27 (Macenko) times as much red, hematoxylin 0.78 to
#: 0.93. Where hardly anything is pink, the percentile finds a second shade of hematoxylin instead.
_MOST_RED_IN_EOSIN = 0.5


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
        None where the image does not tell: too little tissue, colors that lie on a line, as a gray image's do, or no
        direction that can be eosin.
    """
    step = max(1, int(np.ceil(np.sqrt(image.shape[0] * image.shape[1] / max_pixels))))
    pixels = image[::step, ::step, ::-1].reshape(-1, 3)
    density = -np.log(np.maximum(pixels, 1) / WHITE)
    tissue = density[(density >= min_density).all(axis=1)]
    if len(tissue) < max(min_tissue * len(density), _MIN_PIXELS):
        return None
    # As in the paper, about the origin, which is glass. About the mean, as in the code that came with it, the plane
    # misses both, and colors fade to gray.
    plane = np.linalg.eigh(tissue.T @ tissue)[1][:, :0:-1]  # (3, 2), the largest first
    plane *= np.where(plane.sum(axis=0) < 0, -1, 1)  # towards more density, so that angles do not wrap
    along, across = (tissue @ plane).T
    low, high = np.percentile(np.arctan2(across, along), (1, 99))
    if high - low < _MIN_ANGLE:
        return None
    vectors = np.array([plane @ (np.cos(angle), np.sin(angle)) for angle in (low, high)])
    if vectors[0, 0] < vectors[1, 0]:  # hematoxylin absorbs more red than eosin does
        vectors = vectors[::-1]
    if vectors[1, 0] > _MOST_RED_IN_EOSIN * vectors[1, 1]:
        return None
    strengths = np.percentile(tissue @ np.linalg.pinv(vectors), 99, axis=0)
    return Stains(vectors, strengths) if (strengths > 0).all() else None


@TRANSFORMS.register_module()
class NormalizeStain(BaseTransform):
    """Make hematoxylin and eosin look alike on all slides, whatever the laboratory and the scanner.

    The stains are estimated by :func:`estimate_stains`, their concentrations rescaled to the reference's 99th
    percentile and shown in the reference's colors. An image that does not tell its stains, or whose change would be
    beyond `max_gain`, stays as it is; with one of the data set's own images as `target` such images look least
    different from the others.

    Nothing is drawn. It belongs right behind ``LoadCellImage``, before any crop, in the pipelines of training and
    testing alike.

    Modified keys: img (uint8, (H, W, 3), BGR).

    Args:
        method: 'macenko'.
        target: Path of the image whose stains are the reference, stored as RGB; None takes :data:`REFERENCE`.
        max_pixels: Pixels that the estimate looks at, about.
        max_gain: Largest factor by which a stain may be strengthened or weakened; a trace of a stain times a large
            factor is noise.

    Raises:
        ValueError: If an argument is none of these.
        InputError: If `target` cannot be read or does not tell its stains.
    """

    def __init__(
        self,
        method: str = 'macenko',
        target: str | None = None,
        max_pixels: int = 2**16,
        max_gain: float = 4.0,
    ) -> None:
        if method != 'macenko':
            raise ValueError(f"method must be 'macenko', not {method!r}")
        if max_pixels < 1:
            raise ValueError(f'max_pixels must be at least 1, not {max_pixels}')
        if max_gain < 1:
            raise ValueError(f'max_gain must be at least 1, not {max_gain}')
        self.method = method
        self.target = target
        self.reference = REFERENCE if target is None else _read_stains(target, max_pixels)
        self.max_pixels = max_pixels
        self.max_gain = max_gain

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Normalize `results['img']`."""
        stains = estimate_stains(results['img'], self.max_pixels)
        if stains is None:
            return results
        gains = self.reference.strengths / stains.strengths
        if np.maximum(gains, 1 / gains).max() <= self.max_gain:
            concentrations = np.linalg.pinv(stains.vectors)  # (3, 2)
            # Density that neither stain explains, such as blood's or pigment's, stays what it is.
            residual = np.eye(3) - concentrations @ stains.vectors
            matrix = concentrations @ np.diag(gains) @ self.reference.vectors + residual
            results['img'] = map_optical_density(results['img'], matrix, np.zeros(3), WHITE)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(method={self.method!r}, max_pixels={self.max_pixels}, max_gain={self.max_gain})'


def _read_stains(target: str, max_pixels: int) -> Stains:
    stains = estimate_stains(read_image(target)[..., ::-1], max_pixels)
    if stains is None:
        raise InputError(target, 'does not tell its stains', 'choose an image with plenty of H&E stained tissue')
    return stains
