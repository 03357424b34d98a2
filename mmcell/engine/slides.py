"""The cells of slides: predicted and kept region by region, so that memory stays flat and a killed run goes on."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from tqdm import tqdm

from mmcell.engine.predictor import CellModel
from mmcell.engine.regions import TILES, Region, find_tissue, plan_regions, read_roi
from mmcell.errors import InputError
from mmcell.io.files import atomic_path, read_json, write_json
from mmcell.io.images import ChannelOrder
from mmcell.io.slide import SLIDE_SUFFIXES, Slide
from mmcell.io.tables import safe_row
from mmcell.report.measurements import count_heading, count_row
from mmcell.report.parquet import CellTable
from mmcell.report.slide_geojson import table_to_geojson
from mmcell.structures.cells import Cells
from mmcell.structures.parts import keep_largest_parts
from mmcell.structures.resolve import take_once
from mmcell.structures.rle import Runs
from mmcell.structures.run_geometry import place

#: Pixels of an image above which it is treated as a slide: its masks would not fit into one results file.
LARGE = 2**28

# Resolutions that differ by less are taken for the same; from the second on it matters.
_SAME, _FAR = 1.05, 1.2
# How far outside its region, in pixels, the centre of a cell may lie that a region keeps: two regions may draw it so.
_SLACK = 8
# Distance from the border of a window, in pixels, up to which a box touches it.
_MARGIN = 2


@dataclass(frozen=True)
class SlideOptions:
    """How slides are looked at.

    Attributes:
        mpp: Microns per pixel of the slides' largest level, where one knows better than the files.
        trained_mpp: Microns per pixel that the model learned at, where its checkpoint does not say.
        level: The level to predict on, instead of resampling.
        roi: GeoJSON of where to look, in pixels of the largest level; only tissue unless given.
        everywhere: Look at empty glass as well.
        tiles: See :func:`mmcell.engine.regions.plan_regions`.
    """

    mpp: float | None = None
    trained_mpp: float | None = None
    level: int | None = None
    roi: Path | None = None
    everywhere: bool = False
    tiles: int = TILES


@dataclass(frozen=True)
class _View:
    """A slide at the resolution that the model sees."""

    size: tuple[int, int]
    level: int | None
    mpp: float | None
    scale: float  # pixels of the largest level that one of these spans
    note: str


@dataclass
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start


def are_far(one: float, other: float) -> bool:
    """Whether two resolutions, in microns per pixel, differ so much that cells are found less well: by over 20 %."""
    return max(one / other, other / one) > _FAR


def is_slide(path: Path, model: CellModel, options: SlideOptions) -> bool:
    """Whether a file is treated as a slide: it has levels, is large, or has to be resampled for the model.

    One that cannot be read is none, unless its name says so.
    """
    if path.suffix.lower() in SLIDE_SUFFIXES or options.roi is not None or options.level is not None:
        return True
    try:
        with Slide(path, mpp=options.mpp) as slide:
            large = len(slide.levels) > 1 or slide.size[0] * slide.size[1] > LARGE
            return large or (model.reads_windows and _choose_view(slide, model, options).scale != 1)
    except InputError:
        return False


def infer_slides(
    model: CellModel,
    call: Mapping[str, Any],
    slides: Mapping[str, tuple[Path, str]],
    out: Path,
    score_thr: float,
    options: SlideOptions,
    channel_order: ChannelOrder = 'rgb',
) -> tuple[list[str], list[InputError]]:
    """Find the cells of slides, one after the other, see :func:`infer_slide`; and write `out/slides.csv`.

    Args:
        model: The model.
        call: See :func:`infer_slide`.
        slides: Path of each, and what its folder below `out/slides` is called, by its name.
        out: Folder to write to.
        score_thr: Lowest score of a cell.
        options: How to look at them.
        channel_order: Order of the colours in the files.

    Returns:
        Lines that say what was done, and an error for each slide that could not be read.
    """
    lines, errors, summaries = [], [], []
    for name, (path, stem) in slides.items():
        try:
            arguments = model, call, path, name, out / 'slides' / stem, score_thr, options, channel_order
            summary, more = infer_slide(*arguments)
        except InputError as error:
            errors.append(error)
            continue
        summaries.append(summary)
        lines += more
    if summaries:
        lines.append(f'wrote {write_summaries(summaries, model.classes, out)}')
    return lines, errors


def infer_slide(
    model: CellModel,
    call: Mapping[str, Any],
    path: Path,
    name: str,
    out: Path,
    score_thr: float,
    options: SlideOptions,
    channel_order: ChannelOrder = 'rgb',
) -> tuple[dict[str, Any], list[str]]:
    """Find the cells of a slide.

    Writes `out/cells.parquet` (see :class:`mmcell.report.parquet.CellTable`), `cells.geojson` and `summary.json`; until
    these are there, a file a region in `out/regions`. The same call goes on after the last region that is there. All
    coordinates are pixels of the slide's largest level.

    Args:
        model: One that reads windows.
        call: What the cells depend on but for the slide and the options, ready for JSON.
        path: The slide.
        name: What it is called in tables.
        out: Folder of this slide.
        score_thr: Lowest score of a cell.
        options: How to look at it.
        channel_order: Order of the colours in the file.

    Returns:
        The summary: name, cells of each class, mpp, mm2 that were looked at, share that was skipped, seconds by stage;
        and lines that say what was done.

    Raises:
        InputError: If the slide cannot be read, or the model takes whole images only.
    """
    if not model.reads_windows:
        problem = 'is a slide, but the model takes whole images'
        raise InputError(path, problem, 'give a tiled config, such as configs/cell/mask_rcnn_strong.py')
    clock = _Clock()
    with Slide(path, channel_order, options.mpp) as slide:
        view = _choose_view(slide, model, options)
        regions, roi, area, skipped = _look_around(slide, view, model, options)
        plan = {
            **call,
            'slide': [name, path.stat().st_size, path.stat().st_mtime_ns],
            'view': [view.size, view.level, view.mpp, slide.mpp, score_thr, channel_order],
            'regions': [[region.core, region.window] for region in regions],
            'roi': None if roi is None else roi.wkt,
        }
        plan = {'call': hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()}
        known = _read_known(out / 'summary.json')
        if known.get('call') == plan['call'] and (out / 'cells.parquet').is_file():
            return known, [f'{name}: all {known["total"]} cells are in {out} already']
        folder = _prepare(out, plan)
        done = sum(_file(folder, index).exists() for index in range(len(regions)))
        found = _predict(model, slide, view, regions, folder, score_thr, clock, name)
        with clock.stage('writing'):
            counts = _assemble(regions, view, slide.mpp, roi, folder, out, name, model.classes)
            table_to_geojson(out / 'cells.parquet', out / 'cells.geojson', model.classes)
    total = sum(counts.values())
    mm2 = None if slide.mpp is None else area * (slide.mpp / 1000) ** 2
    summary = {
        **plan,
        'slide': name,
        'mpp': slide.mpp,
        'predicted at': view.mpp,
        'mm2': mm2,
        'skipped': skipped,
        'counts': counts,
        'total': total,
        'seconds': {stage: round(seconds, 2) for stage, seconds in clock.seconds.items()},
    }
    write_json(out / 'summary.json', summary)
    shutil.rmtree(folder)
    per_mm2 = '' if not mm2 else f', {total / mm2:.0f} per mm2 of {mm2:.3g} mm2'
    resumed = f'; went on after {done} of {len(regions)} regions' if done else ''
    lines = [
        f'{name}: {view.note}',
        f'{name}: {total} cells{per_mm2}; {skipped:.0%} of the slide was not looked at{resumed}; {found} s by stage',
        f'wrote {out / "cells.parquet"} and cells.geojson',
    ]
    return summary, lines


def write_summaries(summaries: Sequence[Mapping[str, Any]], classes: Sequence[str], out: Path) -> Path:
    """A row a slide: :func:`mmcell.report.measurements.count_row`, and the share that was not looked at."""
    path = out / 'slides.csv'
    with atomic_path(path) as temporary, temporary.open('w', encoding='utf-8', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(safe_row(['slide', *count_heading(classes), 'skipped']))
        for summary in summaries:
            numbers = count_row(summary['counts'], summary['mpp'], summary['mm2'])
            rows.writerow(safe_row([summary['slide'], *numbers, summary['skipped']]))
    return path


def _choose_view(slide: Slide, model: CellModel, options: SlideOptions) -> _View:
    learned, given = options.trained_mpp or model.mpp, slide.mpp
    if options.level is not None:
        if not 0 <= options.level < len(slide.levels):
            problem = f'{options.level} is not a level of {slide.path.name}, which has {len(slide.levels)}'
            raise InputError('--level', problem, f'give 0 to {len(slide.levels) - 1}')
        size = slide.levels[options.level]
        scale = slide.size[1] / size[1]
        mpp = None if given is None else given * scale
        warning = f'; warning: the model learned at {learned:g}' if mpp and learned and are_far(mpp, learned) else ''
        return _View(size, options.level, mpp, scale, f'level {options.level}, {_show(mpp)}{warning}')
    if given is None or learned is None:
        who = 'the slide' if given is None else 'the model'
        cure = '--mpp' if given is None else '--trained-mpp'
        note = f'{_show(given)}, read as stored; warning: {who} does not say its microns per pixel: give {cure}'
        return _View(slide.size, 0, given, 1.0, note)
    if max(given / learned, learned / given) < _SAME:
        return _View(slide.size, 0, given, 1.0, f'{_show(given)}, as the model learned')
    note = f'{_show(given)}, resampled to the {learned:g} that the model learned at'
    return _View(slide.size_at(learned), None, learned, learned / given, note)


def _show(mpp: float | None) -> str:
    return 'unknown microns a pixel' if mpp is None else f'{mpp:g} microns a pixel'


def _look_around(
    slide: Slide, view: _View, model: CellModel, options: SlideOptions
) -> tuple[list[Region], shapely.MultiPolygon | None, float, float]:
    """The regions to predict, what was drawn, how many pixels of the slide that is, and the share left out."""
    tiling, whole, roi = model.network.tiling, slide.size[0] * slide.size[1], None
    if options.roi is not None:
        roi = shapely.intersection(read_roi(options.roi), shapely.box(0, 0, *slide.size[::-1]))
        roi = shapely.MultiPolygon([part for part in shapely.get_parts(roi) if part.geom_type == 'Polygon'])
        if roi.is_empty:
            raise InputError(options.roi, f'lies outside of {slide.path.name}', 'export it from this slide')
        wanted, step, area = roi, 1.0, roi.area
    elif options.everywhere:
        wanted, step, area = None, 1.0, float(whole)
    else:
        wanted, step = find_tissue(slide)
        area = min(wanted.mean(), 1.0) * whole
    regions = plan_regions(view.size, tiling, wanted, step / view.scale, options.tiles)
    looked_at = sum(region.pixels for region in regions) / (view.size[0] * view.size[1])
    return regions, roi, area, max(0.0, 1 - looked_at)


def _read_known(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except InputError:
        return {}


def _prepare(out: Path, plan: dict[str, Any]) -> Path:
    """The folder of the regions' files, empty unless it is of the same call."""
    folder = out / 'regions'
    if _read_known(folder / 'plan.json') != plan:
        shutil.rmtree(folder, ignore_errors=True)
        for name in ('summary.json', 'cells.parquet', *(path.name for path in out.glob('cells*.geojson'))):
            (out / name).unlink(missing_ok=True)
        write_json(folder / 'plan.json', plan)
    return folder


