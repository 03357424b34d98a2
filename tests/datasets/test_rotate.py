from __future__ import annotations

import numpy as np
import pytest
from mmdet.datasets.transforms import RandomFlip

from mmcell.datasets.transforms.rotate import RandomQuarterTurn


@pytest.mark.parametrize('seed', range(8))
def test_against_numpy(scene, check_cells, seed):
    before = {**scene(seed), 'scale_factor': (2.0, 3.0)}
    np.random.seed(seed)
    after = RandomQuarterTurn()(dict(before))
    np.random.seed(seed)
    np.random.rand()
    quarters = np.random.randint(4)
    assert np.array_equal(after['img'], np.rot90(before['img'], quarters))
    assert np.array_equal(after['gt_masks'].to_ndarray(), np.rot90(before['gt_masks'].to_ndarray(), quarters, (1, 2)))
    assert after['scale_factor'] == ((3.0, 2.0) if quarters % 2 else (2.0, 3.0))
    check_cells(after, edge=0)


def test_all_quarters_are_as_likely():
    np.random.seed(0)
    image = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    first = [RandomQuarterTurn()({'img': image})['img'][0, 0, 0] for _ in range(1000)]
    assert min(np.bincount(first)) > 200
    first = [RandomQuarterTurn(0.4)({'img': image})['img'][0, 0, 0] for _ in range(1000)]
    assert 650 < first.count(0) < 750


def test_all_eight_orientations_with_flips(scene, check_cells):
    np.random.seed(0)
    before = scene(0, 30, 30)
    seen = set()
    for _ in range(100):
        after = RandomQuarterTurn()(RandomFlip(prob=0.5)({**before, 'gt_bboxes': before['gt_bboxes'].clone()}))
        check_cells(after, edge=0)
        seen.add(after['img'].tobytes())
    assert len(seen) == 8


def test_bad_arguments():
    with pytest.raises(ValueError, match='prob'):
        RandomQuarterTurn(2)
