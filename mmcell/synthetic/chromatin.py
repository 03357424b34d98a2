"""How the four kinds of cell take up stain."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from mmcell.synthetic.fields import ramp
from mmcell.synthetic.frame import local_grid
from mmcell.synthetic.glass import Glass
from mmcell.synthetic.layout import NEUTROPHIL, Cell
from mmcell.synthetic.outlines import macrophage_nucleus

#: Hematoxylin and eosin that each pixel takes up, both (H, W).
Uptake = tuple[np.ndarray, np.ndarray]


def paint_cells(rng: np.random.Generator, slide: Glass, cells: list[Cell]) -> None:
    """Paint the cells."""
    for cell in cells:
        if cell.kind == NEUTROPHIL:
            _paint_granular_cytoplasm(slide, cell)
    for cell in cells:
        hematoxylin, eosin = _STAINS[cell.kind](rng, slide, cell)
        # Uptake differs from cell to cell by more than it does between the classes.
        slide.cover(ramp(cell.depth, 1.5), rng.lognormal(0, 0.18) * hematoxylin, eosin, cell.window)


def _ridge(distance: np.ndarray, width: float) -> np.ndarray:
    """1 where `distance` is zero, falling off on both sides."""
    return np.exp(-np.square(distance / width))


def _epithelial(rng: np.random.Generator, slide: Glass, cell: Cell) -> Uptake:
    """Vesicular: pale, coarse chromatin, a sharp membrane and one or two nucleoli."""
    clumps = slide.clumps[cell.window]
    hematoxylin = 0.33 + 0.13 * clumps + 0.06 * slide.foam[cell.window] + 0.35 * _ridge(cell.depth - 1.5, 1.2)
    y, x = local_grid(cell.window, cell.y, cell.x, cell.angle)
    for _ in range(rng.integers(1, 3)):
        off_y, off_x = rng.normal(0, 2.5, 2)
        hematoxylin += 0.55 * _ridge(np.hypot(y - off_y, x - off_x), rng.uniform(1.6, 2.3))
    return hematoxylin, 0.17 + 0.02 * clumps


def _lymphocyte(rng: np.random.Generator, slide: Glass, cell: Cell) -> Uptake:
    """Dense: dark chromatin in blocks."""
    hematoxylin = 0.70 + 0.21 * slide.clumps[cell.window] + 0.12 * _ridge(cell.depth - 1.2, 1.2)
    return hematoxylin, np.full_like(hematoxylin, 0.18)


def _neutrophil(rng: np.random.Generator, slide: Glass, cell: Cell) -> Uptake:
    """Dense and even; the lobes are in the outline."""
    hematoxylin = 0.72 + 0.09 * slide.clumps[cell.window]
    return hematoxylin, np.full_like(hematoxylin, 0.18)


def _macrophage(rng: np.random.Generator, slide: Glass, cell: Cell) -> Uptake:
    """Foamy, pale cytoplasm around a kidney-shaped nucleus off the center."""
    bubbles = ramp(slide.foam[cell.window] - 0.2, 1.4)
    membrane = _ridge(cell.depth - 1, 1.0)
    hematoxylin = 0.42 - 0.26 * bubbles + 0.15 * membrane
    eosin = 0.22 - 0.11 * bubbles + 0.06 * membrane
    radius = np.sqrt(np.count_nonzero(cell.depth > 0) / np.pi)
    depth = -macrophage_nucleus(rng, radius)(*local_grid(cell.window, cell.y, cell.x, cell.angle))
    nucleus = ramp(depth, 1.5) * ramp(cell.depth - 2.5, 1.0)
    chromatin = 0.60 + 0.13 * slide.clumps[cell.window] + 0.3 * _ridge(depth - 1.2, 1.1)
    return hematoxylin + nucleus * (chromatin - hematoxylin), eosin + nucleus * (0.17 - eosin)


_STAINS = (_epithelial, _lymphocyte, _neutrophil, _macrophage)


def _paint_granular_cytoplasm(slide: Glass, cell: Cell) -> None:
    """Paint the pink body around a neutrophil's nucleus; as with other nuclei it is not part of the mask."""
    outside = distance_transform_edt(~cell.mask)
    slide.cover(0.85 * ramp(4.5 - outside, 2.5), 0.05, 0.22 + 0.05 * slide.grain[cell.window], cell.window)