def _file(folder: Path, index: int) -> Path:
    return folder / f'{index:06d}.npz'


def _predict(
    model: CellModel,
    slide: Slide,
    view: _View,
    regions: Sequence[Region],
    folder: Path,
    score_thr: float,
    clock: _Clock,
    name: str,
) -> str:
    """Predict the regions whose files are not there: while one is predicted, the next is read and the last written."""
    todo = [index for index in range(len(regions)) if not _file(folder, index).exists()]
    cells = 0

    def read(index: int) -> NDArray[np.uint8]:
        x1, y1, x2, y2 = regions[index].window
        with clock.stage('reading'):
            if view.level is None:
                return slide.read(x1, y1, x2 - x1, y2 - y1, mpp=view.mpp)
            return slide.read(x1, y1, x2 - x1, y2 - y1, level=view.level)

    def keep(index: int, size: tuple[int, int], results: list[dict[str, Any]]) -> int:
        with clock.stage('cells'):
            found = model.make_cells(size, results, score_thr)
            _save(_file(folder, index), found)
        return len(found)

    mm2 = 0.0 if view.mpp is None else (view.mpp / 1000) ** 2
    bar = tqdm(
        total=sum(regions[index].pixels for index in todo) / 1e6, desc=name, unit='Mpx', file=sys.stderr, disable=None
    )
    start, pixels = time.perf_counter(), 0
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer, bar:
        ahead = reader.submit(read, todo[0]) if todo else None
        kept = None
        for place_, index in enumerate(todo):
            assert ahead is not None  # there is a region
            with clock.stage('waiting for the disk'):
                window = ahead.result()
            ahead = reader.submit(read, todo[place_ + 1]) if place_ + 1 < len(todo) else None
            size = window.shape[:2]
            with clock.stage('network'):
                results = model.predict_windows(partial(_cut, window), size)
            cells += kept.result() if kept else 0
            kept = writer.submit(keep, index, size, results)
            pixels += regions[index].pixels
            seconds = time.perf_counter() - start
            rate = f'{pixels * mm2 / seconds * 3600:.2f} mm2/h' if mm2 else ''
            bar.set_postfix_str(f'{cells / seconds:.0f} cells/s {rate}')
            bar.update(regions[index].pixels / 1e6)
        cells += kept.result() if kept else 0
    return ', '.join(f'{stage} {seconds:.1f}' for stage, seconds in clock.seconds.items())


