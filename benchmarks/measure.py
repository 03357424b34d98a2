"""The sides of a comparison, each in a process of its own, in turns."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

#: The side that all others are compared with.
OURS = 'ours'

#: A turn repeats what is faster than this, in seconds: one run of a millisecond says little.
_TURN = 0.1
#: A first run that takes longer than this, in seconds, counts; a faster one only warms up.
_COLD = 1.0


_threads = 1


def clock() -> float:
    """Seconds of the processor, user and system, in a process of one thread; of the wall clock in one of several.

    With one thread and files in the page cache the wall clock shows the same on an idle machine, and on a shared one
    the processor's time stays what it is.
    """
    return time.process_time() if _threads == 1 else time.perf_counter()


class Task(ABC):
    """One side of a comparison. It is built, prepared and run in a process that does nothing else.

    Args:
        inputs: What all sides get; it is no part of the measured memory.
        side: Which side this is: :data:`OURS`, or the name of an :class:`Other`.
    """

    #: Seconds after which a run of another side is given up, unless the user says otherwise.
    limit_s: ClassVar[float] = 30.0

    def __init__(self, inputs: Any, side: str) -> None:
        self.inputs, self.side, self.ours = inputs, side, side == OURS

    def prepare(self) -> None:  # noqa: B027 (most tasks have nothing to prepare)
        """Make what has to be held in memory while the task runs: counted as memory, not as time."""

    @abstractmethod
    def run(self) -> Any:
        """Do once what is measured."""

    @abstractmethod
    def digest(self, result: Any) -> NDArray[np.float64] | None:
        """Numbers of a result that all sides should agree in; None if there are none, as of other weights."""

    def parts(self, result: Any) -> dict[str, float]:
        """Seconds that parts of the run take, by name."""
        return {}

    def amount(self, result: Any) -> int | None:
        """How many things a run makes, if a rate says more than a time."""
        return None

    def floor_bytes(self, result: Any) -> int | None:
        """Bytes that any implementation reads and writes, or None if nobody has counted them."""
        return None


@dataclass(frozen=True)
class Other:
    """What ours is measured beside.

    Args:
        name: Heads its columns.
        task: What it runs; None takes the task of ours, which is told the name.
        python: Interpreter of an environment of its own, in which `task` can be imported; None takes this one.
        absent: Why it is not there, if so.
        about: What it is, for the report.
    """

    name: str
    task: type[Task] | None = None
    python: Path | None = None
    absent: str = ''
    about: str = ''


@dataclass(frozen=True)
class Case:
    """One row of a comparison.

    Args:
        labels: What the row is about, by column.
        cost: What time and memory of the others grow with. Above a case in which one of them was over the limits, that
            one is not tried again.
        inputs: Makes the inputs of the task.
        others: What ours is measured beside; the same names in all cases of a subject.
    """

    labels: Mapping[str, int | str]
    cost: float
    inputs: Callable[[], Any]
    others: Sequence[Other] = (Other('MMDetection'),)


@dataclass(frozen=True)
class Limits:
    """When to give up on another side.

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
    amount: int | None
    floor_bytes: int | None
    digest: NDArray[np.float64] | None

    @property
    def seconds(self) -> float:
        """Median time."""
        return median(self.times)


@dataclass(frozen=True)
class Row:
    """All sides of a case; of `others`, by name, the reason where one was skipped."""

    labels: Mapping[str, int | str]
    ours: Side
    others: dict[str, Side | str]

    def other(self, name: str | None = None) -> Side | None:
        """Another side, the first unless it is named; None if it was skipped."""
        side = next(iter(self.others.values())) if name is None else self.others[name]
        return side if isinstance(side, Side) else None

    def speedup(self, name: str | None = None) -> float | None:
        """Time of another side by ours."""
        other = self.other(name)
        return None if other is None else other.seconds / self.ours.seconds

    def saving(self, name: str | None = None) -> float | None:
        """Peak memory of another side by ours; ours counts as 1 MB at least, since less is noise."""
        other = self.other(name)
        if other is None or other.megabytes is None or self.ours.megabytes is None:
            return None
        return other.megabytes / max(self.ours.megabytes, 1)

    def difference(self, name: str | None = None) -> float | None:
        """Largest difference of two results; infinite if they do not even have the same shape, None if unknown."""
        other = self.other(name)
        if other is None or other.digest is None or self.ours.digest is None:
            return None
        ours, theirs = self.ours.digest, other.digest
        return float(np.abs(ours - theirs).max(initial=0)) if ours.shape == theirs.shape else float('inf')


