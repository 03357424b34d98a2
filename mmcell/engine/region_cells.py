"""Cells of the regions of a slide: predicted, kept in one file per region, brought together."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from mmengine.dist import is_main_process
from numpy.typing import NDArray
from tqdm import tqdm

from mmcell.engine.predictor import CellModel
from mmcell.engine.regions import Region
from mmcell.engine.slide_plan import SlidePlan
from mmcell.io.files import atomic_path
from mmcell.io.slide import Slide
from mmcell.report.parquet import CellTable
from mmcell.structures.cells import Cells
from mmcell.structures.parts import without_crumbs
from mmcell.structures.resolve import take_once
from mmcell.structures.rle import Runs
from mmcell.structures.run_geometry import place

# How far outside its region, in pixels, the center of a cell may lie that a region keeps: two regions may draw it so.
_SLACK = 8
# Distance from the border of a window, in pixels, up to which a box touches it.
_MARGIN = 2


def predict_regions(model: CellModel, plan: SlidePlan, todo: Sequence[int]) -> dict[str, float]:
    """Predict some regions and write their files: while one is predicted, the next is read and the last one written.

    Args:
        model: The model.
        plan: From :func:`mmcell.engine.slide_plan.plan_slide`.
        todo: Places of the regions.

    Returns:
        Seconds by stage.

    Raises:
        InputError: If a region cannot be read or its file not be written.
    """
    seconds: dict[str, float] = defaultdict(float)
    if not todo:
        return seconds
    regions, view = plan.regions, plan.view
    cells, pixels, start = 0, 0, time.perf_counter()

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        seconds[name] += time.perf_counter() - begin

    def read(index: int) -> NDArray[np.uint8]:
        x1, y1, x2, y2 = regions[index].window
        with stage('reading'):
            if view.level is None:
                return slide.read(x1, y1, x2 - x1, y2 - y1, mpp=view.mpp)
            return slide.read(x1, y1, x2 - x1, y2 - y1, level=view.level)

    def keep(index: int, size: tuple[int, int], results: list[dict[str, Any]]) -> int:
        with stage('cells'):
            found = model.make_cells(size, results, plan.score_thr)
            _save(plan.file(index), found)
        return len(found)

    mm2 = 0.0 if view.mpp is None else (view.mpp / 1000) ** 2
    total = sum(regions[index].pixels for index in todo) / 1e6
    hidden = None if is_main_process() else True
    bar = tqdm(total=total, desc=plan.name, unit='Mpx', file=sys.stderr, disable=hidden)
    with (
        Slide(plan.path, plan.channel_order, plan.mpp) as slide,
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(1) as writer,
        bar,
    ):
        ahead = reader.submit(read, todo[0])
        kept = None
        for index, following in zip(todo, [*todo[1:], None]):
            with stage('waiting for the disk'):
                window = ahead.result()
            if following is not None:
                ahead = reader.submit(read, following)
            size = window.shape[:2]
            with stage('network'):
                results = model.predict_windows(partial(_cut, window), size)
            cells += kept.result() if kept else 0
            kept = writer.submit(keep, index, size, results)
            pixels += regions[index].pixels
            passed = time.perf_counter() - start
            rate = f'{pixels * mm2 / passed * 3600:.2f} mm2/h' if mm2 else ''
            bar.set_postfix_str(f'{cells / passed:.0f} cells/s {rate}')
            bar.update(regions[index].pixels / 1e6)
        if kept:
            kept.result()
    return seconds


def assemble(plan: SlidePlan, classes: tuple[str, ...]) -> dict[str, int]:
    """Bring the regions together in their order, each cell once, no pixel in two of them, in `cells.parquet`.

    Args:
        plan: All of its regions have their files.
        classes: Names of the classes.

    Returns:
        How many cells there are of each class.
    """
    counts, first = Counter(dict.fromkeys(classes, 0)), 1
    borders: dict[tuple[int, int], Cells] = {}
    view, roi = plan.view, plan.roi
    if roi is not None:
        shapely.prepare(roi)
    with CellTable(plan.out / 'cells.parquet', classes, view.scale) as table:
        for index, region in enumerate(plan.regions):
            cells = _load(plan.file(index), classes)
            cells = replace(cells, masks=place(cells.masks, region.window[:2], view.size))
            cells = cells[_belongs(cells, region, view.size)]
            neighbours = [(region.row - 1, region.column + step) for step in (-1, 0, 1)]
            neighbours.append((region.row, region.column - 1))
            cells = subtract([borders[key] for key in neighbours if key in borders], cells)
            borders = {key: found for key, found in borders.items() if key[0] >= region.row - 1}
            borders[region.row, region.column] = cells[_reaches_out(cells.boxes, region)]
            if roi is not None:
                cells = cells[shapely.contains_xy(roi, *(cells.centres * view.scale).T)]
            table.add(plan.name, cells, plan.mpp, first)
            first += len(cells)
            counts.update(cells.counts())
    return dict(counts)


def subtract(taken: Sequence[Cells], cells: Cells) -> Cells:
    """The cells without those that others show already: what they share is the others', and too much of it is a repeat.

    As :func:`mmcell.structures.resolve.resolve` does within an image.

    Args:
        taken: Cells of neighboring regions, no pixel in two of them.
        cells: Cells of one region, on the same plane.
    """
    others = [each.masks for each in taken if len(each)]
    count = sum(map(len, others))
    if not count or not len(cells):
        return cells
    kept, runs = take_once(Runs.cat([*others, cells.masks]), max_taken=0.3)
    mine = np.flatnonzero(kept >= count)
    left = cells[kept[mine] - count]
    return replace(left, masks=without_crumbs(left.masks, runs.select(mine)))


def _save(path: Path, cells: Cells) -> None:
    found: dict[str, Any] = dict(labels=cells.labels, scores=cells.scores, probabilities=cells.probabilities)
    with atomic_path(path) as temporary, temporary.open('wb') as file:
        np.savez(file, **vars(cells.masks), **found)


def _load(path: Path, classes: tuple[str, ...]) -> Cells:
    with np.load(path) as file:
        masks = Runs(file['starts'], file['ends'], file['offsets'], tuple(file['size'].tolist()))
        return Cells(masks, file['labels'], file['scores'], file['probabilities'], classes)


def _belongs(cells: Cells, region: Region, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which cells a region keeps: those around its core, but for what the border of its window cuts outside of it."""
    inside = np.add(region.window, [_MARGIN, _MARGIN, -_MARGIN, -_MARGIN])
    ends = np.array([0, 0, *size[::-1]])
    inside = np.where(region.window == ends, [-1, -1, *np.add(size[::-1], 1)], inside)
    whole = (cells.boxes[:, :2] > inside[:2]).all(axis=1) & (cells.boxes[:, 2:] < inside[2:]).all(axis=1)
    outside = np.maximum(np.subtract(region.core[:2], cells.centres), np.subtract(cells.centres, region.core[2:]))
    distance = outside.max(axis=1, initial=-np.inf)
    return (distance <= 0) | ((distance <= _SLACK) & whole)


def _reaches_out(boxes: NDArray[np.int64], region: Region) -> NDArray[np.bool_]:
    """Which cells a neighbor may have seen too: those that are not within what only this region predicted."""
    halo = np.abs(np.subtract(region.window, region.core)).max()
    x1, y1, x2, y2 = np.add(region.core, [halo, halo, -halo, -halo])
    return (boxes[:, 0] < x1) | (boxes[:, 1] < y1) | (boxes[:, 2] > x2) | (boxes[:, 3] > y2)


def _cut(pixels: NDArray[np.uint8], x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
    return pixels[y : y + height, x : x + width]
