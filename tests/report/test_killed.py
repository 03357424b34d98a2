"""Whoever writes results is killed at random moments: each file is the old one or the new one."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcell.ablation.markdown import Row, write_comparison
from mmcell.coco.fuse import fuse_files
from mmcell.coco.submission import write_submission
from mmcell.report.page import write_report

KILLS, SEED = int(os.environ.get('MMCELL_KILLS', 25)), int(os.environ.get('MMCELL_KILL_SEED', 0))

# Each writes one of two versions into a folder.
Write = Callable[[Path, bool], object]


def submission(dataset) -> Write:
    return lambda out, first: write_submission(dataset.results[: 5 if first else None], dataset.truth, out)


def fusion(dataset) -> Write:
    return lambda out, first: fuse_files([dataset.results_path], out, score_thr=0.5 if first else 0.0)


def table(dataset) -> Write:
    scores = {name: np.array([0.25, 0.125, 0.5]) for name in ('mAP', 'AP50', 'PQ')}
    rows = [Row(f'run {number}', 'run', [f'a: {number}'] * 50, 1000, {}, scores) for number in range(50)]
    return lambda out, first: write_comparison(rows[: 5 if first else None], out, [], samples=7)


def page(dataset) -> Write:
    return lambda out, first: write_report(
        dataset.results, out / 'report.html', truth=dataset.truth, score_thr=0.3 if first else 0.65
    )


def write_for_ever(write: Write, out: Path) -> None:
    for first in itertools.cycle([True, False]):
        write(out, first)


def read(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith('.')}


@pytest.mark.parametrize('kind', [submission, fusion, table, pytest.param(page, marks=pytest.mark.slow)])
def test_each_file_is_the_old_or_the_new(kind, dataset, tmp_path, capsys):
    write, out, fork = kind(dataset), tmp_path / 'out', multiprocessing.get_context('fork')
    versions = []
    for first in (True, False):
        begun = time.perf_counter()
        write(out, first)
        seconds = time.perf_counter() - begun
        versions.append(read(out))
    names = versions[0].keys()
    assert names == versions[1].keys() and all(versions[0][name] != versions[1][name] for name in names)

    draw, found = random.Random(SEED), Counter()
    for _ in range(KILLS):
        process = fork.Process(target=write_for_ever, args=(write, out))
        process.start()
        time.sleep(draw.uniform(0, 0.02 + 4 * seconds))  # starting takes some time too
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        left = read(out)
        assert left.keys() == names
        for name in names:
            assert left[name] in (versions[0][name], versions[1][name])
            found['first' if left[name] == versions[0][name] else 'second'] += 1
    write(out, True)
    assert read(out) == versions[0]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)  # what the killed left is gone
    with capsys.disabled():
        print(f'\n{kind.__name__}, {KILLS} kills: files {dict(found)}, none broken')
