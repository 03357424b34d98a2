"""The soak's verdict: images lost, done twice or left behind, and memory that grows."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest

from benchmarks.soak import journalled, judge

ARGS = Namespace(images=3, size=64, growth_mb=50.0)
NAMES = ['a.tif', 'b.tif', 'c.tif']


def write(out, listed=NAMES, rows=NAMES, drawn=NAMES, left=()) -> None:
    (out / 'overlays').mkdir()
    (out / 'images.json').write_text(json.dumps({'images': [{'file_name': name} for name in listed]}))
    (out / 'counts.csv').write_text('\n'.join(['image,total', *(f'{name},1' for name in rows)]) + '\n')
    for name in drawn:
        (out / 'overlays' / f'{name}.png').touch()
    for name in left:
        (out / name).write_text('{}\n{"number":0,}\n{"number":1,}\n{"number":1,}\n{"number":2')  # 1 was done again


@pytest.mark.parametrize(
    ('files', 'peaks', 'done', 'word'),
    [
        ({}, [100, 120, 110], [0, 0, 2, 3], 'each once'),
        ({}, [20, 100, 140], [0, 0, 2, 3], 'each once'),  # the first was killed while it started
        ({}, [100, 151], [0, 2, 3], 'WRONG: it grows'),
        ({}, [100, 100, 100], [0, 2, 1, 3], 'WRONG: a kill lost what was done'),
        ({'listed': ['a.tif', 'a.tif', 'c.tif']}, [100], [0, 3], 'WRONG'),
        ({'rows': NAMES[:2]}, [100], [0, 3], 'counted 2'),
        ({'drawn': [*NAMES, 'd.tif']}, [100], [0, 3], 'drawn 4'),
        ({'left': ['unfinished.jsonl']}, [100], [0, 3], 'left behind: unfinished.jsonl'),
    ],
)
def test_verdict(tmp_path, capsys, files, peaks, done, word):
    write(tmp_path, **files)
    assert judge(ARGS, tmp_path, peaks, done, 1.0) == (word != 'each once')
    assert word in capsys.readouterr().out
    assert journalled(tmp_path) == (2 if 'left' in files else 0)
