"""Runs compared: one table in Markdown and CSV."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmcell.coco.schema import read_results
from mmcell.evaluation import Sampled, bootstrap_cells, bootstrap_coco, evaluate_cells, pool_truths, to_interval
from mmcell.evaluation.headline import COMPARED, DECIDING
from mmcell.io.files import write_bytes
from mmcell.io.tables import write_csv
from mmcell.report.scalars import Run, is_measured, read_entries

#: The scores of the table, in its order, as `mmcell.evaluation` names them.
SCORES = {headline.name: headline.score for headline in COMPARED}

_LOG = {'step_seconds': 's / step', 'lowest_loss': 'lowest loss', 'best_epoch': 'best epoch'}
_NOTES = """\
mAP, AP50: masks on val, at most 1000 detections per image. PQ: cells of any class, pooled, at the score threshold that
is best on these images. In brackets: 95 % of {samples} bootstrap samples of the images; of a gain, of the difference to
the baseline on the same samples. Time: median over the log. Loss: lowest mean over a log window. Best epoch: of val
AP50; its checkpoint is the one tested."""


@dataclass(frozen=True)
class Row:
    """What the table says of one run; a number that it does not have is absent.

    Attributes:
        name: Name of the run.
        group: Name that its repetitions with other seeds share.
        differs: What differs from the baseline, one setting a line.
        parameters: Number of parameters.
        log: From :func:`summarise_log`.
        scores: From :func:`score`.
        baseline: Scores of the run that it is compared with, on the same images; none if there is no such run.
    """

    name: str
    group: str
    differs: Sequence[str]
    parameters: int
    log: Mapping[str, float]
    scores: Mapping[str, Sampled]
    baseline: Mapping[str, Sampled] = field(default_factory=dict)

    def gain(self, name: str) -> Sampled | None:
        """A score less the baseline's, sample by sample; None if one of them is not there."""
        both = name in self.scores and name in self.baseline
        return self.scores[name] - self.baseline[name] if both else None


def summarise_log(run: Run, folder: str | Path) -> dict[str, float]:
    """Numbers of a training.

    Args:
        run: Its curves.
        folder: Its folder.

    Returns:
        `step_seconds`: time a step, the median over the log's entries; `lowest_loss`: lowest loss of an entry, which is
        a mean over a window of steps; `best_epoch`: epoch of the highest val AP50, the first of equals.
    """
    numbers = {}
    if times := _step_times(Path(folder)):
        numbers['step_seconds'] = statistics.median(times)
    if run.loss:
        numbers['lowest_loss'] = min(loss for _, loss in run.loss)
    if run.val.get(DECIDING.name):
        numbers['best_epoch'] = max(run.val[DECIDING.name], key=lambda point: point[1])[0]
    return numbers


def score_runs(truths: Sequence[str | Path], results: Sequence[str | Path], samples: int) -> dict[str, Sampled]:
    """Score masks by mAP and AP50 at 1000 detections, and cells of any class by PQ, in bootstrap samples.

    Args:
        truths: Annotation file of the val images; of several folds, one each: they are scored as one set of images.
        results: Results file of a run on each; the PQ's score threshold is picked on all of them.
        samples: Bootstrap samples of images.

    Returns:
        Sampled values under the names of :data:`SCORES`.

    Raises:
        InputError: If they do not fit.
    """
    truth, predicted = pool_truths(truths), [result for path in results for result in read_results(path)]
    sampled = bootstrap_coco(truth, predicted, samples=samples)
    sampled |= bootstrap_cells(evaluate_cells(truth, predicted, 'auto'), samples=samples)
    return {name: sampled[key] for name, key in SCORES.items()}


