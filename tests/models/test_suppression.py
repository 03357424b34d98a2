"""mmcv's suppression of boxes: in any memory layout, and level by level."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import batched_nms, nms, soft_nms


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.booleans())
@settings(deadline=None, max_examples=40)
def test_suppression_takes_boxes_of_any_layout(seed, count, by_column):
    """mmcv's suppression copies what it reads: columns of a wider array, transposed boxes, views of scores."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (count, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + rng.uniform(1, 20, (count, 2))], axis=1)).float()
    scores = torch.tensor(rng.permutation(count) / count).float()
    labels = torch.tensor(rng.integers(0, 3, count))
    wide = torch.cat([boxes, scores[:, None], labels[:, None]], dim=1)
    wide = wide.t().contiguous().t() if by_column else wide
    assert count == 1 or not wide[:, :4].is_contiguous()
    cfg = dict(type='nms', iou_threshold=0.3)
    kept = nms(wide[:, :4], wide[:, 4], 0.3)
    assert kept[1].tolist() == _suppress(boxes.numpy(), scores.numpy())
    assert all(map(torch.equal, kept, nms(boxes, scores, 0.3)))
    ours, expected = (batched_nms(*each, labels, cfg) for each in ((wide[:, :4], wide[:, 4]), (boxes, scores)))
    assert all(map(torch.equal, ours, expected))
    if not by_column:  # of boxes that lie column by column in memory, soft suppression mixes up the caller's own
        assert all(map(torch.equal, soft_nms(wide[:, :4], wide[:, 4], 0.3), soft_nms(boxes, scores, 0.3)))


def _suppress(boxes, scores, threshold=0.3):
    kept = []
    for i in np.argsort(-scores):
        for j in kept:
            sides = (np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])).clip(0)
            areas = [(boxes[k, 2:] - boxes[k, :2]).prod() for k in (i, j)]
            if sides.prod() / (sum(areas) - sides.prod()) > threshold:
                break
        else:
            kept.append(i)
    return kept


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
@settings(deadline=None, max_examples=60)
def test_level_by_level_keeps_the_same(seed, count):
    """`split_thr=1`, as our configs have it, changes nothing; the order of equal scores is arbitrary anyway."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (count, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + rng.uniform(1, 20, (count, 2))], axis=1)).float()
    scores = torch.tensor(rng.permutation(count) / count).float()
    levels = torch.tensor(rng.integers(0, 3, count))
    cfg = dict(type='nms', iou_threshold=0.3)
    expected = batched_nms(boxes, scores, levels, cfg)
    assert all(map(torch.equal, batched_nms(boxes, scores, levels, dict(cfg, split_thr=1)), expected))
