"""Measurements as a table in the terminal and as a section of docs/performance.md."""

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

from benchmarks.measure import Bar, Row, Side
from mmcell.io.files import write_bytes

_SIDE = {True: 'least', False: 'most'}
_PACKAGES = ('torch', 'numpy', 'onedl-mmdetection', 'onedl-mmcv', 'pycocotools', 'faster-coco-eval')
_PREFACE = """# Performance

Ours beside stock MMDetection. Each section is what one call of `tools/benchmark.py` wrote; the same call with `--write`
replaces it.

Each side of each row is a process of its own with one thread; the two take turns. Times are medians of the processor's
time, user and system, which the wall clock shows too where nobody else is at work. Memory is the peak of the resident
set above what the process held when its imports and inputs were there. *Floor* is the time in which this machine copies
the bytes that any implementation has to read and write; *above it* is how many times as long ours takes. *Difference*
is the largest one between the two results. Where stock takes too long or too much memory, it is skipped, and so is
every larger case. *Runs* counts those of ours and of stock.
"""


@dataclass(frozen=True)
class Report:
    """The rows of one subject, and what was promised of them.

    Args:
        title: Heading of the section; a section with the same heading is replaced.
        about: What was compared.
        command: The command line that measured this.
        rows: At least one.
        bars: Promises.
        bandwidth: Bytes read and written in a second, for the floor.
    """

    title: str
    about: str
    command: str
    rows: Sequence[Row]
    bars: Sequence[Bar]
    bandwidth: float

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
            sections.append(text)
        write_bytes(path, '\n'.join(section.rstrip() + '\n' for section in sections).encode())

    def _markdown(self) -> Iterable[str]:
        for head, *rows in self._tables():
            yield f'| {" | ".join(head)} |'
            yield f'|{" ---: |" * len(head)}'
            yield from (f'| {" | ".join(row)} |' for row in rows)
            yield ''

    def _tables(self) -> Iterable[list[list[str]]]:
        floors = any(row.ours.floor_bytes is not None for row in self.rows)
        head = [*self.rows[0].labels, 'ours', 'stock', 'faster', 'ours MB', 'stock MB', 'less memory', 'difference']
        head += ['floor', 'above it'] * floors
        yield [[*head, 'runs'], *(self._cells(row, floors) for row in self.rows)]
        parts = [*self.rows[0].ours.parts]
        if parts:
            sides = [(row, side) for row in self.rows for side in ('ours', 'stock')]
            yield [
                [*self.rows[0].labels, 'whose', *parts],
                *(
                    [*map(str, row.labels.values()), name, *(_seconds(side.parts[part]) for part in parts)]
                    for row, name in sides
                    if isinstance(side := getattr(row, name), Side)
                ),
            ]

    def _cells(self, row: Row, floors: bool) -> list[str]:
        ours, stock = row.ours, row.stock
        cells = [*map(str, row.labels.values()), _seconds(ours.seconds)]
        if isinstance(stock, Side):
            cells += [_seconds(stock.seconds), _times(row.speedup), _megabytes(ours), _megabytes(stock)]
            cells += [_times(row.saving), f'{row.difference:.1g}' if row.difference else '0']
        else:
            cells += [f'skipped ({stock})', '', _megabytes(ours), '', '', '']
        if floors:
            floor = ours.floor_bytes / self.bandwidth
            cells += [_seconds(floor), _times(ours.seconds / floor)]
        return [*cells, f'{len(ours.times)} / {len(stock.times) if isinstance(stock, Side) else 0}']

    def _notes(self) -> Iterable[str]:
        for bar in self.bars:
            number = 'unknown, stock was skipped' if bar.measured is None else f'{bar.measured:.3g}'
            verdict = {True: '; met', False: '; MISSED', None: ''}[bar.met]
            asked = '' if bar.bound is None else f' (asked for: at {_SIDE[bar.at_least]} {bar.bound:g}{verdict})'
            yield f'{bar.what}: {number}{asked}'
        if any(row.ours.floor_bytes is not None for row in self.rows):
            yield f'Floor: {self.bandwidth / 1e9:.1f} GB read and written in a second'
        yield f'`{self.command}`'
        yield f'{date.today()}, {_machine()}, one thread a process'
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
