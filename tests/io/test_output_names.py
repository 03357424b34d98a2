"""Names of output files: unique on any file system, safe on all, the same again."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.io.output_names import MAX_BYTES, readable, unique_stems

#: Few letters, so that names clash: parts that join to the same, endings, case, a composed and a decomposed letter.
PARTS = st.text(alphabet='aAb._é\u0301*\udce9', min_size=1, max_size=4).filter(lambda part: part.strip('.'))
PATHS = st.lists(PARTS, min_size=1, max_size=3).map('/'.join)


def folded(name: str) -> str:
    return unicodedata.normalize('NFC', name).casefold()


@given(st.lists(PATHS, max_size=12), st.randoms())
def test_names_are_unique_safe_and_the_same_in_any_order(paths, random):
    names = unique_stems(paths)
    assert len({folded(name) for name in names}) == len(names) == len(paths)
    for name in names:
        assert 0 < len(name.encode()) <= MAX_BYTES
        assert not name.startswith('.') and not set(name) & set('/\\*?:"<>|\0')
    if len(set(paths)) == len(paths):
        shuffled = list(paths)
        random.shuffle(shuffled)
        assert dict(zip(shuffled, unique_stems(shuffled))) == dict(zip(paths, names))


@given(st.lists(PATHS, min_size=2, max_size=8, unique=True))
def test_a_name_that_looks_like_a_made_one(paths):
    """Whatever names were made, images that bear them already get others."""
    made = [f'{name}.png' for name in unique_stems(paths)]
    together = [*paths, *(name for name in made if name not in paths)]
    names = unique_stems(together)
    assert len({folded(name) for name in names}) == len(together)


@pytest.mark.parametrize(
    ('paths', 'names'),
    [
        (['a/b.png', 'a/b_3.png', 'c.png'], ['a_b', 'a_b_3', 'c']),
        (['image.ome.tif', 'odd'], ['image.ome', 'odd']),
        (['/x/y.png', '../z.png'], ['x_y', '_._z']),
        (['con.png', 'COM1.x.png', 'icon.png'], ['_con', '_COM1.x', 'icon']),
        (['caf\udce9.tif', 'b**c.tif', 'e .png'], ['caf_', 'b__c', 'e_']),
        (['.png', '.hidden.png'], ['_png', '_hidden']),
    ],
)
def test_plain_names(paths, names):
    assert unique_stems(paths) == names


@pytest.mark.parametrize('paths', [['a/b.png', 'a_b.png'], ['x.png', 'x.tif'], ['K.png', 'k.png'], ['s.png'] * 3])
def test_names_that_clash(paths):
    names = unique_stems([*paths, 'other.png'])
    assert len({name.lower() for name in names}) == len(paths) + 1 and names[-1] == 'other'
    stems = [path.replace('/', '_').rpartition('.')[0] for path in paths]
    assert all(name.startswith(f'{stem}_') and len(name) == len(stem) + 9 for name, stem in zip(names, stems))


def test_long_names_are_cut_between_letters():
    paths = [f'{"é" * 120}{letter}.png' for letter in 'ab']
    first, second = unique_stems(paths)
    assert first != second and first[:-8] == second[:-8] == 'é' * 45 + '_'
    assert unique_stems(paths[:1]) == [first]
    assert unique_stems(['a' * MAX_BYTES + '.png']) == ['a' * MAX_BYTES]


def test_names_can_be_made_on_this_file_system(tmp_path):
    paths = ['n' * 250 + '.tif', 'b**c.tif', os.fsdecode(b'caf\xe9.tif'), 'a\nb.png', 'a/b.png', 'a_b.png']
    for name in unique_stems(paths):
        (tmp_path / f'.{name}.tmp123456789.abcdefgh_classes.tif').touch()
        (tmp_path / f'{name}.png').touch()
    assert len(list(tmp_path.glob('*.png'))) == len(paths)


def test_readable():
    assert readable(os.fsdecode(b'caf\xe9/\xc3\xa9.tif')) == r'caf\xe9/é.tif'
