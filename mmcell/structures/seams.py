"""One cell, seen in several overlapping tiles, becomes one prediction."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from mmcell.structures.overlaps import find_self_overlaps
from mmcell.structures.rle import Runs
from mmcell.structures.run_geometry import clip

# Pairs of masks that are compared together: some 20 MB on the way.
_CHUNK = 1 << 14


def resolve_seams(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    labels: NDArray[np.integer],
    masks: Runs,
    tiles: NDArray[np.integer],
    windows: NDArray[np.integer],
    iou_thr: float = 0.5,
    margin: float = 2,
    slack: float = 8,
) -> NDArray[np.int64]:
    """Choose one view of each cell among the predictions of overlapping tiles.

    Each pixel belongs to one tile: what two tiles share is halved between them. First, predictions go whose center
    lies more than `slack` outside the part of their own tile: another tile sees that place from further inside, and
    what the two draw differently would stay twice. Then, one that touches an inner border of its tile is taken for a
    cut cell, and goes where another tile has its box well inside: that tile saw the cell whole. Last, of predictions
    of one class from different tiles that agree where both tiles saw (IoU of their masks within both windows), one
    stays: an uncut one before a cut one, of uncut ones the highest score, of cut ones the largest. Predictions of one
    tile never suppress each other: the detector has seen to them.

    Perfect views of cells that are in one piece and no larger than the overlap of the tiles give just the whole cells.

    Args:
        boxes: x1, y1, x2, y2 in pixels of the image, (N, 4).
        scores: (N,).
        labels: (N,).
        masks: N masks on the image, each within its tile.
        tiles: The tile of each prediction, (N,).
        windows: x1, y1, x2, y2 of each tile, (T, 4), from :func:`mmcell.models.tiled.tile_windows`.
        iou_thr: Least IoU at which two predictions are one cell.
        margin: Distance from an inner border, in pixels, up to which a box touches it.
        slack: How far apart, in pixels, two tiles may see the center of one cell.

    Returns:
        Indices of the predictions that stay, ascending.
    """
    inner = _inner(windows, margin)
    is_cut = ~_within(boxes, inner[tiles])
    kept = np.flatnonzero(_is_near(boxes, _parts(windows)[tiles], slack) & ~(is_cut & _is_seen_whole(boxes, inner)))
    matches = _matches(labels[kept], masks.select(kept), tiles[kept], windows, iou_thr)
    is_cut, areas = is_cut[kept], masks.areas[kept]
    best_first = np.lexsort([-scores[kept], np.where(is_cut, -areas, 0), is_cut])
    return kept[_suppress(best_first, matches)]


def _parts(windows: NDArray[np.integer]) -> NDArray[np.floating]:
    """The part of the plane that belongs to each tile: up to the middle of what it shares with the next one."""
    parts = np.empty(windows.shape)
    for low, high in ((0, 2), (1, 3)):
        starts, place = np.unique(windows[:, low], return_inverse=True)
        ends = np.unique(windows[:, high])
        borders = np.concatenate([[-np.inf], (starts[1:] + ends[:-1]) / 2, [np.inf]])
        parts[:, low], parts[:, high] = borders[place], borders[place + 1]
    return parts


def _is_near(boxes: NDArray[np.floating], parts: NDArray[np.floating], slack: float) -> NDArray[np.bool_]:
    """Whether the center of each box lies in its part or no further than `slack` outside, both (N, 4)."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.all((centres >= parts[:, :2] - slack) & (centres <= parts[:, 2:] + slack), axis=1)


def _inner(windows: NDArray[np.integer], margin: float) -> NDArray[np.floating]:
    """The tiles without a margin along their borders, except at the borders of the image, where nothing is cut."""
    inner = windows + np.array([margin, margin, -margin, -margin])
    outermost = np.concatenate([windows[:, :2].min(axis=0), windows[:, 2:].max(axis=0)])
    return np.where(windows == outermost, [-np.inf, -np.inf, np.inf, np.inf], inner)


def _within(boxes: NDArray[np.floating], windows: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether each box lies strictly inside its window, both (N, 4)."""
    return np.all((boxes[:, :2] > windows[:, :2]) & (boxes[:, 2:] < windows[:, 2:]), axis=1)


def _is_seen_whole(boxes: NDArray[np.floating], inner: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether any tile has each box well inside."""
    finite = np.nan_to_num(inner, posinf=1e9, neginf=-1e9)
    box, window = shapely.STRtree(shapely.box(*finite.T)).query(shapely.box(*boxes.T))
    inside = _within(boxes[box], inner[window])
    return np.bincount(box[inside], minlength=len(boxes)) > 0


def _matches(
    labels: NDArray[np.integer],
    masks: Runs,
    tiles: NDArray[np.integer],
    windows: NDArray[np.integer],
    iou_thr: float,
) -> NDArray[np.int64]:
    """Pairs of predictions of one class from different tiles that show one cell, (P, 2)."""
    pairs = find_self_overlaps(masks)
    pairs = pairs.select((tiles[pairs.first] != tiles[pairs.second]) & (labels[pairs.first] == labels[pairs.second]))
    found = [np.zeros((0, 2), dtype=np.int64)]
    for start in range(0, len(pairs), _CHUNK):
        part = pairs.select(np.arange(start, min(start + _CHUNK, len(pairs))))
        # Each mask lies within its own tile, so what both tiles saw of it is what lies in the other's.
        sides = ((part.first, part.second), (part.second, part.first))
        union = sum(clip(masks.select(a), windows[tiles[b]]).areas for a, b in sides) - part.pixels
        found.append(np.stack(sides[0], axis=1)[part.pixels >= iou_thr * union])
    return np.concatenate(found)


def _suppress(best_first: NDArray[np.int64], matches: NDArray[np.int64]) -> NDArray[np.int64]:
    """Go through predictions in order; each that is still there removes its matches. Returns what stays, ascending."""
    rank = np.argsort(best_first)
    matches = np.take_along_axis(matches, np.argsort(rank[matches], axis=1), axis=1)
    keep = np.ones(len(rank), dtype=bool)
    for better, worse in matches[np.argsort(rank[matches[:, 0]], kind='stable')].tolist():
        if keep[better]:
            keep[worse] = False
    return np.flatnonzero(keep)
