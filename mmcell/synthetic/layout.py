"""Where things are: glands, swarms, and the cells in and around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.ndimage import distance_transform_edt, label

from mmcell.synthetic.frame import Window, local_grid, window_around
from mmcell.synthetic.outlines import OUTLINES

EPITHELIAL, LYMPHOCYTE, NEUTROPHIL, MACROPHAGE = range(4)
MIN_AREA = 24  # px; what the picture's border leaves of a cell is dropped below this
_REACH = 34  # px; no outline extends farther from its center


@dataclass(frozen=True)
class Cell:
    """One placed cell.

    Attributes:
        kind: Class index, 0..3.
        y: Row of the center.
        x: Column of the center.
        angle: Direction of the long axis in radians.
        window: Rows and columns that hold the cell.
        mask: bool, of the window's shape.
        depth: Distance to the cell's border in pixels, positive inside, float32 of the window's shape.
    """

    kind: int
    y: float
    x: float
    angle: float
    window: Window
    mask: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class Glands:
    """Where glands are, as signed distances in pixels, float32 of shape (H, W).

    Attributes:
        depth: Distance from the outer border, positive inside.
        lumen: Distance from the border of the hollow, positive in it.
        seats: Rows (y, x, angle) where epithelial cells sit, float64 of shape (S, 3).
    """

    depth: np.ndarray
    lumen: np.ndarray
    seats: np.ndarray


def _bulge(rng: np.random.Generator, radius: float) -> Callable[[np.ndarray], np.ndarray]:
    """How far a gland's walls bulge beyond a circle of that radius, in pixels, by direction."""
    orders = np.arange(2, 5)
    amplitudes, phases = radius * rng.normal(0, 0.07, 3) / (orders - 1), rng.uniform(0, 2 * np.pi, 3)
    return lambda angle: np.cos(orders * angle[..., None] + phases) @ amplitudes


def draw_glands(rng: np.random.Generator, size: tuple[int, int], num_cells: int) -> Glands:
    """Place glands and solid nests until they seat `num_cells` epithelial cells or no more fit.

    Args:
        rng: Source of randomness.
        size: Height and width.
        num_cells: Epithelial cells to seat.

    Returns:
        Glands: The glands.
    """
    depth = np.full(size, -1e3, np.float32)
    lumen = np.full(size, -1e3, np.float32)
    seats = np.empty((0, 3))
    discs = np.empty((0, 3))
    for _ in range(50 + 20 * num_cells):
        if len(seats) >= num_cells:
            break
        radius = rng.uniform(36, 58)
        y, x = rng.uniform(-0.3 * radius, np.array(size) + 0.3 * radius)
        if len(discs) and np.any(np.hypot(discs[:, 0] - y, discs[:, 1] - x) < discs[:, 2] + radius + 6):
            continue
        discs = np.append(discs, [[y, x, radius]], 0)
        hollow = radius - rng.uniform(30, 38) if radius > 44 else -8.0
        bulge = _bulge(rng, radius)

        window = window_around(y, x, int(radius * 1.3) + 8, size)
        from_y, from_x = local_grid(window, y, x, 0.0)
        distance = np.hypot(from_y, from_x) - bulge(np.arctan2(from_y, from_x))
        depth[window] = np.maximum(depth[window], radius - distance)
        lumen[window] = np.maximum(lumen[window], hollow - distance)

        for ring in np.arange(radius - 14, max(hollow, 0) + 4, -22):
            around = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, max(1, int(ring / 3)), endpoint=False)
            from_centre = ring + bulge(around) + rng.normal(0, 1.5, len(around))
            seat_y, seat_x = y + from_centre * np.sin(around), x + from_centre * np.cos(around)
            inside = (seat_y >= 0) & (seat_y < size[0]) & (seat_x >= 0) & (seat_x < size[1])
            # Nuclei stand upright on the wall, give or take.
            upright = around + rng.normal(0, 0.25, len(around))
            seats = np.append(seats, np.stack([seat_y, seat_x, upright], 1)[inside], 0)
    return Glands(depth, lumen, seats)


def _scattered(rng: np.random.Generator, ground: np.ndarray, tries: int) -> Iterator[tuple[float, float, float]]:
    for _ in range(tries):
        y, x = rng.uniform(0, ground.shape)
        if ground[int(y), int(x)]:
            yield y, x, rng.uniform(0, 2 * np.pi)


def _swarming(rng: np.random.Generator, ground: np.ndarray, count: int) -> Iterator[tuple[float, float, float]]:
    for y, x, _ in _scattered(rng, ground, 1 + count // 8):
        for near_y, near_x in rng.normal((y, x), 15.0, (20, 2)):
            inside = 0 <= near_y < ground.shape[0] and 0 <= near_x < ground.shape[1]
            if inside and ground[int(near_y), int(near_x)]:
                yield near_y, near_x, rng.uniform(0, 2 * np.pi)


def _fit(rng: np.random.Generator, taken: np.ndarray, kind: int, y: float, x: float, angle: float) -> Cell | None:
    """The cell that fits there, pressed against its neighbors, or None where they leave too little of it."""
    if taken[int(y), int(x)]:
        return None
    window = window_around(y, x, _REACH, taken.shape)
    depth = -OUTLINES[kind](rng)(*local_grid(window, y, x, angle)).astype(np.float32)
    whole = depth > 0
    free = whole & ~taken[window]
    if np.count_nonzero(free) < 0.78 * np.count_nonzero(whole):
        return None
    pieces, count = label(free)
    if count > 1:
        free = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    if np.count_nonzero(free) < MIN_AREA:
        return None
    lost = whole & ~free
    if lost.any():
        # Three quarters: the border runs between two pixels, and a pixel that is lost lies wholly outside.
        depth = np.minimum(depth, distance_transform_edt(~lost).astype(np.float32) - 0.75)
    return Cell(kind, y, x, angle, window, free, depth)


def place_cells(rng: np.random.Generator, glands: Glands, counts: tuple[int, int, int, int]) -> list[Cell]:
    """Place cells so that no two share a pixel; neighbors may share a border.

    Args:
        rng: Source of randomness.
        glands: The glands; epithelial cells sit in them, the others between them.
        counts: Cells of each class.

    Returns:
        list[Cell]: At most as many as asked for; fewer only where the tissue is full.
    """
    stroma = glands.depth < -4
    taken = np.zeros(stroma.shape, bool)
    anywhere = np.ones_like(taken)
    cells = []
    # Large cells first: small ones find a gap more easily.
    for kind in (MACROPHAGE, EPITHELIAL, NEUTROPHIL, LYMPHOCYTE):
        spots: Iterator[tuple[float, float, float]] = iter(())
        if kind == EPITHELIAL:
            spots = map(tuple, glands.seats)
        elif kind == LYMPHOCYTE:
            spots = _swarming(rng, stroma, counts[kind])
        spots = chain(spots, _scattered(rng, stroma, 40 * counts[kind]), _scattered(rng, anywhere, 40 * counts[kind]))
        left = counts[kind]
        while left and (spot := next(spots, None)):
            cell = _fit(rng, taken, kind, *spot)
            if cell:
                taken[cell.window] |= cell.mask
                cells.append(cell)
                left -= 1
    return cells
