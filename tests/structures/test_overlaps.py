"""Pairs of masks that share pixels against all pairs of bitmaps."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell.structures import overlaps
from mmcell.structures.overlaps import find_overlaps, find_self_overlaps
from mmcell.structures.rle import encode_label_map, find_runs
from mmcell.structures.run_geometry import place
from tests.structures.run_cases import bitmaps, to_runs


def shared(first, second):
    return np.einsum('ayx,byx->ab', first.astype(int), second.astype(int))


def listed(pairs):
    return list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.pixels.tolist()))


@settings(deadline=None, max_examples=200)
@given(bitmaps(), st.randoms(use_true_random=False), st.sampled_from([1, 3, 1 << 20]))
def test_pairs_of_two_sets(masks, random, chunk):
    first = masks[[random.randrange(len(masks)) for _ in range(4)]] if len(masks) else masks
    expected = [(int(a), int(b), int(shared(first, masks)[a, b])) for a, b in np.argwhere(shared(first, masks))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlaps, '_CHUNK', chunk)
        assert listed(find_overlaps(to_runs(first), to_runs(masks))) == expected


@settings(deadline=None, max_examples=200)
@given(bitmaps(count=6), st.sampled_from([1, 3, 1 << 20]))
def test_pairs_of_one_set(masks, chunk):
    table = np.triu(shared(masks, masks), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlaps, '_CHUNK', chunk)
        pairs = find_self_overlaps(to_runs(masks))
    assert listed(pairs) == [(int(a), int(b), int(table[a, b])) for a, b in np.argwhere(table)]


def test_images_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match='no place in common'):
        find_overlaps(to_runs(np.ones((1, 2, 3), dtype=bool)), to_runs(np.ones((1, 3, 2), dtype=bool)))


def test_memory_grows_with_the_pairs_and_not_with_their_product():
    rows, columns = np.mgrid[:500, :500]
    plane = np.where((rows % 5 < 4) & (columns % 5 < 4), rows // 5 * 100 + columns // 5 + 1, 0)
    cells = find_runs(plane)[1]
    assert len(cells) == len(encode_label_map(plane).ids) == 10_000
    shifted = place(cells, (2, 2), (500, 500))
    tracemalloc.start()
    pairs = find_overlaps(cells, shifted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Each shifted cell meets four, at the far borders two or one; 10,000 x 10,000 numbers would take 800 MB.
    assert len(pairs) == 199**2
    assert peak < 40e6
