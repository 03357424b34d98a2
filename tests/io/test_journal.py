"""A journal: whatever is cut off, all whole records are there, and nothing else."""

from __future__ import annotations

import pytest

from mmcell.errors import InputError
from mmcell.io.journal import Journal

HEADER = {'call': 1, 'names': ['é', 'b\t']}
RECORDS = {3: ({'name': 'a\tb\nc'}, [1, {'x': '\t\n'}]), 1: ({'name': 'd'}, []), 2: ({'name': 'e'}, [0.1] * 5)}


def write(path) -> list[int]:
    """Returns the sizes that the file had after each line."""
    journal, sizes = Journal(path), []
    journal.start(HEADER)
    for number, record in [(None, None), *RECORDS.items()]:
        if record is not None:
            journal.add(number, *record)
        sizes.append(path.stat().st_size)
    journal.close()
    return sizes


def read(path) -> tuple:
    journal = Journal(path)
    content = {number: (summary, journal.content(number)) for number, summary in journal.summaries.items()}
    journal.close()
    return journal.header, content


def test_cut_off_anywhere(tmp_path):
    path = tmp_path / 'folder/journal'
    sizes = write(path)
    data = path.read_bytes()
    near = {end + more for end in sizes for more in (-1, 0, 1)}
    for size in sorted({*range(0, len(data), 9), *near}):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in sizes)
        kept = dict(list(RECORDS.items())[: max(whole - 1, 0)])
        assert read(path) == (HEADER if whole else None, kept)
        journal = Journal(path)
        if whole:
            journal.add(9, {'name': 'new'}, 'more')
            journal.close()
            assert read(path) == (HEADER, {**kept, 9: ({'name': 'new'}, 'more')})
        journal.close()


def test_later_records_replace_earlier_ones(tmp_path):
    write(tmp_path / 'journal')
    journal = Journal(tmp_path / 'journal')
    journal.add(1, {'name': 'again'}, 5)
    journal.close()
    assert read(tmp_path / 'journal') == (HEADER, {**RECORDS, 1: ({'name': 'again'}, 5)})


OTHERS = (b'', b'text\n', b'[1]\n', b'{}\n\n', b'{}\n5\t5\n', b'{}\n{"number":[]}\t5\n', b'[' * 10**5 + b'\n')


@pytest.mark.parametrize('data', OTHERS, ids=range(len(OTHERS)))
def test_what_is_no_journal_is_left_alone(tmp_path, data):
    path = tmp_path / 'journal'
    path.write_bytes(data)
    assert read(path) == (None, {}) and path.read_bytes() == data


def test_one_process_at_a_time(tmp_path):
    write(tmp_path / 'journal')
    journal = Journal(tmp_path / 'journal')
    with pytest.raises(InputError, match='in use by another process'):
        Journal(tmp_path / 'journal')
    journal.close()
    Journal(tmp_path / 'journal').close()
    late = Journal(tmp_path / 'new')
    write(tmp_path / 'new')
    with pytest.raises(InputError, match='in use by another process'):
        late.start(HEADER)