def write_comparison(
    rows: Sequence[Row],
    out: str | Path,
    figures: Sequence[Path],
    samples: int,
    pooled: Sequence[Row] = (),
    over: Sequence[str] = (),
) -> list[Path]:
    """Write `ablation.md` and `ablation.csv`.

    Args:
        rows: The runs; the first is the baseline.
        out: Folder to write to.
        figures: Pictures below `out` to show under the table.
        samples: Bootstrap samples that were drawn.
        pooled: Runs on all folds, each scored as one.
        over: Base that the configs were put over, if it is not their own.

    Returns:
        The two paths.
    """
    out = Path(out)
    pictures = [f'![{path.stem}]({path.relative_to(out).as_posix()})' for path in figures]
    tables = [_to_markdown(rows), _over_folds(pooled), _over_seeds(pooled or rows)]
    bases = [f'Over `{base}`.' for base in over]
    sections = ['# Ablation', *bases, *tables, _NOTES.format(samples=samples), *pictures]
    text = '\n\n'.join(section for section in sections if section)
    write_bytes(out / 'ablation.md', f'{text}\n'.encode())
    write_csv(out / 'ablation.csv', _table([*rows, *pooled]))
    return [out / 'ablation.md', out / 'ablation.csv']


def _step_times(folder: Path) -> list[float]:
    times = []
    for path in folder.glob('*/vis_data/scalars.json'):
        times += [entry['time'] for entry in read_entries(path) if 'loss' in entry and is_measured(entry.get('time'))]
    return times


def _to_markdown(rows: Sequence[Row]) -> str:
    header = [
        'run',
        'parameters (M)',
        *_LOG.values(),
        *SCORES,
        f'{DECIDING.name} gain',
        f'differs from {rows[0].group}',
    ]
    lines = [header, ['---'] + ['---:'] * (len(header) - 2) + ['---']]
    for row in rows:
        lines.append(
            [
                row.name,
                f'{row.parameters / 1e6:.2f}',
                *(_show(row.log.get(key), '.4g') for key in _LOG),
                *(_show_interval(row.scores.get(name)) for name in SCORES),
                _show_interval(row.gain(DECIDING.name), '+.3f'),
                '<br>'.join(f'`{_escape(line)}`' for line in row.differs) or 'baseline',
            ]
        )
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _over_folds(rows: Sequence[Row]) -> str:
    """A table of what was scored over all folds at once."""
    if not rows:
        return ''
    lines = [['all folds', *SCORES, *(f'{name} gain' for name in SCORES)], ['---'] + ['---:'] * (2 * len(SCORES))]
    for row in rows:
        scores = [_show_interval(row.scores.get(name)) for name in SCORES]
        lines.append([row.name, *scores, *(_show_interval(row.gain(name), '+.3f') for name in SCORES)])
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    return f'{table}\n\nEach image is predicted by the model that was not trained on it; they are scored as one set.'


def _over_seeds(rows: Sequence[Row]) -> str:
    """A table of means over the seeds; empty if there is one seed only."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    if len(groups) == len(rows):
        return ''
    lines = [['over seeds', *SCORES], ['---'] + ['---:'] * len(SCORES)]
    for group, members in groups.items():
        values = [[float(row.scores[name][0]) for row in members if row.scores] for name in SCORES]
        lines.append([f'{group} (n = {len(values[0])})', *map(_show_spread, values)])
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    return f'{table}\n\nMean ± standard deviation over seeds.'


def _table(rows: Sequence[Row]) -> Iterator[list[Any]]:
    names = [*SCORES, *(f'{name}_gain' for name in SCORES)]
    bounds = [f'{name}{suffix}' for name in names for suffix in ('', '_low', '_high')]
    yield ['run', 'config', 'parameters', *_LOG, *bounds, 'differs']
    for row in rows:
        log = [row.log.get(key, '') for key in _LOG]
        sampled = [*map(row.scores.get, SCORES), *map(row.gain, SCORES)]
        scores = [number for values in sampled for number in (('',) * 3 if values is None else to_interval(values))]
        yield [row.name, row.group, row.parameters, *log, *scores, '\n'.join(row.differs)]


def _show(value: float | None, form: str) -> str:
    return '–' if value is None or math.isnan(value) else format(value, form)


def _show_interval(values: Sampled | None, form: str = '.3f') -> str:
    if values is None:
        return '–'
    value, low, high = (_show(number, form) for number in to_interval(values))
    return f'{value} [{low}, {high}]'


def _show_spread(values: Sequence[float]) -> str:
    if not values:
        return '–'
    return f'{statistics.mean(values):.3f}' + (f' ± {statistics.stdev(values):.3f}' if len(values) > 1 else '')


def _escape(text: str) -> str:
    """A pipe would end the cell, in code too."""
    return text.replace('|', '\\|')
