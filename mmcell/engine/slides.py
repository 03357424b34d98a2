"""The cells of slides: predicted and kept region by region, so that memory stays flat and a killed run goes on."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process

from mmcell.engine.predictor import CellModel
from mmcell.engine.region_cells import assemble, predict_regions
from mmcell.engine.slide_plan import SlideOptions, SlidePlan, begin, plan_slide
from mmcell.errors import InputError
from mmcell.io.files import locked, write_json
from mmcell.io.images import ChannelOrder
from mmcell.io.slide import Slide
from mmcell.io.tables import write_csv
from mmcell.report.measurements import count_heading, count_row
from mmcell.report.slide_geojson import table_to_geojson
from mmcell.report.slide_page import write_slide_page

#: One row per slide, in the output folder.
NAME = 'slides.csv'

_Result = TypeVar('_Result')


def infer_slides(
    model: CellModel,
    call: Mapping[str, Any],
    slides: Mapping[str, tuple[Path, Path]],
    out: Path,
    score_thr: float,
    options: SlideOptions,
    channel_order: ChannelOrder = 'rgb',
) -> tuple[list[str], list[InputError]]:
    """Find the cells of slides, and write `out/slides.csv`.

    Writes into the folder of each slide `cells.parquet` (see :class:`mmcell.report.parquet.CellTable`),
    `cells.geojson`, `cells.html` and `density.png` (see :func:`mmcell.report.slide_page.write_slide_page`), and
    `summary.json`; until these are there, one file per region in `regions`. The same call goes on after the last region
    that is there. All coordinates are pixels of the slide's largest level.

    Processes that a launcher joined share the work, over a file system that they share: of as many slides as there are
    processes, each plans one, predicts its part of all regions, and brings together the regions of one. So what is
    written depends neither on how many there are nor on which of them did what.

    Args:
        model: The model.
        call: See :func:`mmcell.engine.slide_plan.plan_slide`.
        slides: Path of each, and the folder of its files, by its name.
        out: Folder of `slides.csv`.
        score_thr: Lowest score of a cell.
        options: How to look at them.
        channel_order: Order of the colors in the files.

    Returns:
        Lines that say what was done, and an error for each slide that could not be read; the same in all processes.

    Raises:
        InputError: If another call is at work in the folder.
    """

    def refuse(holder: str) -> NoReturn:
        raise InputError(out, f'is in use by another call ({holder})', 'wait until it ends, or choose another --out')

    def plan_one(name: str) -> SlidePlan:
        return plan_slide(model, call, name, *slides[name], score_thr, options, channel_order)

    def without_errors(outcomes: Sequence[_Result | InputError]) -> list[_Result]:
        errors.extend(each for each in outcomes if isinstance(each, InputError))
        return [each for each in outcomes if not isinstance(each, InputError)]

    lines: list[str] = []
    errors: list[InputError] = []
    summaries: list[dict[str, Any]] = []
    names, rank, count = list(slides), get_rank(), get_world_size()
    with ExitStack() as held:
        lock = locked(out / '.slides.lock', refuse) if is_main_process() else None
        for some in (names[start : start + count] for start in range(0, len(names), count)):
            plans = without_errors(_one_each([partial(plan_one, name) for name in some]))
            # Not before there is something to do: what is refused leaves nothing behind, the lock too.
            if lock is not None and plans:
                held.enter_context(lock)
                lock = None
            plans = without_errors(_one_each([partial(begin, plan) for plan in plans]))
            shares = deal([plan.todo for plan in plans], rank, count)
            stages = [_attempt(partial(predict_regions, model, plan, share)) for plan, share in zip(plans, shares)]
            all_stages = zip(*all_gather_object(stages))
            tasks = [partial(_finish, plan, each, model.classes) for plan, each in zip(plans, all_stages)]
            for summary, said in without_errors(_one_each(tasks)):
                summaries.append(summary)
                lines += said
        if summaries:
            lines.append(f'wrote {out / NAME}')
            if is_main_process():
                _write_summaries(summaries, model.classes, out / NAME)
    return lines, errors


def deal(todo: Sequence[Sequence[int]], rank: int, count: int) -> list[list[int]]:
    """What a process does of what several slides need: of one list of all of it every `count`-th piece.

    >>> deal([[0, 1, 2], [], [4, 5]], 1, 2)
    [[1], [], [4]]
    """
    pieces = [(slide, index) for slide, indices in enumerate(todo) for index in indices][rank::count]
    return [[index for other, index in pieces if other == slide] for slide in range(len(todo))]


def _one_each(tasks: Sequence[Callable[[], _Result]]) -> list[_Result | InputError]:
    """What some tasks give, in all processes, each of which does one of them at most."""
    rank = get_rank()
    return all_gather_object(_attempt(tasks[rank]) if rank < len(tasks) else None)[: len(tasks)]


def _attempt(task: Callable[[], _Result]) -> _Result | InputError:
    try:
        return task()
    except InputError as error:
        return error


def _finish(
    plan: SlidePlan, stages: Sequence[dict[str, float] | InputError], classes: tuple[str, ...]
) -> tuple[dict[str, Any], list[str]]:
    """Bring the regions of a slide together and write what readers want.

    Args:
        plan: The plan.
        stages: Of each process the seconds by stage that it took, or an error, which is raised.
        classes: Names of the classes.

    Returns:
        The summary: name, cells of each class, mpp, mm2 that were looked at, share that was skipped, seconds by stage;
        and lines that say what was done.
    """
    seconds: dict[str, float] = defaultdict(float)
    for each in stages:
        if isinstance(each, InputError):
            raise each
        for stage, took in each.items():
            seconds[stage] += took
    if plan.known is not None:
        return plan.known, [f'{plan.name}: all {plan.known["total"]} cells are in {plan.out} already']
    start = time.perf_counter()
    counts = assemble(plan, classes)
    table_to_geojson(plan.out / 'cells.parquet', plan.out / 'cells.geojson', classes)
    with Slide(plan.path, plan.channel_order) as slide:
        write_slide_page(plan.out / 'cells.parquet', plan.out, slide, slide.size, plan.mpp, plan.name)
    seconds['writing'] = time.perf_counter() - start
    total = sum(counts.values())
    summary = {
        'call': plan.call,
        'slide': plan.name,
        'mpp': plan.mpp,
        'predicted at': plan.view.mpp,
        'mm2': plan.mm2,
        'skipped': plan.skipped,
        'counts': counts,
        'total': total,
        'seconds': {stage: round(number, 2) for stage, number in seconds.items()},
    }
    write_json(plan.out / 'summary.json', summary)
    shutil.rmtree(plan.folder)
    per_mm2 = f', {total / plan.mm2:.0f} per mm2 of {plan.mm2:.3g} mm2' if plan.mm2 else ''
    done = len(plan.regions) - len(plan.todo)
    resumed = f'; went on after {done} of {len(plan.regions)} regions' if done else ''
    times = ', '.join(f'{stage} {number:.1f}' for stage, number in seconds.items())
    skipped = f'{plan.skipped:.0%} of the slide was not looked at'
    lines = [
        f'{plan.name}: {plan.view.note}',
        f'{plan.name}: {total} cells{per_mm2}; {skipped}{resumed}; {times} s by stage',
        f'wrote cells.parquet, cells.geojson, cells.html and density.png to {plan.out}',
    ]
    return summary, lines


def _write_summaries(summaries: Sequence[Mapping[str, Any]], classes: Sequence[str], path: Path) -> None:
    """One row per slide: :func:`mmcell.report.measurements.count_row`, and the share that was not looked at."""
    rows = [
        [each['slide'], *count_row(each['counts'], each['mpp'], each['mm2']), each['skipped']] for each in summaries
    ]
    write_csv(path, [['slide', *count_heading(classes), 'skipped'], *rows])
