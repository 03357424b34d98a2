"""From the name of a subject to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from benchmarks import assign, convert, evaluate, load, paste, targets, train
from benchmarks.measure import Bar, Case, Limits, Options, Row, Task, bandwidth, measure
from benchmarks.report import Report


@dataclass(frozen=True)
class Subject:
    """A comparison: the task, its cases, and what was promised of it."""

    task: type[Task]
    cases: Callable[[Options], Iterable[Case]]
    bars: Callable[[Sequence[Row]], Iterable[Bar]]


SUBJECTS = {
    'convert': Subject(convert.Convert, convert.cases, convert.bars),
    'load': Subject(load.Load, load.cases, load.bars),
    'assign': Subject(assign.Assign, assign.cases, assign.bars),
    'targets': Subject(targets.Targets, targets.cases, targets.bars),
    'paste': Subject(paste.Paste, paste.cases, paste.bars),
    'eval': Subject(evaluate.Evaluate, evaluate.cases, evaluate.bars),
    'train': Subject(train.Train, train.cases, train.bars),
}


def compare(name: str, options: Options, repeats: int, limits: Limits, command: str) -> Report:
    """Measure a subject, ours beside stock.

    Args:
        name: One of `SUBJECTS`.
        options: Which cases.
        repeats: Turns of each side.
        limits: When to give up on stock.
        command: The command line, for the report.

    Raises:
        InputError: If the data that a subject needs are not there.
    """
    subject = SUBJECTS[name]
    cases = list(subject.cases(options))
    rows = list(tqdm(measure(subject.task, cases, repeats, limits), total=len(cases), unit='case', disable=None))
    # In the order in which they were asked for, whatever the order of their cost.
    order = [case.labels for case in cases]
    rows.sort(key=lambda row: order.index(row.labels))
    data = rows[0].labels.get('source') or rows[0].labels.get('data')
    return Report(
        title=f'{name}: {data}' if data else name,
        about=' '.join(subject.task.__doc__.split()),
        command=command,
        rows=rows,
        bars=list(subject.bars(rows)),
        bandwidth=bandwidth(),
    )
