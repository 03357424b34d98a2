"""Two sides of a comparison, each in a process of its own, in turns."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

#: Times are those of the processor, user and system: with one thread and files in the page cache the wall clock shows
#: the same on an idle machine, and on a shared one they stay what they are.
clock = time.process_time

#: A turn repeats what is faster than this, in seconds: one run of a millisecond says little.
_TURN = 0.1
#: A first run that takes longer than this, in seconds, counts; a faster one only warms up.
_COLD = 1.0


class Task(ABC):
    """One side of a comparison. It is built, prepared and run in a process that does nothing else.

    Args:
        inputs: What both sides get; it is no part of the measured memory.
        ours: Which side this is.
    """

    #: Seconds after which a stock run is given up, unless the user says otherwise.
    limit_s: ClassVar[float] = 30.0

    def __init__(self, inputs: Any, ours: bool) -> None:
        self.inputs, self.ours = inputs, ours

    def prepare(self) -> None:  # noqa: B027 (most tasks have nothing to prepare)
        """Make what has to be held in memory while the task runs: counted as memory, not as time."""

    @abstractmethod
    def run(self) -> Any:
        """Do once what is measured."""

    @abstractmethod
    def digest(self, result: Any) -> NDArray[np.float64]:
        """Numbers of a result that both sides should agree in."""

    def parts(self, result: Any) -> dict[str, float]:
        """Seconds that parts of the run take, by name."""
        return {}

    def floor_bytes(self, result: Any) -> int | None:
        """Bytes that any implementation reads and writes, or None if nobody has counted them."""
        return None


@dataclass(frozen=True)
class Case:
    """One row of a comparison.

    Args:
        labels: What the row is about, by column.
        cost: What stock's time and memory grow with. Above a case that was over the limits, stock is not tried again.
        inputs: Makes the inputs of the task.
    """

    labels: dict[str, int | str]
    cost: float
    inputs: Callable[[], Any]


@dataclass(frozen=True)
class Limits:
    """When to give up on stock.

    Args:
        seconds: For preparing and for one turn; None takes the task's own. A side that has run for longer in all takes
            no further turn.
        megabytes: Above the base process.
    """

    seconds: float | None = None
    megabytes: float = 8000


@dataclass(frozen=True)
class Side:
    """What one side of a case measured; times in seconds, memory in MB above the base process (None: unknown)."""

    times: list[float]
    megabytes: float | None
    parts: dict[str, float]
    floor_bytes: int | None
    digest: NDArray[np.float64]

    @property
    def seconds(self) -> float:
        """Median time."""
        return median(self.times)


@dataclass(frozen=True)
class Row:
    """Both sides of a case; for `stock` the reason, if it was skipped."""

    labels: dict[str, int | str]
    ours: Side
    stock: Side | str

    @property
    def speedup(self) -> float | None:
        """Stock's time by ours."""
        return self.stock.seconds / self.ours.seconds if isinstance(self.stock, Side) else None

    @property
    def saving(self) -> float | None:
        """Stock's peak memory by ours; ours counts as 1 MB at least, since less is noise."""
        if not isinstance(self.stock, Side) or None in (self.stock.megabytes, self.ours.megabytes):
            return None
        return self.stock.megabytes / max(self.ours.megabytes, 1)

    @property
    def difference(self) -> float | None:
        """Largest difference of the two results; infinite if they do not even have the same shape."""
        if not isinstance(self.stock, Side):
            return None
        ours, stock = self.ours.digest, self.stock.digest
        return float(np.abs(ours - stock).max(initial=0)) if ours.shape == stock.shape else float('inf')


@dataclass(frozen=True)
class Options:
    """What a user may choose; a subject reads what concerns it.

    Args:
        cells: Cells (for `eval` detections) in an image.
        sides: Height and width of the image in pixels.
        scratch: Folder for temporary files.
        source: Folder in the class_tiff layout (`convert`).
        images: How many images (`convert`, `eval`); None takes all, or the subject's own number.
        config: Config file (`train`).
        steps: Steps of training, and images of validation; None takes an epoch and all (`train`).
        checkpoint: Weights to start from (`train`).
    """

    cells: Sequence[int]
    sides: Sequence[int]
    scratch: Path
    source: Path | None = None
    images: int | None = None
    config: Path | None = None
    steps: int | None = None
    checkpoint: Path | None = None


