from __future__ import annotations

import random

import pytest

from mmcell.converters.split import split_names


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
