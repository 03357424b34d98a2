"""Which views of cells stay, on small scenes and against a slow reference."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmcell.structures import seams
from mmcell.structures.rle import decode
from mmcell.structures.seams import resolve_seams

SIZE = (20, 40)
WINDOWS = np.array([[0, 0, 24, 20], [16, 0, 40, 20]])


def resolve(views, windows=WINDOWS, size=SIZE, **kwargs):
    """Resolve rectangles given as (x1, y1, x2, y2, score, label, tile)."""
    values = np.array(views, dtype=float).reshape(-1, 7)
    bitmaps = np.zeros((*size, len(values)), dtype=np.uint8, order='F')
    for i, (x1, y1, x2, y2) in enumerate(values[:, :4].astype(int)):
        bitmaps[y1:y2, x1:x2, i] = 1
    masks = decode(coco_mask.encode(bitmaps), size)
    tiles = values[:, 6].astype(int)
    return resolve_seams(
        values[:, :4], values[:, 4], values[:, 5].astype(int), masks, tiles, windows, **kwargs
    ).tolist()


@pytest.mark.parametrize(
    ('views', 'kept'),
    [
        pytest.param([], [], id='nothing'),
        pytest.param([(2, 2, 9, 9, 0.9, 0, 0), (30, 2, 36, 9, 0.8, 0, 1)], [0, 1], id='apart'),
        pytest.param([(18, 2, 22, 9, 0.8, 0, 0), (19, 2, 22, 9, 0.9, 0, 1)], [1], id='both whole: the better score'),
        pytest.param([(18, 2, 24, 9, 0.9, 0, 0), (19, 2, 30, 9, 0.1, 0, 1)], [1], id='half and whole: the whole one'),
        pytest.param([(10, 2, 21, 9, 0.1, 0, 0), (16, 2, 21, 9, 0.9, 1, 1)], [0], id='half of another class'),
        pytest.param([(18, 2, 24, 9, 0.9, 0, 0)], [], id='half of what the other tile does not see'),
        pytest.param([(10, 2, 24, 9, 0.9, 0, 0), (16, 2, 31, 9, 0.8, 0, 1)], [1], id='two halves: the larger'),
        pytest.param([(10, 2, 24, 9, 0.9, 0, 0)], [0], id='cut, and not whole elsewhere'),
        pytest.param([(18, 2, 22, 9, 0.8, 0, 0), (18, 2, 22, 9, 0.7, 1, 1)], [0, 1], id='two classes'),
        pytest.param([(18, 2, 22, 9, 0.8, 0, 0), (18, 2, 22, 9, 0.7, 0, 0)], [0, 1], id='one tile'),
        pytest.param([(17, 2, 19, 9, 0.8, 0, 0), (20, 2, 22, 9, 0.7, 0, 1)], [0, 1], id='neighbours'),
        pytest.param([(0, 0, 9, 20, 0.8, 0, 0)], [0], id='at the border of the image nothing is cut'),
    ],
)
def test_scenes(views, kept):
    assert resolve(views, margin=1) == kept


def test_the_margin_says_what_touches():
    views = [(17, 2, 22, 9, 0.1, 0, 0), (19, 2, 22, 9, 0.9, 0, 1)]
    assert resolve(views, margin=1) == [1]
    # In a margin of 3 the view of the second tile counts as cut, in that of the first as whole.
    assert resolve([(14, 2, 20, 9, 0.1, 0, 0), (18, 2, 20, 9, 0.9, 0, 1)], margin=3) == [0]


def test_the_threshold_says_what_agrees():
    views = [(18, 2, 22, 12, 0.9, 0, 0), (18, 2, 22, 8, 0.8, 0, 1)]  # IoU 0.6
    assert resolve(views, margin=1, iou_thr=0.6) == [0]
    assert resolve(views, margin=1, iou_thr=0.61) == [0, 1]


def test_the_slack_says_how_far_outside_its_part_a_tile_is_heard():
    views = [(20, 2, 23, 9, 0.9, 0, 0), (17, 2, 18, 9, 0.8, 1, 1)]  # centers 1.5 beyond and 2.5 before the middle, 20
    assert resolve(views, margin=0, slack=2.5) == [0, 1]
    assert resolve(views, margin=0, slack=2) == [0]
    assert resolve(views, margin=0, slack=1) == []


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 25),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0.3, 0.5]),
    st.sampled_from([0, 1, 3.5, 8]),
)
def test_views_are_chosen_as_the_slow_reference_does(seed, count, margin, iou_thr, slack):
    rng = np.random.default_rng(seed)
    windows = np.array([[x, y, x + 20, y + 14] for y in (0, 6) for x in (0, 10, 20)])
    tiles = rng.integers(0, 6, count)
    corners = windows[tiles, :2] + rng.integers(0, [15, 10], (count, 2))
    boxes = np.concatenate([corners, np.minimum(corners + rng.integers(1, 12, (count, 2)), windows[tiles, 2:])], axis=1)
    scores, labels = rng.permutation(count) / 100, rng.integers(0, 2, count)
    views = np.column_stack([boxes, scores, labels, tiles])
    expected = slow_resolve(boxes, scores, labels, tiles, windows, iou_thr, margin, slack)
    assert resolve(views, windows, margin=margin, iou_thr=iou_thr, slack=slack) == expected


def slow_resolve(boxes, scores, labels, tiles, windows, iou_thr, margin, slack):
    height, width = SIZE

    def inside(box, window):
        borders = [(window[0], 0), (window[1], 0), (window[2], width), (window[3], height)]
        gaps = [box[0] - window[0], box[1] - window[1], window[2] - box[2], window[3] - box[3]]
        return all(gap > margin or (border == edge and gap >= 0) for gap, (border, edge) in zip(gaps, borders))

    def pixels(i, window):
        x1, y1, x2, y2 = boxes[i]
        return {
            (x, y)
            for x in range(max(x1, window[0]), min(x2, window[2]))
            for y in range(max(y1, window[1]), min(y2, window[3]))
        }

    def area(i):
        return (boxes[i][2] - boxes[i][0]) * (boxes[i][3] - boxes[i][1])

    def outside(i):
        """How far the center lies beyond the middle of what its tile shares with a neighbor."""
        x1, y1, x2, y2 = windows[tiles[i]]
        x, y = (boxes[i][0] + boxes[i][2]) / 2, (boxes[i][1] + boxes[i][3]) / 2
        beyond = [0]
        for other in windows:
            if other[1] == y1 and abs(other[0] - x1) == 10:
                beyond.append((x - (x2 + other[0]) / 2) if other[0] > x1 else ((x1 + other[2]) / 2 - x))
            if other[0] == x1 and abs(other[1] - y1) == 6:
                beyond.append((y - (y2 + other[1]) / 2) if other[1] > y1 else ((y1 + other[3]) / 2 - y))
        return max(beyond)

    cut = [not inside(box, windows[tile]) for box, tile in zip(boxes, tiles)]
    left = [i for i in range(len(boxes)) if outside(i) <= slack]
    left = [i for i in left if not (cut[i] and any(inside(boxes[i], window) for window in windows))]
    left.sort(key=lambda i: (cut[i], -area(i) if cut[i] else 0, -scores[i]))
    kept = []
    for i in left:
        for j in kept:
            a, b = pixels(i, windows[tiles[j]]), pixels(j, windows[tiles[i]])
            same = labels[i] == labels[j] and tiles[i] != tiles[j] and a & b
            if same and len(a & b) >= iou_thr * len(a | b):
                break
        else:
            kept.append(i)
    return sorted(kept)


def test_many_pairs_are_compared_in_parts(monkeypatch):
    views = [(x, 2, x + 3, 9, 0.5 + tile / 10, 0, tile) for x in (18, 19, 17) for tile in (0, 1)]
    expected = resolve(views, margin=0)
    monkeypatch.setattr(seams, '_CHUNK', 2)
    assert resolve(views, margin=0) == expected


def test_empty_masks_are_no_pairs():
    """Five thousand of them: some 25 million pairs would take half a gigabyte."""
    count = 5000
    empty = decode([dict(size=list(SIZE), counts=[SIZE[0] * SIZE[1]])] * count, SIZE)
    boxes, tiles = np.tile([[18.0, 2, 22, 9]], (count, 1)), np.arange(count) % 2
    tracemalloc.start()
    kept = resolve_seams(boxes, np.full(count, 0.5), np.zeros(count, dtype=int), empty, tiles, WINDOWS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept.tolist() == list(range(count)) and peak < 50e6