def _save(path: Path, cells: Cells) -> None:
    masks = cells.masks
    with atomic_path(path) as temporary, temporary.open('wb') as file:
        np.savez(
            file,
            starts=masks.starts,
            ends=masks.ends,
            offsets=masks.offsets,
            size=masks.size,
            labels=cells.labels,
            scores=cells.scores,
            probabilities=cells.probabilities,
        )


def _load(path: Path, classes: tuple[str, ...]) -> Cells:
    with np.load(path) as file:
        masks = Runs(file['starts'], file['ends'], file['offsets'], tuple(file['size'].tolist()))
        return Cells(masks, file['labels'], file['scores'], file['probabilities'], classes)


def _assemble(
    regions: Sequence[Region],
    view: _View,
    mpp: float | None,
    roi: shapely.MultiPolygon | None,
    folder: Path,
    out: Path,
    name: str,
    classes: tuple[str, ...],
) -> dict[str, int]:
    """Bring the regions together, in their order: each cell once, no pixel in two of them. Returns the counts."""
    counts, first = Counter(dict.fromkeys(classes, 0)), 1
    borders: dict[tuple[int, int], Cells] = {}
    if roi is not None:
        shapely.prepare(roi)
    with CellTable(out / 'cells.parquet', classes, view.scale) as table:
        for index, region in enumerate(regions):
            cells = _load(_file(folder, index), classes)
            cells = _moved(cells, region.window[:2], view.size)
            cells = cells[_belongs(cells, region, view.size)]
            neighbours = [(region.row - 1, region.column + step) for step in (-1, 0, 1)]
            neighbours.append((region.row, region.column - 1))
            cells = subtract([borders[key] for key in neighbours if key in borders], cells)
            borders = {key: found for key, found in borders.items() if key[0] >= region.row - 1}
            borders[region.row, region.column] = cells[_reaches_out(cells.boxes, region)]
            if roi is not None:
                cells = cells[shapely.contains_xy(roi, *(cells.centres * view.scale).T)]
            table.add(name, cells, mpp, first)
            first += len(cells)
            counts.update(cells.counts())
    return dict(counts)


