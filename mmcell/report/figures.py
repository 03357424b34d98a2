"""Training curves of runs side by side: as PNG and CSV, and as SVG that stands inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmcell.io.files import write_bytes
from mmcell.io.tables import write_csv
from mmcell.report.scalars import VAL_CHARTS, Points, Run

#: Okabe and Ito's colors for the color-blind, without the yellow that is lost on white.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
GRID = '#dddddd'
#: Line of each run: all colors solid, then dashed, then dotted.
_STYLES: list[Any] = [{'color': colour, 'linestyle': line} for line in ('-', '--', ':') for colour in COLOURS]
_DASHES = {'-': 'none', '--': '7 3', ':': '2 3'}
#: The colors by the names that they have in the page's style sheet, which has others for dark screens.
_VARIABLES = {GRID: 'var(--line)'} | {colour: f'var(--s{number})' for number, colour in enumerate(COLOURS)}


def write_curves(runs: Sequence[Run], out: str | Path) -> list[Path]:
    """Write `loss.csv` (run, step, loss) and `val.csv` (run, epoch, number, value), and a PNG of each kind of curve.

    Args:
        runs: From :func:`mmcell.report.scalars.read_run`.
        out: Folder to write to.

    Returns:
        The PNGs: `loss.png`, `val_mAP.png`, `val_AP50.png` and so on; those that no run has numbers for are left out.
    """
    out = Path(out)
    loss = [(run.name, step, value) for run in runs for step, value in run.loss]
    write_csv(out / 'loss.csv', [('run', 'step', 'loss'), *loss])
    val = [
        (run.name, epoch, heading, value) for run in runs for heading in run.val for epoch, value in run.val[heading]
    ]
    write_csv(out / 'val.csv', [('run', 'epoch', 'number', 'value'), *val])
    charts = {'loss': ('step', 'training loss', [run.loss for run in runs])}
    for heading in dict.fromkeys(heading for run in runs for heading in run.val):
        charts[f'val_{heading}'] = ('epoch', f'val {heading}', [run.val.get(heading, []) for run in runs])
    paths = []
    for name, (x_name, title, curves) in charts.items():
        if any(curves):
            figure = _draw(curves, x_name, title, (8, 4.8))
            legend = figure.legend(loc='outside lower center', ncols=2, frameon=False)
            drawn = (run.name for run, points in zip(runs, curves) if points)
            for text, run_name in zip(legend.get_texts(), drawn, strict=True):
                text.set(text=run_name, parse_math=False)
            content = io.BytesIO()
            figure.savefig(content, format='png', dpi=150)
            paths.append(out / f'{name}.png')
            write_bytes(paths[-1], content.getvalue())
    return paths


def draw_charts(runs: Sequence[Run]) -> list[str]:
    """One SVG for the loss and one for each kind of validation number that any run has.

    Its title, which a screen reader reads, names the last and the best number of each run.
    """
    charts = [('Training loss', 'step', min, [_smooth(run.loss) for run in runs])]
    for heading in VAL_CHARTS:
        charts.append((f'Validation {heading}', 'epoch', max, [run.val.get(heading, []) for run in runs]))
    drawn = []
    for title, x_name, best, curves in charts:
        if any(curves):
            told = [
                f'{run.name}: last {points[-1][1]:.4g}, best {best(value for _, value in points):.4g}'
                for run, points in zip(runs, curves)
                if points
            ]
            figure = _draw(curves, x_name, title, (4.2, 2.8))
            drawn.append(to_svg(figure, f'{title} by {x_name}. {"; ".join(told)}'))
    return drawn


def line_style(number: int) -> dict[str, str]:
    """Color and dashes of the line of the run of this number, counted from 0, as :func:`draw_charts` draws it."""
    style = _STYLES[number % len(_STYLES)]
    return {'stroke': _VARIABLES[style['color']], 'dashes': _DASHES[style['linestyle']]}


def _smooth(points: Points, bins: int = 120) -> Points:
    """Means over at most `bins` equal spans of steps: the loss of single steps is noise."""
    groups = np.array_split(np.array(points).reshape(-1, 2), min(bins, max(1, len(points))))
    return [tuple(group.mean(axis=0).tolist()) for group in groups if len(group)]


def _draw(curves: Sequence[Points], x_name: str, title: str, inches: tuple[float, float]) -> Figure:
    figure = Figure(figsize=inches, layout='constrained')
    axes = figure.add_subplot(xlabel=x_name, title=title)
    for number, points in enumerate(curves):
        if points:
            # A few points may be far apart, and one alone draws no line.
            marker = 'o' if len(points) <= 20 else None
            style = _STYLES[number % len(_STYLES)]
            axes.plot(*zip(*points), label=str(number), linewidth=1.6, marker=marker, markersize=4, **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=min(0, axes.dataLim.xmin))
    axes.set_ylim(min(0, axes.dataLim.ymin), max(0, axes.get_ylim()[1]))
    axes.grid(axis='y', color=GRID)
    axes.spines[['top', 'right']].set_visible(False)
    return figure


def to_svg(figure: Figure, title: str) -> str:
    """The figure for a page: letters as text, colors by the page's names, the same bytes for the same runs."""
    content = io.StringIO()
    metadata = {'Title': title, **dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))}
    options: Any = {'svg.hashsalt': 'mmcell', 'svg.fonttype': 'none', 'font.sans-serif': ['DejaVu Sans']}
    with matplotlib.rc_context(options):
        figure.savefig(content, format='svg', transparent=True, metadata=metadata)
    svg = content.getvalue()
    svg = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r'<svg class="chart" \1 role="img">', svg[svg.index('<svg') :])
    # Styles and names hold for the whole page; a name is needed only where something refers to it, by its hash.
    svg = re.sub(r'<metadata>.*?</metadata>|<style.*?</style>| id="[a-z.\d]+_\d+"', '', svg, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(f': {colour}', f': {variable}')
    return svg
