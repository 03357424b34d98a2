"""Ways to make cells of results, side by side: quality and the error of the count, at every score threshold.

    python -m benchmarks.resolve RESULTS TRUTH [RESULTS TRUTH ...] [--all]

Each pair is a results file and the annotation file of its images, such as the val images of a fold; all are scored as
one set. Every way is shown at the threshold of its own highest PQ on these same images; --all shows all thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmcell.cli.command import Parser, run
from mmcell.coco.results import Result
from mmcell.coco.schema import read_results
from mmcell.coco.truth import Truth, pool_truths
from mmcell.evaluation.nuclei import THRESHOLDS, CellScores, evaluate_thresholds, middle_of_best
from mmcell.structures.resolve import WAYS

#: What is compared: arguments of :func:`mmcell.structures.resolve.resolve`.
CANDIDATES: tuple[dict[str, Any], ...] = (
    # Only of results with probabilities of the classes.
    *({'way': 'objectness', 'iou_thr': iou, 'max_taken': share} for share in (0.3, 0.4, 0.5) for iou in (0.3, 0.4)),
    *({'way': 'score', 'max_taken': share} for share in (0.2, 0.3, 0.4, 0.5, 0.7)),
    # The usual NMS, and with the shares of the others.
    *({'way': 'nms', 'iou_thr': iou, 'max_taken': share} for share in (1.0, 0.3) for iou in (0.3, 0.5)),
    *(
        {'way': way, 'iou_thr': iou, 'max_taken': share}
        for way in ('votes', 'fused')
        for share in (0.3, 0.5)
        for iou in (0.3, 0.5)
    ),
)
assert {candidate['way'] for candidate in CANDIDATES} == set(WAYS)

COLUMNS = ('way', 'score_thr', 'PQ', 'AJI', 'Dice', 'F1', 'count_error', 'count_bias', 'found', 'true')


def compare_ways(
    truth: Truth,
    results: Sequence[Result],
    candidates: Sequence[Mapping[str, Any]] | None = None,
    grid: Sequence[float] = THRESHOLDS,
) -> Iterator[list[dict[str, Any]]]:
    """For each candidate one row per threshold, with the :data:`COLUMNS`; PQ, AJI, Dice and F1 are pooled over images.

    The candidates are :data:`CANDIDATES` unless given, of results without probabilities those that need none.

    Raises:
        InputError: If a result does not fit the truth.
    """
    if candidates is None:
        known = all('probabilities' in result for result in results)
        candidates = [how for how in CANDIDATES if known or how['way'] != 'objectness']
    for how in candidates:
        yield [_row(how, scores) for scores in evaluate_thresholds(truth, results, grid, **how)]


def _row(how: Mapping[str, Any], scores: CellScores) -> dict[str, Any]:
    numbers = scores.as_dict()
    true, found = scores.counts.sum(axis=0).tolist()
    settings = (f'{name} {value:g}' for name, value in how.items() if name != 'way')
    return {
        'way': ', '.join([how['way'], *settings]),
        **{name: numbers[f'{name}_pooled'] for name in ('PQ', 'AJI', 'Dice', 'F1')},
        **{name: numbers[name] for name in ('score_thr', 'count_error', 'count_bias')},
        'found': found,
        'true': true,
    }


def format_row(row: Mapping[str, Any]) -> str:
    """A line of a Markdown table."""
    values = [f'{row[name]:.4f}' if isinstance(row[name], float) else str(row[name]) for name in COLUMNS]
    return f'| {" | ".join(values)} |'


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = Parser(
        __doc__, 'python -m benchmarks.resolve work_dirs/run/test/val-results.json data/cell/annotations/val.json'
    )
    parser.add_argument('files', nargs='+', metavar='RESULTS TRUTH')
    parser.add_argument('--all', action='store_true', help='show all thresholds')
    args = parser.parse_args(argv)
    if len(args.files) % 2:
        parser.error('give results and truth in pairs')
    truth = pool_truths(args.files[1::2])
    results = [result for path in args.files[::2] for result in read_results(path)]
    print(f'| {" | ".join(COLUMNS)} |\n{"| --- " * len(COLUMNS)}|')
    for rows in compare_ways(truth, results):
        for row in rows if args.all else [rows[middle_of_best([row['PQ'] for row in rows])]]:
            print(format_row(row), flush=True)


if __name__ == '__main__':
    run(main)
