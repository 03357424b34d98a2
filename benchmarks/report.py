"""Measurements as a table in the terminal and as a section of docs/results/benchmarks.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import OURS, Finding, Row, Side
from mmcell.io.files import write_bytes

_PACKAGES = ('torch', 'numpy', 'onedl-mmdetection', 'onedl-mmcv', 'pycocotools', 'faster-coco-eval')
_PREFACE = """# Benchmark tables

What `tools/benchmark.py --write` measured: mmcell beside MMDetection and torchvision. [Performance](../performance.md)
says what follows from these tables. Each section is the output of one command; the same command replaces it.

Each side of each row runs in a process of its own, with one thread unless the section says otherwise; the sides take
turns. Times are medians of processor time (user and system), which is the wall-clock time on an idle machine. Memory is
the peak resident set minus what the process held after its imports, inputs and weights were loaded. *Floor* is the time
in which this machine copies the bytes that any implementation has to read and write; *above it* is how many times
longer ours takes. *Difference* is the largest difference between the results of two sides. A side that takes too long
or too much memory is skipped, and so are all its larger cases. *Runs* is the number of runs of each side.
"""


@dataclass(frozen=True)
class Report:
    """The rows of one subject, and what they come down to.

    Args:
        title: Heading of the section; a section with the same heading is replaced.
        about: What was compared.
        command: The command line that measured this.
        rows: At least one.
        findings: What they come down to.
        bandwidth: Bytes read and written in a second, for the floor.
        threads: Threads of each process.
        others: What the other sides are, where their names do not say it.
    """

    title: str
    about: str
    command: str
    rows: Sequence[Row]
    findings: Sequence[Finding]
    bandwidth: float
    threads: int = 1
    others: Sequence[str] = ()

    def show(self) -> None:
        """Print the tables."""
        console = Console(width=None if os.isatty(1) else 200)
        for table in self._tables():
            rich = Table(*table[0])
            for row in table[1:]:
                rich.add_row(*row)
            console.print(rich)
        console.print('\n'.join(self._notes()), highlight=False, markup=False, soft_wrap=True)

    def write(self, path: Path) -> None:
        """Put the section into a Markdown file, in place of an earlier one; other sections stay."""
        sections = re.split(r'(?m)^(?=## )', path.read_text() if path.exists() else _PREFACE)
        mine = f'## {self.title}\n'
        text = '\n'.join([mine, self.about, '', *self._markdown(), *(f'- {note}' for note in self._notes()), ''])
        places = [index for index, section in enumerate(sections) if section.startswith(mine)]
        if places:
            sections[places[0]] = text
        else:
            notes = sections[-1].startswith('## Notes\n')  # which stay the last
            sections.insert(len(sections) - notes, text)
        write_bytes(path, '\n'.join(section.rstrip() + '\n' for section in sections).encode())

    def _markdown(self) -> Iterable[str]:
        for head, *rows in self._tables():
            yield f'| {" | ".join(head)} |'
            yield f'|{" ---: |" * len(head)}'
            yield from (f'| {" | ".join(row)} |' for row in rows)
            yield ''

    def _tables(self) -> Iterable[list[list[str]]]:
        floors = any(row.ours.floor_bytes is not None for row in self.rows)
        names = [*self.rows[0].others]
        compared = [name for name in names if any(row.difference(name) is not None for row in self.rows)]

        def each(what: str, names: Sequence[str] = names) -> list[str]:
            return [what] if len(names) == 1 else [f'{what}: {name}' for name in names]

        head = [*self.rows[0].labels, OURS, *names, *each('faster'), f'{OURS} MB', *(f'{name} MB' for name in names)]
        head += [*each('less memory'), *each('difference', compared), *['floor', 'above it'] * floors, 'runs']
        yield [head, *(self._cells(row, compared, floors) for row in self.rows)]
        parts = [*self.rows[0].ours.parts]
        if parts:
            rate = ['made', 'in a second'] if self.rows[0].ours.amount is not None else []
            yield [
                [*self.rows[0].labels, 'whose', *parts, *rate],
                *(
                    [
                        *map(str, row.labels.values()),
                        name,
                        *(_seconds(side.parts[part]) for part in parts),
                        *(_rate(side) if rate else []),
                    ]
                    for row in self.rows
                    for name, side in {OURS: row.ours, **row.others}.items()
                    if isinstance(side, Side)
                ),
            ]

    def _cells(self, row: Row, compared: Sequence[str], floors: bool) -> list[str]:
        ours, others = row.ours, row.others
        cells = [*map(str, row.labels.values()), _seconds(ours.seconds)]
        cells += [_seconds(side.seconds) if isinstance(side, Side) else f'skipped ({side})' for side in others.values()]
        cells += [_times(row.speedup(name)) if row.other(name) else '' for name in others]
        cells += [_megabytes(ours), *(_megabytes(side) if isinstance(side, Side) else '' for side in others.values())]
        cells += [_times(row.saving(name)) if row.other(name) else '' for name in others]
        differences = [row.difference(name) for name in compared]
        cells += ['' if value is None else f'{value:.1g}' if value else '0' for value in differences]
        if floors:
            floor = None if ours.floor_bytes is None else ours.floor_bytes / self.bandwidth
            cells += ['', ''] if floor is None else [_seconds(floor), _times(ours.seconds / floor)]
        runs = [len(side.times) if isinstance(side, Side) else 0 for side in (ours, *others.values())]
        return [*cells, ' / '.join(map(str, runs))]

    def _notes(self) -> Iterable[str]:
        for finding in self.findings:
            number = 'unknown, a side was skipped' if finding.number is None else f'{finding.number:.3g}'
            yield f'{finding.what}: {number}'
        if any(row.ours.floor_bytes is not None for row in self.rows):
            yield f'Floor: {self.bandwidth / 1e9:.1f} GB read and written in a second'
        yield from self.others
        yield f'`{self.command}`'
        threads = (
            'one thread a process' if self.threads == 1 else f'{self.threads} threads a process, by the wall clock'
        )
        yield f'{date.today()}, {_machine()}, {threads}'
        yield f'Python {platform.python_version()}, {_versions()}'


def _seconds(seconds: float) -> str:
    if seconds >= 10:
        return f'{seconds:.1f} s'
    if seconds >= 1:
        return f'{seconds:.2f} s'
    return f'{seconds * 1e3:.3g} ms' if seconds < 0.1 else f'{seconds * 1e3:.0f} ms'


def _times(ratio: float | None) -> str:
    if ratio is None:
        return 'unknown'
    return f'{ratio:.0f}x' if ratio >= 10 else f'{ratio:.1f}x'


def _rate(side: Side) -> list[str]:
    """How many it made, and how many in a second."""
    return ['', ''] if side.amount is None else [str(side.amount), f'{side.amount / side.seconds:.0f}']


def _megabytes(side: Side) -> str:
    return 'unknown' if side.megabytes is None else f'{side.megabytes:.0f}'


def _machine() -> str:
    """Model of the processor, number of usable cores, memory."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists() and (found := re.search(r'model name\s*:\s*(.+)', cpuinfo.read_text())):
        model = found[1]
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    return f'{model}, {os.cpu_count()} cores, {memory:.0f} GiB'


def _versions() -> str:
    found = []
    for package in _PACKAGES:
        try:
            found.append(f'{package} {version(package)}')
        except PackageNotFoundError:
            continue  # upstream's packages have other names
    return ', '.join(found)
