"""The connected parts of masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmcell.structures.overlaps import find_overlaps
from mmcell.structures.rle import Runs
from mmcell.structures.run_geometry import join_columns, split_columns


@dataclass(frozen=True)
class Pieces:
    """N masks, split at the columns of the image, and which of these pieces hang together over edges.

    Attributes:
        owners: Mask of each piece, ascending, (K,) int64.
        columns: Its column, (K,) int64.
        tops: Its first row, (K,) int64.
        bottoms: One past its last row, (K,) int64.
        parts: The connected part that it belongs to, (K,) int64, numbered by mask, then by where they begin.
        part_owners: Mask of each part, ascending, (P,) int64.
    """

    owners: NDArray[np.int64]
    columns: NDArray[np.int64]
    tops: NDArray[np.int64]
    bottoms: NDArray[np.int64]
    parts: NDArray[np.int64]
    part_owners: NDArray[np.int64]


def find_parts(masks: Runs) -> Pieces:
    """Split masks into their 4-connected parts: pixels that meet at a corner only are apart."""
    owners, columns, tops, bottoms = split_columns(masks)
    # Masks far apart from each other on one line, column after column, so that one search finds all neighbors.
    height, width = masks.size
    base = (owners * (width + 2) + columns) * height
    pieces = Runs(base + tops, base + bottoms, np.arange(len(base) + 1), (height, (width + 2) * len(masks)))
    beside = Runs(pieces.starts + height, pieces.ends + height, pieces.offsets, pieces.size)
    pairs = find_overlaps(beside, pieces)
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs.first, pairs.second)), shape=(len(base), len(base)))
    parts = connected_components(graph, directed=False)[1] if len(base) else np.zeros(0, dtype=np.int64)
    _, first, parts = np.unique(parts, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(len(first))
    return Pieces(owners, columns, tops, bottoms, rank[parts], owners[np.sort(first)])


def without_crumbs(masks: Runs, trimmed: Runs) -> Runs:
    """What is left of N masks after something was taken from some: of these the largest part, of the others all.

    Args:
        masks: Before.
        trimmed: After, (N).
    """
    cut = np.flatnonzero(trimmed.areas < masks.areas)
    places = np.arange(len(masks))
    places[cut] = len(masks) + np.arange(len(cut))
    return Runs.cat([trimmed, keep_largest_parts(trimmed.select(cut))]).select(places)


def keep_largest_parts(masks: Runs) -> Runs:
    """Of each mask only its largest 4-connected part, the one that begins first of equals."""
    pieces = find_parts(masks)
    areas = np.bincount(pieces.parts, pieces.bottoms - pieces.tops, minlength=len(pieces.part_owners))
    order = np.lexsort([-areas, pieces.part_owners])
    largest = order[np.unique(pieces.part_owners, return_index=True)[1]]
    kept = np.isin(pieces.parts, largest)
    return join_columns(
        pieces.owners[kept],
        pieces.columns[kept],
        pieces.tops[kept],
        pieces.bottoms[kept],
        len(masks),
        masks.size,
    )
