"""Broken and hostile input by the thousand: each case in a forked process, within limits of time and memory.

A case is correct, or it is refused by one clear :class:`InputError`. Anything else fails the test: another exception, a
crash of the interpreter, more than `SECONDS` of work, or more than `MEGABYTES` of memory beyond what the process had.
`pytest tests/fuzz -m slow` prints how many cases of each kind had which outcome.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck
from hypothesis.strategies import SearchStrategy

from mmcell.errors import InputError, InputErrors

SECONDS = 10
MEGABYTES = 1024

#: Outcomes by kind of input, for the table at the end.
TALLY: dict[str, Counter] = {}

#: One case: draws what it needs from the generator, works in the folder, and asserts that what it got is correct.
Case = Callable[[np.random.Generator, Path], None]


class Fuzz:
    """Runs cases and counts their outcomes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, kind: str, cases: int, case: Case) -> Counter:
        """Run a case with the seeds 0, 1, … and assert that each was correct or refused."""
        number = zlib.crc32(kind.encode())
        return self.each(kind, [np.random.default_rng([number, seed]) for seed in range(cases)], case)

    def each(self, kind: str, values: Sequence[Any], case: Callable[[Any, Path], None]) -> Counter:
        """Run a case with each of some values and assert that it was correct or refused."""
        start, failures, tally = 0, [], Counter()
        while start < len(values) and len(failures) < 20:
            body = partial(_run_values, values[start:], case, self.folder / 'work')
            outcomes, end = self._fork(body)
            failures += [
                f'{kind} {_name(values, index)}: {detail}'
                for index, (outcome, detail) in enumerate(outcomes, start)
                if outcome == 'failed'
            ]
            tally.update(outcome for outcome, _ in outcomes)
            start += len(outcomes)
            if end:
                # The child died in the case after the last one that it logged.
                failures.append(f'{kind} {_name(values, start)}: {end}')
                tally['failed'] += 1
                start += 1
        return self._close(kind, tally, failures)

    def given(self, kind: str, examples: int, strategy: SearchStrategy, case: Callable[[Any, Path], None]) -> Counter:
        """Run a case with examples that hypothesis draws, and shrinks where one fails."""
        work = self.folder / 'work'
        outcomes, end = self._fork(partial(_run_examples, examples, strategy, case, work))
        # Where one fails, the last of them is the smallest.
        failures = [detail for outcome, detail in outcomes if outcome == 'failed'][-1:] + [end] * bool(end)
        return self._close(kind, Counter(outcome for outcome, _ in outcomes), failures)

    def _fork(self, body: Callable[[TextIO], None]) -> tuple[list[tuple[str, str]], str]:
        """Run something in a child that logs an outcome a line; returns them, and how the child died if it did."""
        log = self.folder / 'log'
        log.write_text('')
        process = os.fork()
        if not process:
            _be_child(body, log)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        outcomes = [tuple(json.loads(line)) for line in log.read_text().splitlines()]
        end = 'ran too long' if status in (-signal.SIGALRM, -signal.SIGPROF) else f'died ({status})'
        return outcomes, end if status else ''

    def _close(self, kind: str, tally: Counter, failures: list[str]) -> Counter:
        TALLY.setdefault(kind, Counter()).update(tally)
        assert not failures, f'{len(failures)} failures:\n' + '\n'.join(failures[:20])
        return tally


def _name(values: Sequence[Any], index: int) -> str:
    return values[index] if isinstance(values[index], str) else str(index)


def _be_child(body: Callable[[TextIO], None], log: Path) -> NoReturn:
    """Within the limits, and without pytest's end."""
    status = 1
    try:
        for alarm in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(alarm, signal.SIG_DFL)  # kills even where native code holds the interpreter
        allowed = (_memory('VmSize') + 8 * MEGABYTES) << 20
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with log.open('a', buffering=1) as lines:
            body(lines)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run_values(values: Sequence[Any], case: Callable[[Any, Path], None], work: Path, lines: TextIO) -> None:
    for value in values:
        lines.write(json.dumps(_run_case(case, value, work)) + '\n')