@dataclass(frozen=True)
class Options:
    """What a user may choose; a subject reads what concerns it.

    Args:
        cells: Cells (for `eval` detections) in an image.
        sides: Height and width of the image in pixels.
        scratch: Folder for temporary files.
        source: Folder in the class_tiff layout (`convert`), or of images (`infer`, `model`).
        images: How many images (`convert`, `eval`, `infer`); None takes all, or the subject's own number.
        config: Config file; None takes drawn cells and `configs/cell/mask_rcnn.py` (`train`, `infer`).
        base: Another base for it (`train`, `infer`).
        options: Settings to override (`infer`).
        steps: Steps of training, and images of validation; None takes an epoch and all (`train`).
        checkpoint: Weights to start from (`train`, `infer`).
        amp: Whether ours trains in bfloat16 (`train`).
        torchvision: Python of an environment with torchvision (`train`, `infer`, `model`).
        model: Name of a model that comes with mmcell (`model`).
    """

    cells: Sequence[int]
    sides: Sequence[int]
    scratch: Path
    source: Path | None = None
    images: int | None = None
    config: Path | None = None
    base: Path | None = None
    options: dict[str, Any] | None = None
    steps: int | None = None
    checkpoint: Path | None = None
    amp: bool = False
    torchvision: Path | None = None
    model: str = ''


@dataclass(frozen=True)
class Finding:
    """A number that the rows come down to; None if a side that it needs was skipped or tells no memory."""

    what: str
    number: float | None


def find_row(rows: Sequence[Row], **labels: int | str) -> Row | None:
    """The row with exactly these labels, if it was measured."""
    return next((row for row in rows if row.labels == labels), None)


def growth(few: Row, many: Row) -> float | None:
    """MB that ours needs more for one row than for another; None where Linux does not tell."""
    sizes = few.ours.megabytes, many.ours.megabytes
    return None if sizes[0] is None or sizes[1] is None else sizes[1] - sizes[0]


class OverLimit(Exception):
    """A run took too long or too much memory."""


def measure(task: type[Task], cases: Iterable[Case], repeats: int, limits: Limits, threads: int = 1) -> Iterator[Row]:
    """Measure cases from the cheapest to the dearest, all sides in turns.

    Each side of each case is a fresh process. Its memory counts from where its imports and inputs are
    there, and is the peak of the resident set. Times are those of all runs but the first of a side, unless that one
    takes more than a second.

    Args:
        task: What to measure.
        cases: With which inputs.
        repeats: Turns of each side.
        limits: When to give up on another side.
        threads: Threads of each process.
    """
    over: dict[str, tuple[float, str]] = {}
    for case in sorted(cases, key=lambda case: case.cost):
        skip = {other.name: other.absent for other in case.others if other.absent}
        skip |= {name: f'a smaller one {why}' for name, (cost, why) in over.items() if case.cost >= cost}
        row = _measure_case(task, case, repeats, limits, skip, threads)
        for name, side in row.others.items():
            if isinstance(side, str) and name not in skip:
                over[name] = case.cost, side
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


def _measure_case(
    task: type[Task], case: Case, repeats: int, limits: Limits, skip: dict[str, str], threads: int
) -> Row:
    inputs, skip = case.inputs(), dict(skip)
    seconds = limits.seconds or task.limit_s
    bounds = Limits(seconds, limits.megabytes)
    workers: dict[str, _Worker] = {}
    try:
        workers[OURS] = _Worker(Other(OURS, task), inputs, None, threads)
        for other in case.others:
            if other.name not in skip:
                workers[other.name] = _Worker(replace(other, task=other.task or task), inputs, bounds, threads)
        for name in ('prepare', *['turn'] * repeats):
            for side, worker in list(workers.items()):
                if sum(worker.times) > seconds:
                    continue
                try:
                    worker.step(name)
                except OverLimit as error:
                    skip[side] = str(error)
                    workers.pop(side).stop()
        ours = workers[OURS].finish()
        others = {
            other.name: workers[other.name].finish() if other.name in workers else skip[other.name]
            for other in case.others
        }
        return Row(case.labels, ours, others)
    finally:
        for worker in workers.values():
            worker.stop()


