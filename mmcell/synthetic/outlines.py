"""Outlines of the four kinds of cell, as signed distances."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _blob(rng: np.random.Generator, radius: float, aspect: float, wobble: float, dent: float = 0.0) -> Outline:
    """An ellipse with a gently irregular border, long axis along x; `dent` (0..1) pushes its positive y side in."""
    major, minor = radius * np.sqrt(aspect), radius / np.sqrt(aspect)
    orders = np.arange(2, 6)
    amplitudes = rng.normal(0, wobble, len(orders)) / (orders - 1)
    phases = rng.uniform(0, 2 * np.pi, len(orders))

    def distance(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        angle = np.arctan2(y, x)
        waves = np.cos(orders * angle[..., None] + phases) @ amplitudes
        waves -= dent * np.exp(-np.square((angle - np.pi / 2) / 0.6))
        return (np.hypot(y / minor, x / major) - 1 - waves) * minor

    return distance


def _lobes(rng: np.random.Generator, radius: float, count: int) -> Outline:
    """Discs on an arc, joined by strands: the segmented nucleus of a granulocyte."""
    turns = np.cumsum(np.concatenate([[0.0], rng.uniform(0.4, 1.3, count - 1) * rng.choice([-1, 1])]))
    steps = radius * rng.uniform(1.45, 1.8, count)
    centres = np.cumsum(np.stack([steps * np.sin(turns), steps * np.cos(turns)], 1), axis=0)
    centres -= centres.mean(0)
    radii = radius * rng.uniform(0.8, 1.2, count)

    def distance(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        points = np.stack([y, x], -1)
        best = np.full(y.shape, np.inf)
        for centre, lobe in zip(centres, radii):
            best = np.minimum(best, np.linalg.norm(points - centre, axis=-1) - lobe)
        for start, end in pairwise(centres):
            along = np.clip((points - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
            best = np.minimum(
                best, np.linalg.norm(points - start - along[..., None] * (end - start), axis=-1) - 0.5 * radius
            )
        return best

    return distance


def epithelial(rng: np.random.Generator) -> Outline:
    """A large oval nucleus."""
    return _blob(rng, rng.uniform(10.5, 13.5), rng.uniform(1.1, 1.6), 0.05)


def lymphocyte(rng: np.random.Generator) -> Outline:
    """A small round nucleus."""
    return _blob(rng, rng.uniform(6.3, 8.4), rng.uniform(1.0, 1.2), 0.05)


def neutrophil(rng: np.random.Generator) -> Outline:
    """A nucleus of two to four lobes."""
    count = int(rng.integers(2, 5))
    return _lobes(rng, rng.uniform(5.4, 6.2) if count == 2 else rng.uniform(4.6, 5.5), count)


def macrophage(rng: np.random.Generator) -> Outline:
    """A large cell, cytoplasm included."""
    return _blob(rng, rng.uniform(17, 21.5), rng.uniform(1.0, 1.3), 0.08)


def macrophage_nucleus(rng: np.random.Generator, radius: float) -> Outline:
    """The kidney-shaped nucleus of a macrophage whose cell has the given radius."""
    kidney = _blob(rng, radius * rng.uniform(0.58, 0.66), rng.uniform(1.2, 1.6), 0.03, dent=rng.uniform(0.3, 0.55))
    shift = -radius * rng.uniform(0.1, 0.25)
    return lambda y, x: kidney(y - shift, x)


OUTLINES = (epithelial, lymphocyte, neutrophil, macrophage)
