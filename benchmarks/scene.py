"""Images of any number of cells, quickly made: the inputs of the synthetic cases."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcell.structures.rle import encode_label_map
from mmcell.synthetic.tissue import draw_tissue

#: Median sqrt(area) of a cell in the reference's data, in pixels.
_CELL = 22.8
_TILE = 512


def labels_of(cells: int, side: int) -> dict[str, int | str]:
    """The columns that name a synthetic case."""
    return {'cells': cells, 'side': side}


def grid_cost(cells: int, side: int) -> float:
    """Pixels of one bitmap per cell: what the time and memory of others grow with."""
    return cells * side**2


def draw_cells(cells: int, side: int, seed: int = 0) -> NDArray[np.int32]:
    """A label map of ellipses, (side, side), ids 1 to `cells`; as large as real cells, or as there is room for."""
    rng = np.random.default_rng(seed)
    plane = np.zeros((side, side), dtype=np.int32)
    across = int(np.ceil(np.sqrt(cells)))
    pitch = side / across
    # Semi-axes are 0.65 to 1 radii long, so an ellipse has 0.68 of the circle's area on average.
    radius = min(_CELL / np.sqrt(0.68 * np.pi), 0.48 * pitch)
    for index, (row, column) in enumerate(np.ndindex(across, across)):
        if index == cells:
            break
        semi_y, semi_x = radius * rng.uniform(0.65, 1, 2)
        y, x = (np.array([row, column]) + 0.5) * pitch
        top, left = int(y - semi_y), int(x - semi_x)
        rows, columns = np.ogrid[top : int(y + semi_y) + 1, left : int(x + semi_x) + 1]
        inside = ((rows - y) / semi_y) ** 2 + ((columns - x) / semi_x) ** 2 <= 1
        plane[top : top + inside.shape[0], left : left + inside.shape[1]][inside] = index + 1
    return plane


def draw_image(side: int) -> NDArray[np.uint8]:
    """Tissue, RGB, (side, side, 3): one tile again and again, since compression sees no further."""
    tile = draw_tissue(np.random.default_rng(0), (_TILE, _TILE), 300).image
    times = -(-side // _TILE)
    return np.tile(tile, (times, times, 1))[:side, :side]


def draw_instances(cells: int, side: int) -> list[dict[str, Any]]:
    """Instances as a data set gives them to a pipeline."""
    encoded = encode_label_map(draw_cells(cells, side))
    return [
        {'bbox': [x, y, x + w, y + h], 'bbox_label': index % 4, 'mask': rle, 'ignore_flag': 0}
        for index, (rle, (x, y, w, h)) in enumerate(zip(encoded.rles, encoded.boxes.tolist()))
    ]