class _Worker:
    """The parent's end of a process that serves one task."""

    def __init__(self, side: Other, inputs: Any, limits: Limits | None, threads: int) -> None:
        self._limits = limits
        self._process: BaseProcess | subprocess.Popen[bytes]
        if side.python is None:
            self._connection, self._process = _fork(threads)
        else:
            self._connection, self._process = _start_python(side.python, threads)
        # The server that forks was started with the environment of that time.
        self._connection.send((dict(os.environ), side.task, inputs, side.name))
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
        self._ended()
        self._connection.close()

    def _ended(self) -> int | None:
        """Wait for the end of the process; its exit status."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.wait()
        self._process.join()
        return self._process.exitcode

    def _receive(self, limits: Limits | None) -> Any:
        start = _processor_time(self._process.pid)
        while not self._connection.poll(0.05):
            if limits and limits.seconds and _processor_time(self._process.pid) - start > limits.seconds:
                raise OverLimit(f'over {limits.seconds:g} s')
            if limits and (_status(self._process.pid, 'VmRSS') or 0) - (self._base or 0) > limits.megabytes:
                raise OverLimit(f'over {limits.megabytes / 1000:g} GB')
        try:
            answer = self._connection.recv()
        except EOFError:
            raise RuntimeError(f'a measured process ended with {self._ended()}') from None
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _fork(threads: int) -> tuple[Connection, BaseProcess]:
    """A fork of a server that has imported everything: a fresh process for every case, without seconds of imports."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([f'{__package__}.compare'])
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, threads), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _start_python(python: Path, threads: int) -> tuple[Connection, subprocess.Popen[bytes]]:
    """A process of another environment, where this module and that of the task are all of ours that it imports."""
    ours, theirs = multiprocessing.Pipe()
    code = f'from multiprocessing.connection import Connection; from {__name__} import serve; serve(Connection(%d), %d)'
    process = subprocess.Popen(
        [str(python), '-c', code % (theirs.fileno(), threads)],
        pass_fds=[theirs.fileno()],
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).resolve().parents[1])},
    )
    theirs.close()
    return ours, process


def serve(connection: Connection, threads: int) -> None:
    """The measured process: takes task, inputs and side, then answers 'prepare', 'turn' and 'finish'."""
    try:
        _use_threads(threads)
        environment, task_type, inputs, side = connection.recv()
        os.environ.update(environment)
        sys.stdout = Path(os.devnull).open('w')  # where pycocotools reports its progress
        task, result = task_type(inputs, side), None
        base = _reset_peak()
        connection.send(base)
        while (step := connection.recv()) != 'finish':
            if step == 'prepare':
                task.prepare()
                connection.send(None)
                continue
            times: list[float] = []
            start = clock()
            while not times or clock() - start < _TURN or (len(times) < 2 and times[0] < _COLD):
                result = None  # else two results are held at once
                before = clock()
                result = task.run()
                times.append(clock() - before)
            connection.send(times)
        peak = _status(os.getpid(), 'VmHWM')
        memory = None if base is None or peak is None else peak - base
        connection.send(
            (memory, task.parts(result), task.amount(result), task.floor_bytes(result), task.digest(result))
        )
    except Exception as error:
        connection.send(RuntimeError(f'{error}\n{traceback.format_exc()}'))


def _use_threads(threads: int) -> None:
    global _threads
    import torch

    _threads = threads
    torch.set_num_threads(threads)
    with contextlib.suppress(ImportError):
        import cv2

        cv2.setNumThreads(threads)


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


def _processor_time(pid: int | None) -> float:
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
