"""Masks on small images for property tests: as bitmaps and as runs."""

import numpy as np
from hypothesis import strategies as st

from mmcell.structures.rle import Runs, find_runs


@st.composite
def bitmaps(draw, count=4, side=9):
    """(N, H, W) of bool: noise, blocks, full and empty ones; some equal to others."""
    shape = draw(st.integers(0, count)), draw(st.integers(1, side)), draw(st.integers(1, side))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = rng.random(shape) < rng.choice([0, 0.3, 0.5, 0.7, 0.9, 1], (shape[0], 1, 1))
    for i in range(shape[0]):
        kind = rng.integers(4)
        if kind < 2:
            y, x = rng.integers(0, shape[1]), rng.integers(0, shape[2])
            masks[i] = False
            masks[i, y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = True
        elif kind == 2 and i:
            masks[i] = masks[rng.integers(i)]
    return masks


def to_runs(masks):
    """The runs of bitmaps, (N, H, W)."""
    none = np.zeros(0, dtype=np.int64)
    runs = [find_runs(mask.astype(np.uint8))[1] for mask in masks]
    runs = [run if len(run) else Runs(none, none, np.zeros(2, dtype=np.int64), run.size) for run in runs]
    return Runs.cat([Runs(none, none, np.zeros(1, dtype=np.int64), masks.shape[1:]), *runs])


def to_bitmaps(runs):
    """The inverse of `to_runs`."""
    height, width = runs.size
    masks = np.zeros((len(runs), width * height), dtype=bool)
    for i, mask in enumerate(masks):
        for start, end in zip(*(field[runs.offsets[i] : runs.offsets[i + 1]] for field in (runs.starts, runs.ends))):
            mask[start:end] = True
    return masks.reshape(len(runs), width, height).transpose(0, 2, 1)
