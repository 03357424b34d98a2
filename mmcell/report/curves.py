"""Training curves of runs, as SVG that stands inside a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from mmcell.report.scalars import VAL_CHARTS, Points, Run


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
