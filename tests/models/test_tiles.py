import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell.models.tiles import tile_windows


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 120), st.data())
def test_whatever_is_no_larger_than_the_overlap_lies_whole_in_a_tile(height, width, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    windows = tile_windows((height, width), tile, overlap)
    for axis, side in ((0, width), (1, height)):
        starts, ends = np.unique(windows[:, axis]), np.unique(windows[:, axis + 2])
        assert starts[0] == 0 and ends[-1] == side and len(starts) == len(ends)
        assert (ends - starts == min(tile, side)).all()
        assert (ends[:-1] - starts[1:] >= overlap).all()
        # With one tile less they would not reach.
        assert len(starts) == 1 or tile + (len(starts) - 2) * (tile - overlap) < side
    assert len(np.unique(windows, axis=0)) == len(windows)


def test_rows_of_tiles():
    assert tile_windows((5, 10), 6, 2).tolist() == [[0, 0, 6, 5], [4, 0, 10, 5]]
    assert tile_windows((6, 6), 6, 5).tolist() == [[0, 0, 6, 6]]


@pytest.mark.parametrize('overlap', [-1, 6, 7])
def test_an_overlap_that_leaves_no_step_is_refused(overlap):
    with pytest.raises(ValueError, match='less than the tile of 6 pixels'):
        tile_windows((9, 9), 6, overlap)
