"""One picture of tissue and the label maps that belong to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmcell.synthetic.background import paint_distractors, paint_glands, paint_stroma
from mmcell.synthetic.chromatin import paint_cells
from mmcell.synthetic.glass import Glass
from mmcell.synthetic.layout import draw_glands, place_cells
from mmcell.synthetic.stain import absorb, photograph

NUM_CLASSES = 4


@dataclass(frozen=True)
class Tissue:
    """A picture and its truth.

    Attributes:
        image: RGB, uint8 of shape (H, W, 3).
        label_maps: One plane per class (epithelial, lymphocyte, neutrophil, macrophage), int32 of shape (4, H, W); 0 is
            background, ids run on from plane to plane. No pixel belongs to two cells.
    """

    image: np.ndarray
    label_maps: np.ndarray


def draw_tissue(rng: np.random.Generator, size: tuple[int, int], num_cells: int) -> Tissue:
    """Draw H&E-like tissue: glands and nests in fibrous stroma, lymphocytes in swarms, a few of the two rare classes.

    An outline is what an annotator would draw: the nucleus, and for macrophages the whole cell. The classes differ in
    size, shape and texture; their mean colors overlap.

    Args:
        rng: Source of randomness; equal states give equal pictures.
        size: Height and width in pixels.
        num_cells: Cells to place. Fewer are placed only where the tissue is full.

    Returns:
        Tissue: The picture and its label maps.
    """
    # Rounding at random keeps the expected share even for a handful of cells.
    rare = int(num_cells * rng.uniform(0.07, 0.11) + rng.random())
    neutrophils = int(rare / 2 + rng.random())
    common = num_cells - rare
    glands = draw_glands(rng, size, int(common * rng.uniform(0.35, 0.5)))
    # Glands are filled, since no tissue shows half a ring; the rest are lymphocytes.
    epithelial = min(len(glands.seats), int(0.65 * common))
    cells = place_cells(rng, glands, (epithelial, common - epithelial, neutrophils, rare - neutrophils))

    slide = Glass(rng, size)
    direction = paint_stroma(rng, slide)
    paint_glands(slide, glands, cells)
    paint_distractors(rng, slide, glands, cells, direction)
    paint_cells(rng, slide, cells)
    image = photograph(rng, absorb(rng, np.maximum(slide.hematoxylin, 0), np.maximum(slide.eosin, 0)))

    label_maps = np.zeros((NUM_CLASSES, *size), np.int32)
    for index, cell in enumerate(sorted(cells, key=lambda cell: cell.kind), 1):
        label_maps[cell.kind][cell.window][cell.mask] = index
    return Tissue(image, label_maps)
