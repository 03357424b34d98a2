"""Training curves of runs, as SVG that stands inside a page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.coco.schema import is_number
from mmcell.errors import InputError
from mmcell.io.files import read_bytes

#: Heading of each chart of validation numbers, and the keys that it takes: ours, then stock MMDetection's.
VAL_CHARTS = {
    'mAP': r'segm/mAP_1000|coco/segm_mAP',
    'AP50': r'segm/AP50_1000|coco/segm_mAP_50',
    'PQ': r'cell/PQ_pooled',
}

Points = list[tuple[float, float]]


@dataclass
class Run:
    """The scalars of one work directory.

    Attributes:
        name: Name of the directory.
        loss: (step, loss) of the training.
        val: Heading of a chart -> (epoch, number).
    """

    name: str
    loss: Points = field(default_factory=list)
    val: dict[str, Points] = field(default_factory=dict)


def read_run(folder: str | Path) -> Run:
    """Read `<folder>/<timestamp>/vis_data/scalars.json`, as MMEngine writes them; a resumed run has several.

    Raises:
        InputError: If there are none.
    """
    folder = Path(folder)
    paths = sorted(folder.glob('*/vis_data/scalars.json')) or sorted(folder.glob('vis_data/scalars.json'))
    if not paths:
        raise InputError(folder, 'holds no <timestamp>/vis_data/scalars.json', 'name the work directory of a run')
    loss: dict[float, float] = {}
    val: dict[str, dict[float, float]] = {}
    for path in paths:
        for entry in read_entries(path):
            step = entry.get('step')
            if not is_measured(step):
                continue
            if is_measured(entry.get('loss')):
                loss[step] = entry['loss']
            for heading, pattern in VAL_CHARTS.items():
                # What came later, after a resume, takes the place of what came before.
                found = [entry[key] for key in entry if re.fullmatch(pattern, key) and is_measured(entry[key])]
                if found:
                    val.setdefault(heading, {})[step] = found[0]
    return Run(
        folder.resolve().name, sorted(loss.items()), {name: sorted(points.items()) for name, points in val.items()}
    )


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a `scalars.json`; lines that hold none are left out, since a killed run may end in half a line."""
    for line in read_bytes(path).splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def is_measured(value: Any) -> bool:
    """Whether a value of a log is a number that a chart can show; beyond these bounds its arithmetic would fail."""
    return is_number(value) and (value == 0 or 1e-30 <= abs(value) <= 1e30)


def draw_charts(runs: Sequence[Run]) -> list[str]:
    """One SVG for the loss and one for each kind of validation number that any run has."""
    charts = [_draw_chart('Training loss', 'step', [(run.name, _smooth(run.loss)) for run in runs])]
    for heading in VAL_CHARTS:
        charts.append(
            _draw_chart(f'Validation {heading}', 'epoch', [(run.name, run.val.get(heading, [])) for run in runs])
        )
    return [chart for chart in charts if chart]


def _smooth(points: Points, bins: int = 120) -> Points:
    """Means over at most `bins` equal spans of steps: the loss of single steps is noise."""
    groups = np.array_split(np.array(points).reshape(-1, 2), min(bins, max(1, len(points))))
    return [tuple(group.mean(axis=0).tolist()) for group in groups if len(group)]


_WIDTH, _HEIGHT = 380, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 34, 40


def _draw_chart(title: str, x_name: str, series: Sequence[tuple[str, Points]]) -> str:
    """An SVG whose colours and dashes come from the page's style sheet, by the number of the series."""
    drawn = [(number, name, points) for number, (name, points) in enumerate(series) if points]
    if not drawn:
        return ''
    xs, ys = zip(*(point for _, _, points in drawn for point in points))
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(0, *ys), max(0, *ys))
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9 * max(1, abs(min(xs))))
    y_low = y_ticks[0]
    y_high = max(y_ticks[-1], max(ys), y_low + 1e-9)  # all zero: nothing was found yet

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    parts = [f'<text class="title" x="{_LEFT}" y="18">{escape(title)}</text>']
    for tick in y_ticks:
        _, y = place(x_low, tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        if x_low <= tick <= x_high:
            x, _ = place(tick, y_low)
            parts.append(
                f'<text class="tick" x="{x}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:g}</text>'
            )
    parts.append(f'<text class="tick" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{x_name}</text>')
    told = []
    for number, name, points in drawn:
        places = [place(*point) for point in points]
        line = ' '.join(f'{x},{y}' for x, y in places)
        last = f'{name}: last {points[-1][1]:.4g}, best {_best(title, points):.4g}'
        told.append(last)
        parts.append(f'<polyline class="s{number % 6}" points="{line}"><title>{escape(last)}</title></polyline>')
        parts.append(f'<circle class="s{number % 6}" cx="{places[-1][0]}" cy="{places[-1][1]}" r="3"/>')
    label = escape(f'{title} by {x_name}. {"; ".join(told)}', quote=True)
    return f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _best(title: str, points: Points) -> float:
    values = [value for _, value in points]
    return min(values) if 'loss' in title else max(values)


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that span the range."""
    span = high - low or abs(high) or 1
    step = 10 ** math.floor(math.log10(span / wanted))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= wanted * 1.001)
    first = math.floor(low / step)
    return [round(number * step, 10) for number in range(first, math.ceil(high / step) + 1)]
