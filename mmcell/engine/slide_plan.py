"""What is to be done on a slide: the resolution that it is predicted at, the regions, and those that are done."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely

from mmcell.engine.predictor import CellModel
from mmcell.engine.regions import TILES, Region, find_tissue, plan_regions, read_roi
from mmcell.errors import InputError
from mmcell.io.files import read_json, write_json
from mmcell.io.images import ChannelOrder
from mmcell.io.slide import SLIDE_SUFFIXES, Slide

#: Pixels of an image above which it is treated as a slide: its masks would not fit into one results file.
LARGE = 2**28

# Resolutions that differ by less are taken for the same; from the second on it matters.
_SAME, _FAR = 1.05, 1.2


@dataclass(frozen=True)
class SlideOptions:
    """How slides are looked at.

    Attributes:
        mpp: Microns per pixel of the slides' largest level, where one knows better than the files.
        trained_mpp: Microns per pixel that the model was trained at, where its checkpoint does not say.
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
class Resolution:
    """A slide at the resolution that the model sees.

    Attributes:
        size: Height and width.
        level: The level of the slide that is read; None where one is resampled to `mpp`.
        mpp: Microns per pixel.
        scale: Pixels of the largest level that one of these spans.
        note: How this was chosen, for the user.
    """

    size: tuple[int, int]
    level: int | None
    mpp: float | None
    scale: float
    note: str


@dataclass(frozen=True)
class SlidePlan:
    """What is to be done on a slide.

    Attributes:
        path: The slide.
        name: What it is called in tables.
        out: Folder of its files.
        call: What tells this call from others.
        score_thr: Lowest score of a cell.
        channel_order: Order of the colors in the file.
        mpp: Microns per pixel of the largest level.
        view: The resolution that is predicted at.
        regions: All regions, in pixels of the view.
        todo: Places of those that are not done.
        roi: What was drawn, in pixels of the largest level; only cells whose centers lie in it count.
        mm2: Area that is looked at.
        skipped: Share of the slide that is not.
        known: The summary, where all is done.
    """

    path: Path
    name: str
    out: Path
    call: str
    score_thr: float
    channel_order: ChannelOrder
    mpp: float | None
    view: Resolution
    regions: list[Region]
    todo: list[int]
    roi: shapely.MultiPolygon | None
    mm2: float | None
    skipped: float
    known: dict[str, Any] | None

    @property
    def folder(self) -> Path:
        """Where the cells of regions are kept until all are there."""
        return self.out / 'regions'

    def file(self, index: int) -> Path:
        """The file of a region."""
        return self.folder / f'{index:06d}.npz'


def plan_slide(
    model: CellModel,
    call: Mapping[str, Any],
    name: str,
    path: Path,
    out: Path,
    score_thr: float,
    options: SlideOptions,
    channel_order: ChannelOrder = 'rgb',
) -> SlidePlan:
    """Plan what is to be done; writes nothing, see :func:`begin`.

    Args:
        model: One that reads windows.
        call: What the cells depend on but for the slide and the options, ready for JSON.
        name: What it is called in tables.
        path: The slide.
        out: Folder of this slide.
        score_thr: Lowest score of a cell.
        options: How to look at it.
        channel_order: Order of the colors in the file.

    Raises:
        InputError: If the slide cannot be read, or the model takes whole images only.
    """
    if not model.reads_windows:
        problem = 'is a slide, but the model takes whole images'
        raise InputError(path, problem, 'give a tiled config, such as configs/cell/mask_rcnn_strong.py')
    with Slide(path, channel_order, options.mpp) as slide:
        view = choose_view(slide, model, options)
        regions, roi, area, skipped = _look_around(slide, view, model, options)
        content = {
            **call,
            'slide': [name, path.stat().st_size, path.stat().st_mtime_ns],
            'view': [view.size, view.level, view.mpp, slide.mpp, score_thr, channel_order],
            'regions': [[region.core, region.window] for region in regions],
            'roi': None if roi is None else roi.wkt,
        }
        mpp = slide.mpp
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    mm2 = None if mpp is None else area * (mpp / 1000) ** 2
    known = _read_known(out / 'summary.json')
    done = known.get('call') == key and (out / 'cells.parquet').is_file()
    return SlidePlan(
        *(path, name, out, key, score_thr, channel_order, mpp, view, regions, [], roi, mm2, skipped),
        known=known if done else None,
    )


def begin(plan: SlidePlan) -> SlidePlan:
    """Remove from the folder of a plan what other calls left there, and list what is to do."""
    if plan.known is None:
        _prepare(plan)
        plan.todo.extend(index for index in range(len(plan.regions)) if not plan.file(index).exists())
    return plan


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
            return large or (model.reads_windows and choose_view(slide, model, options).scale != 1)
    except InputError:
        return False


def choose_view(slide: Slide, model: CellModel, options: SlideOptions) -> Resolution:
    """The resolution to predict at: that of the training, or a level as it is stored.

    Raises:
        InputError: If the slide does not have the level that is asked for.
    """
    learned, given = options.trained_mpp or model.mpp, slide.mpp
    if options.level is not None:
        if not 0 <= options.level < len(slide.levels):
            problem = f'{options.level} is not a level of {slide.path.name}, which has {len(slide.levels)}'
            raise InputError('--level', problem, f'give 0 to {len(slide.levels) - 1}')
        size = slide.levels[options.level]
        scale = slide.size[1] / size[1]
        mpp = None if given is None else given * scale
        warning = f'; warning: trained at {learned:g}' if mpp and learned and are_far(mpp, learned) else ''
        return Resolution(size, options.level, mpp, scale, f'level {options.level}, {_show(mpp)}{warning}')
    if given is None or learned is None:
        who = 'the slide' if given is None else 'the model'
        cure = '--mpp' if given is None else '--trained-mpp'
        note = f'{_show(given)}, read as stored; warning: {who} does not say its microns per pixel: give {cure}'
        return Resolution(slide.size, 0, given, 1.0, note)
    if max(given / learned, learned / given) < _SAME:
        return Resolution(slide.size, 0, given, 1.0, f'{_show(given)}, as in the training')
    note = f'{_show(given)}, resampled to the {learned:g} of the training'
    return Resolution(slide.size_at(learned), None, learned, learned / given, note)


def _show(mpp: float | None) -> str:
    return 'unknown microns per pixel' if mpp is None else f'{mpp:g} microns per pixel'


def _look_around(
    slide: Slide, view: Resolution, model: CellModel, options: SlideOptions
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


def _prepare(plan: SlidePlan) -> None:
    """Empty the folder, unless regions of the same call are there."""
    note = plan.folder / 'plan.json'
    if _read_known(note) != {'call': plan.call}:
        names = 'summary.json', 'cells.html', 'density.png', 'cells.parquet'
        for path in (*(plan.out / name for name in names), *plan.out.glob('cells*.geojson')):
            path.unlink(missing_ok=True)
        for folder in (plan.folder, plan.out / 'cells_files'):
            shutil.rmtree(folder, ignore_errors=True)
        write_json(note, {'call': plan.call})
