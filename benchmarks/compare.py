"""From the name of a subject to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from benchmarks import assign, convert, epoch, evaluate, infer, load, paste, shipped, targets, train
from benchmarks.measure import Case, Finding, Limits, Options, Row, Task, bandwidth, measure
from benchmarks.report import Report


@dataclass(frozen=True)
class Subject:
    """A comparison: the task, its cases, and what its rows come down to."""

    task: type[Task]
    cases: Callable[[Options], Iterable[Case]]
    findings: Callable[[Sequence[Row]], Iterable[Finding]]


SUBJECTS = {
    'convert': Subject(convert.Convert, convert.cases, convert.findings),
    'load': Subject(load.Load, load.cases, load.findings),
    'assign': Subject(assign.Assign, assign.cases, assign.findings),
    'targets': Subject(targets.Targets, targets.cases, targets.findings),
    'paste': Subject(paste.Paste, paste.cases, paste.findings),
    'eval': Subject(evaluate.Evaluate, evaluate.cases, evaluate.findings),
    'train': Subject(train.Train, train.cases, train.findings),
    'infer': Subject(infer.Infer, infer.cases, infer.findings),
    'model': Subject(shipped.Shipped, shipped.cases, shipped.findings),
}
#: These where a config is given.
WITH_CONFIG = {
    'train': Subject(epoch.Epoch, epoch.cases, epoch.findings),
    'infer': Subject(infer.InferFiles, infer.file_cases, infer.findings),
}


def compare(name: str, options: Options, repeats: int, limits: Limits, command: str, threads: int = 1) -> Report:
    """Measure a subject, ours beside others.

    Args:
        name: One of `SUBJECTS`.
        options: Which cases.
        repeats: Turns of each side.
        limits: When to give up on another side.
        command: The command line, for the report.
        threads: Threads of each process.

    Raises:
        InputError: If what a subject needs is not there.
    """
    subject = (WITH_CONFIG if options.config else SUBJECTS)[name]
    cases = list(subject.cases(options))
    measured = measure(subject.task, cases, repeats, limits, threads)
    rows = list(tqdm(measured, total=len(cases), unit='case', disable=None))
    # In the order in which they were asked for, whatever the order of their cost.
    order = [case.labels for case in cases]
    rows.sort(key=lambda row: order.index(row.labels))
    what = [
        rows[0].labels[label] for label in ('config', 'model', 'source', 'data', 'ours in') if label in rows[0].labels
    ]
    if threads != 1:
        what.append(f'{threads} threads')
    return Report(
        title=f'{name}: {", ".join(what)}' if what else name,
        about=' '.join((subject.task.__doc__ or '').split()),
        command=command,
        rows=rows,
        findings=list(subject.findings(rows)),
        bandwidth=bandwidth(),
        threads=threads,
        others=list(dict.fromkeys(other.about for case in cases for other in case.others if other.about)),
    )
