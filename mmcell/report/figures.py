"""Training curves of runs side by side, as PNG and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmcell.io.files import write_bytes
from mmcell.report.scalars import Points, Run

#: Okabe and Ito's colours for the colour-blind, without the yellow that is lost on white; then other dashes.
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
_DASHES = ('-', '--', ':')


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
    _write_table(out / 'loss.csv', ('run', 'step', 'loss'), loss)
    val = [
        (run.name, epoch, heading, value) for run in runs for heading in run.val for epoch, value in run.val[heading]
    ]
    _write_table(out / 'val.csv', ('run', 'epoch', 'number', 'value'), val)
    charts = {'loss': ('step', 'training loss', [run.loss for run in runs])}
    for heading in dict.fromkeys(heading for run in runs for heading in run.val):
        charts[f'val_{heading}'] = ('epoch', f'val {heading}', [run.val.get(heading, []) for run in runs])
    paths = []
    for name, (x_name, y_name, curves) in charts.items():
        if any(curves):
            paths.append(out / f'{name}.png')
            write_bytes(paths[-1], _draw([run.name for run in runs], curves, x_name, y_name))
    return paths


def _draw(names: Sequence[str], curves: Sequence[Points], x_name: str, y_name: str) -> bytes:
    figure = Figure(figsize=(8, 4.8), layout='constrained')
    axes = figure.add_subplot(xlabel=x_name, title=y_name)
    for number, (name, points) in enumerate(zip(names, curves)):
        if not points:
            continue
        style = {
            'color': _COLOURS[number % len(_COLOURS)],
            'linestyle': _DASHES[number // len(_COLOURS) % len(_DASHES)],
            # A few points may be far apart, and one alone draws no line.
            'marker': 'o' if len(points) <= 20 else None,
        }
        axes.plot(*zip(*points), label=name, linewidth=1.6, markersize=4, **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(axis='y', color='#dddddd')
    axes.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside lower center', ncols=2, frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format='png', dpi=150)
    return content.getvalue()


def _write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence]) -> None:
    text = io.StringIO(newline='')
    csv.writer(text).writerows([header, *rows])
    write_bytes(path, text.getvalue().encode())
