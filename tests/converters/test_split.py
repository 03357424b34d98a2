from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.converters.split import explain_empty_val, split_folds, split_names
from mmcell.errors import InputError


@pytest.mark.parametrize('count', [1, 4, 5, 209])
def test_the_reference_rule(count):
    names = [f'image{index * 7919 % count:04d}' for index in range(count)]
    shuffled = sorted(names)
    random.seed(42)
    random.shuffle(shuffled)
    size = int(0.2 * count)
    assert split_names(names) == (sorted(shuffled[size:]), sorted(shuffled[:size]))


def test_singleton_groups_change_nothing():
    names = [f'image{index:03d}' for index in range(50)]
    assert split_names(names, group_by=r'image\d+') == split_names(names)


@pytest.mark.parametrize('seed', range(5))
def test_groups_stay_on_one_side(seed):
    names = [f'tile{tile:02d}_crop{crop}' for tile in range(12) for crop in range(1 + tile % 4)]
    train, val = split_names(names, 0.3, seed, r'(tile\d+)_')
    assert sorted(train + val) == sorted(names)
    assert not {name[:6] for name in train} & {name[:6] for name in val}
    assert 0 < len(val) <= 0.3 * len(names)


group_sizes = st.lists(st.integers(1, 5), min_size=2, max_size=25)


@given(group_sizes, st.data(), st.integers(0, 5))
def test_folds_are_a_partition_that_keeps_groups_together(sizes, data, seed):
    names = [f'tile{tile:02d}_crop{crop}' for tile, size in enumerate(sizes) for crop in range(size)]
    folds = data.draw(st.integers(2, len(sizes)))
    rng = np.random.default_rng(seed)
    cells = {name: rng.integers(0, 9, 3).tolist() for name in names}
    parts = split_folds(names, folds, cells, seed, r'tile\d+')
    assert sorted(name for part in parts for name in part) == names
    assert all(part == sorted(part) and part for part in parts)
    owners = {name[:6]: {index for index, part in enumerate(parts) if name in part} for name in names}
    for name in names:
        assert owners[name[:6]] == {index for index, part in enumerate(parts) if name in part}
    counts = [len(part) for part in parts]
    assert max(counts) - min(counts) <= max(sizes)
    # The order of the names does not matter, the seed alone decides.
    assert split_folds(names[::-1], folds, cells, seed, r'tile\d+') == parts


def test_folds_of_single_images_are_as_even_as_can_be():
    names = [f'image{index:03d}' for index in range(23)]
    parts = split_folds(names, 5, {name: [1] for name in names})
    assert sorted(map(len, parts)) == [4, 4, 5, 5, 5]
    assert split_folds(names, 5, {name: [1] for name in names}, seed=1) != parts


def test_rare_cells_are_spread():
    """Better than without a look at the cells, whatever the seed."""
    rng = np.random.default_rng(0)
    names = [f'image{index:03d}' for index in range(60)]
    cells = {name: [int(rng.integers(20, 90)), 30 * (rng.random() < 0.15)] for name in names}
    blind = {name: [1] for name in names}

    def spread(parts):
        shares = np.array([[sum(cells[name][each] for name in part) for each in (0, 1)] for part in parts])
        return (shares / shares.sum(axis=0)).std(axis=0).sum()

    even = [spread(split_folds(names, 4, cells, seed)) for seed in range(10)]
    uneven = [spread(split_folds(names, 4, blind, seed)) for seed in range(10)]
    assert np.mean(even) < 0.5 * np.mean(uneven)


@pytest.mark.parametrize('folds', [-1, 0, 1, 4])
def test_more_folds_than_groups(folds):
    names = [f'tile{tile}_crop{crop}' for tile in range(3) for crop in range(4)]
    with pytest.raises(
        InputError, match=rf'^--folds: {folds} folds cannot be made of 3 groups of images; give 2 to 3$'
    ):
        split_folds(names, folds, {name: [1] for name in names}, group_by=r'tile\d')
    with pytest.raises(InputError, match='2 folds cannot be made of 1 images; leave it out'):
        split_folds(['one'], 2, {'one': [1]})


@pytest.mark.parametrize('group_by', [None, r'tile\d+'])
@pytest.mark.parametrize('tiles', range(1, 8))
def test_the_cure_of_an_empty_val_split(group_by, tiles):
    """What it advises gives a val image, and leaves one in train."""
    names = [f'tile{tile:02d}_crop{crop}' for tile in range(tiles) for crop in range(1 + tile % 3)]
    advice = explain_empty_val(names, 0.01, group_by)
    if len(names) == 1:
        assert advice == 'one image cannot be split; annotate another one, or cut it into two'
        return
    ratio = float(advice.removeprefix('give --val-ratio ').removesuffix(' or more'))
    train, val = split_names(names, ratio, group_by=group_by)
    assert train and val
    assert split_names(names, ratio - 0.011, group_by=group_by)[1] == []


def test_the_cure_where_all_is_one_group():
    names = ['a_1', 'a_2', 'a_3']
    assert explain_empty_val(names, 0.9, 'a').endswith("--group-by '.*' splits them image by image")
    assert split_names(names, 0.9, group_by='.*')[1]
    assert explain_empty_val(names, 0) == 'as --val-ratio 0 requests'