def _run_examples(
    examples: int, strategy: SearchStrategy, case: Callable[[Any, Path], None], work: Path, lines: TextIO
) -> None:
    @hypothesis.settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.seed(0)
    @hypothesis.given(strategy)
    def run(example: Any) -> None:
        outcome = _run_case(case, example, work)
        lines.write(json.dumps(outcome) + '\n')
        assert outcome[0] != 'failed'

    try:
        run()
    except AssertionError:
        pass  # It stands in the log.


def _run_case(case: Callable[[Any, Path], None], value: Any, work: Path) -> tuple[str, str]:
    _empty(work)
    Path('/proc/self/clear_refs').write_text('5')  # forgets the peak of memory
    before = _memory('VmRSS')
    # Work counts, whatever else the machine does; who waits for ever does none.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(10 * SECONDS)
    try:
        case(value, work)
        outcome = 'correct', ''
    except (InputError, InputErrors) as error:
        outcome = _judge(error)
    except Exception:
        outcome = 'failed', traceback.format_exc()[-2000:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    used = _memory('VmHWM') - before
    return ('failed', f'took {used} MB; {outcome}') if used > MEGABYTES else outcome


def _judge(error: InputError | InputErrors) -> tuple[str, str]:
    """Whether the error is one clear line that names file, problem and cure, and no disguise of something else."""
    for one in getattr(error, 'errors', [error]):
        line = str(one)
        if not (one.where and one.problem and one.cure) or len(line.splitlines()) != 1 or len(line) > 2000:
            return 'failed', f'unclear: {line!r}'
        if 'MemoryError' in line or 'Unable to allocate' in line:
            return 'failed', f'ran out of memory: {line}'
    return 'refused', ''


def _memory(field: str) -> int:
    """A figure of this process in MB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1]) >> 10
    raise KeyError(field)


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()


@pytest.fixture
def fuzz(tmp_path: Path) -> Fuzz:
    return Fuzz(tmp_path)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Truncate, flip, overwrite, cut out or repeat some of the bytes, once or several times."""
    data = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4, 16]))):
        if not data:
            break
        at = int(rng.integers(len(data)))
        # Headers are small, and what they say matters most.
        if rng.random() < 0.5:
            at = min(at, int(rng.integers(min(len(data), 400))))
        size = int(rng.integers(1, 9))
        match int(rng.integers(7)):
            case 0:
                del data[at:]
            case 1:
                data[at] ^= 1 << int(rng.integers(8))
            case 2:
                data[at : at + size] = rng.bytes(size)
            case 3:
                number = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1]))
                width, order = int(rng.choice([1, 2, 4, 8])), str(rng.choice(['little', 'big']))
                data[at : at + width] = (number % 256**width).to_bytes(width, order)
            case 4:
                del data[at : at + size]
            case 5:
                data[at:at] = data[at : at + size]
            case _:
                data[at : at + size] = bytes(size)
    return bytes(data)


@pytest.fixture(name='mutate')
def _mutate() -> Callable[[bytes, np.random.Generator], bytes]:
    return mutate


def pytest_terminal_summary(terminalreporter) -> None:
    if not TALLY:
        return
    terminalreporter.section('fuzz: cases by kind and outcome')
    terminalreporter.write_line(f'{"kind":42}{"cases":>8}{"correct":>9}{"refused":>9}{"failed":>8}')
    total = sum(TALLY.values(), Counter())
    for kind, tally in [*sorted(TALLY.items()), ('all', total)]:
        row = [sum(tally.values()), tally['correct'], tally['refused'], tally['failed']]
        terminalreporter.write_line(f'{kind:42}{row[0]:8}{row[1]:9}{row[2]:9}{row[3]:8}')