@dataclass(frozen=True)
class Bar:
    """What was promised of a number, if anything was, and the number; None if stock was skipped."""

    what: str
    measured: float | None
    bound: float | None
    at_least: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the promise holds; None if that is unknown or there is none."""
        if self.measured is None or self.bound is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


def find_row(rows: Sequence[Row], **labels: int | str) -> Row | None:
    """The row with exactly these labels, if it was measured."""
    return next((row for row in rows if row.labels == labels), None)


class OverLimit(Exception):
    """A run took too long or too much memory."""


def measure(task: type[Task], cases: Iterable[Case], repeats: int, limits: Limits) -> Iterator[Row]:
    """Measure cases from the cheapest to the dearest, ours and stock in turns.

    Each side of each case is a fresh process with one thread. Its memory counts from where its imports and inputs are
    there, and is the peak of the resident set. Times are those of all runs but the first of a side, unless that one
    takes more than a second.

    Args:
        task: What to measure.
        cases: With which inputs.
        repeats: Turns of each side.
        limits: When to give up on stock.
    """
    over: tuple[float, str] | None = None
    for case in sorted(cases, key=lambda case: case.cost):
        skip = f'a smaller one {over[1]}' if over and case.cost >= over[0] else None
        row = _measure_case(task, case, repeats, limits, skip)
        if isinstance(row.stock, str) and skip is None:
            over = case.cost, row.stock
        yield row


def bandwidth() -> float:
    """Bytes that one thread reads and writes in a second, copying 256 MB."""
    source = np.ones(1 << 25)
    target = np.zeros_like(source)
    times = []
    for _ in range(7):
        start = clock()
        np.copyto(target, source)
        times.append(clock() - start)
    return 2 * source.nbytes / median(times)


def _measure_case(task: type[Task], case: Case, repeats: int, limits: Limits, skip: str | None) -> Row:
    inputs = case.inputs()
    bounds = Limits(limits.seconds or task.limit_s, limits.megabytes)
    workers = {}
    try:
        workers['ours'] = _Worker(task, inputs, True, None)
        if skip is None:
            workers['stock'] = _Worker(task, inputs, False, bounds)
        for name in ('prepare', *['turn'] * repeats):
            for side, worker in list(workers.items()):
                if sum(worker.times) > bounds.seconds:
                    continue
                try:
                    worker.step(name)
                except OverLimit as error:
                    skip = str(error)
                    workers.pop(side).stop()
        ours = workers['ours'].finish()
        return Row(case.labels, ours, workers['stock'].finish() if 'stock' in workers else skip)
    finally:
        for worker in workers.values():
            worker.stop()


class _Worker:
    """The parent's end of a process that serves one task."""

    def __init__(self, task: type[Task], inputs: Any, ours: bool, limits: Limits | None) -> None:
        # Forks of a server that has imported everything: a fresh process for every case, without seconds of imports.
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload([f'{__package__}.compare'])
        self._limits = limits
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, task, inputs, ours), daemon=True)
        self._process.start()
        theirs.close()
        self._base = self._receive(None)
        self.times: list[float] = []
        self._cold = True

    def step(self, name: str) -> None:
        """Prepare, or take a turn.

        Raises:
            OverLimit: If it was over the limits; the process is ended.
        """
        self._connection.send(name)
        times = self._receive(self._limits)
        if name == 'turn':
            cold, self._cold = self._cold, False
            self.times += times[1:] if cold and times[0] < _COLD else times

    def finish(self) -> Side:
        """What was measured."""
        self._connection.send('finish')
        return Side(self.times, *self._receive(None))

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _receive(self, limits: Limits | None) -> Any:
        start = _processor_time(self._process.pid)
        while not self._connection.poll(0.05):
            if limits and _processor_time(self._process.pid) - start > limits.seconds:
                raise OverLimit(f'over {limits.seconds:g} s')
            if limits and (_status(self._process.pid, 'VmRSS') or 0) - (self._base or 0) > limits.megabytes:
                raise OverLimit(f'over {limits.megabytes / 1000:g} GB')
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f'a measured process ended with {self._process.exitcode}') from None
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _serve(connection: Connection, task_type: type[Task], inputs: Any, ours: bool) -> None:
    """The measured process: answers 'prepare', 'turn' and 'finish'."""
    try:
        _use_one_thread()
        sys.stdout = Path(os.devnull).open('w')  # where pycocotools reports its progress
        task, result = task_type(inputs, ours), None
        base = _reset_peak()
        connection.send(base)
        while (step := connection.recv()) != 'finish':
            if step == 'prepare':
                task.prepare()
                connection.send(None)
                continue
            times, start = [], clock()
            while not times or clock() - start < _TURN or (len(times) < 2 and times[0] < _COLD):
                result = None  # else two results are held at once
                before = clock()
                result = task.run()
                times.append(clock() - before)
            connection.send(times)
        peak = _status(os.getpid(), 'VmHWM')
        memory = None if base is None else peak - base
        connection.send((memory, task.parts(result), task.floor_bytes(result), task.digest(result)))
    except Exception as error:
        connection.send(RuntimeError(f'{error}\n{traceback.format_exc()}'))


def _use_one_thread() -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _reset_peak() -> float | None:
    """Forget the peak of this process's memory; returns the present size in MB, or None where Linux does not tell."""
    try:
        # Freed memory that the allocator keeps would hide as much of what comes.
        ctypes.CDLL(None).malloc_trim(0)
        # getrusage's peak includes the parent's at the fork and cannot be reset.
        Path('/proc/self/clear_refs').write_text('5')
    except (OSError, AttributeError):
        return None
    return _status(os.getpid(), 'VmRSS')


def _processor_time(pid: int) -> float:
    """Seconds of the processor that a process has used; the wall clock where Linux does not tell."""
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return time.monotonic()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')  # user and system


def _status(pid: int | None, name: str) -> float | None:
    """A size in /proc/<pid>/status, in MB."""
    try:
        lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f'{name}:')), None)