def subtract(taken: Sequence[Cells], cells: Cells) -> Cells:
    """The cells without those that others show already: what they share is the others', and too much of it is a repeat.

    As :func:`mmcell.structures.resolve.resolve` does within an image.

    Args:
        taken: Cells of neighbouring regions, no pixel in two of them.
        cells: Cells of one region, on the same plane.
    """
    others = [each.masks for each in taken if len(each)]
    count = sum(map(len, others))
    if not count or not len(cells):
        return cells
    kept, runs = take_once(Runs.cat([*others, cells.masks]), max_taken=0.3)
    mine = np.flatnonzero(kept >= count)
    masks, left = runs.select(mine), cells[kept[mine] - count]
    cut = np.flatnonzero(masks.areas < left.areas)
    places = np.arange(len(masks))
    places[cut] = len(masks) + np.arange(len(cut))
    masks = Runs.cat([masks, keep_largest_parts(masks.select(cut))]).select(places)
    return Cells(masks, left.labels, left.scores, left.probabilities, left.classes)


def _moved(cells: Cells, corner: tuple[int, int], size: tuple[int, int]) -> Cells:
    return Cells(place(cells.masks, corner, size), cells.labels, cells.scores, cells.probabilities, cells.classes)


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
    """Which cells a neighbour may have seen too: those that are not within what only this region predicted."""
    halo = np.abs(np.subtract(region.window, region.core)).max()
    x1, y1, x2, y2 = np.add(region.core, [halo, halo, -halo, -halo])
    return (boxes[:, 0] < x1) | (boxes[:, 1] < y1) | (boxes[:, 2] > x2) | (boxes[:, 3] > y2)


def _cut(pixels: NDArray[np.uint8], x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
    return pixels[y : y + height, x : x + width]
