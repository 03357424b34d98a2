"""Numbers of a validation or a test for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mmcell.coco.threshold import THRESHOLD_KEY
from mmcell.evaluation.headline import HEADLINES, Headline

#: Most numbers of metrics that are not ours.
MAX_OTHERS = 12


def format_scores(metrics: Mapping[str, float], classes: Sequence[str]) -> str:
    """A small table: one row per class and one for all of them, one column per number of :data:`HEADLINES`.

    A number that a class does not have is left out, one that cannot be told without truth is a dash. Where a run has
    none of these numbers, because all its metrics are others, the first :data:`MAX_OTHERS` of them are listed.

    Args:
        metrics: What a validation or a test returned.
        classes: Names of the classes, in order.

    >>> scores = {'segm/AP50_1000': 0.5, 'segm/AP50_1000_round': 0.25, 'cell/PQ_pooled': 0.75, 'cell/score_thr': 0.4}
    >>> print(format_scores(scores, ['round', 'flat']))
    class  AP50 @1000     PQ
    round       0.250
    all         0.500  0.750
    PQ: of cells that score 0.4 or more
    """
    columns = [headline for headline in HEADLINES if _number(headline, metrics) is not None]
    if not columns:
        others = [f'{name}  {value:.3f}' for name, value in metrics.items() if isinstance(value, (int, float))]
        return '\n'.join(others[:MAX_OTHERS])
    rows = [['class', *(headline.title for headline in columns)]]
    for name in classes:
        numbers = [metrics.get(headline.logged_for(name)) for headline in columns]
        if any(number is not None for number in numbers):
            rows.append([name, *map(_show, numbers)])
    rows.append(['all', *(_show(_number(headline, metrics)) for headline in columns)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        '  '.join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:]))]).rstrip()
        for name, *cells in rows
    ]
    threshold = metrics.get(f'cell/{THRESHOLD_KEY}')
    if threshold is not None:
        counted = ', '.join(headline.title for headline in columns if headline.prefix == 'cell')
        lines.append(f'{counted}: of cells that score {threshold:g} or more')
    return '\n'.join(lines)


def _number(headline: Headline, metrics: Mapping[str, float]) -> float | None:
    return metrics.get(headline.logged, metrics.get(headline.logged_by_mmdet))


def _show(number: float | None) -> str:
    if number is None:
        return ''
    return '–' if math.isnan(number) else f'{number:.3f}'
