"""Size and shape of one cell, defined as scikit-image's `regionprops` defines them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Measurements:
    """Measurements of one mask; lengths in pixels, areas in square pixels.

    Attributes:
        area: Number of pixels.
        centroid_x: Mean of the pixels' centres. Pixel 0 spans 0 to 1, so its centre is 0.5 (regionprops says 0).
        centroid_y: The same, downwards.
        perimeter: Length of the line through the centres of the border pixels, holes included, with the weights of
            Benkrid & Crookes, "Design and FPGA implementation of a perimeter estimator" (2000): each border pixel adds
            1, sqrt(2) or (1 + sqrt(2)) / 2, depending on how its neighbours lie. 0 for a single pixel.
        eccentricity: sqrt(1 - b^2 / a^2) of the ellipse with the same second central moments, where a^2 and b^2 are in
            the ratio of the eigenvalues of their matrix; 0 for a circle, towards 1 for a line.
        equivalent_diameter: sqrt(4 * area / pi), the diameter of the disc of that area.
    """

    area: int
    centroid_x: float
    centroid_y: float
    perimeter: float
    eccentricity: float
    equivalent_diameter: float

    def as_dict(self) -> dict[str, float]:
        """The measurements by name."""
        return asdict(self)


def measure(bitmap: NDArray[np.bool_], x: int = 0, y: int = 0) -> Measurements:
    """Measure one mask.

    Args:
        bitmap: (H, W) of bool with at least one pixel.
        x: Column of the bitmap's left edge in the image.
        y: Row of its upper edge.
    """
    rows, columns = np.nonzero(bitmap)
    area = len(rows)
    return Measurements(
        area=area,
        centroid_x=float(columns.mean() + x + 0.5),
        centroid_y=float(rows.mean() + y + 0.5),
        perimeter=_perimeter(bitmap),
        eccentricity=_eccentricity(rows, columns),
        equivalent_diameter=math.sqrt(4 * area / math.pi),
    )


# 10 for each border neighbour across a corner, 2 for each across an edge, 1 for the pixel itself.
_NEIGHBOURS = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], dtype=np.float32)
_WEIGHTS = np.zeros(50)
_WEIGHTS[[5, 7, 15, 17, 25, 27]] = 1
_WEIGHTS[[21, 33]] = math.sqrt(2)
_WEIGHTS[[13, 23]] = (1 + math.sqrt(2)) / 2


def _perimeter(bitmap: NDArray[np.bool_]) -> float:
    padded = np.pad(bitmap, 2).astype(np.uint8)
    border = padded & ~cv2.erode(padded, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    patterns = cv2.filter2D(border.astype(np.float32), -1, _NEIGHBOURS)[border > 0]
    return float(_WEIGHTS[np.round(patterns).astype(int)].sum())


def _eccentricity(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> float:
    moments = np.cov(np.stack([columns, rows]), bias=True)
    small, large = np.linalg.eigvalsh(moments)
    return math.sqrt(max(0.0, 1 - small / large)) if large > 0 else 0.0
