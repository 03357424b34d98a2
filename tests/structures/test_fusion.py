"""Fused predictions against a slow reference on bitmaps, and what must hold of any fusion."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmcell.structures import overlaps
from mmcell.structures.fusion import Predictions, fuse
from mmcell.structures.rle import decode

SIZE = (16, 24)


def predict(bitmaps, scores, labels, boxes=None):
    """Predictions with these masks; boxes that are not given are tight."""
    bitmaps = np.asarray(bitmaps, dtype=np.uint8).reshape(-1, *SIZE)
    masks = decode(coco_mask.encode(np.asfortranarray(bitmaps.transpose(1, 2, 0))), SIZE)
    if boxes is None:
        boxes = masks.boxes + np.pad(masks.boxes[:, :2], ((0, 0), (2, 0)))
    return Predictions(
        np.array(boxes, dtype=float).reshape(-1, 4), np.array(scores, dtype=float), np.array(labels, dtype=int), masks
    )


def rectangle(x1, y1, x2, y2):
    bitmap = np.zeros(SIZE, dtype=np.uint8)
    bitmap[y1:y2, x1:x2] = 1
    return bitmap


def draw_member(rng, count, ties=False):
    """Rectangles with holes in few places, so that they often agree; no two of one score unless `ties`."""
    bitmaps = []
    for _ in range(count):
        x, y = rng.integers(0, 3) * 7 + rng.integers(0, 2), rng.integers(0, 2) * 7 + rng.integers(0, 2)
        bitmap = rectangle(x, y, x + rng.integers(4, 7), y + rng.integers(4, 7))
        bitmaps.append(bitmap & (rng.random(SIZE) < rng.choice([0, 0.9, 1], p=[0.05, 0.45, 0.5])))
    scores = rng.integers(0, 4, count) / 4 if ties else rng.random(count)
    boxes = rng.uniform(0, 10, (count, 4))
    return predict(bitmaps, scores, rng.integers(0, 2, count), boxes)


members = st.builds(
    lambda seed, counts: [draw_member(np.random.default_rng((seed, i)), n) for i, n in enumerate(counts)],
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 7), min_size=1, max_size=4),
)


def bitmaps_of(predictions):
    if not len(predictions):
        return np.zeros((0, *SIZE), dtype=np.uint8)  # pycocotools returns what memory holds
    return coco_mask.decode(predictions.masks.encode()).reshape(*SIZE, -1).transpose(2, 0, 1)


def assert_equal(some, other, atol=0.0):
    assert some.masks.encode() == other.masks.encode()
    assert some.labels.tolist() == other.labels.tolist()
    np.testing.assert_allclose(some.scores, other.scores, rtol=0, atol=atol)
    np.testing.assert_allclose(some.boxes, other.boxes, rtol=0, atol=atol)


def slow_fuse(members, weights, iou_thr, method):
    """The rule in loops over bitmaps: boxes, scores, labels and masks, by falling score."""
    found = []
    for owner, member in enumerate(members):
        for box, score, label, mask in zip(member.boxes, member.scores, member.labels, bitmaps_of(member)):
            if mask.any():
                found.append((score * weights[owner], owner, box, score, label, mask.astype(bool)))
    found.sort(key=lambda each: -each[0])
    clusters = []
    for each in found:
        ious = []
        for cluster in clusters:
            best = cluster[0]
            iou = (best[5] & each[5]).sum() / (best[5] | each[5]).sum()
            owners = {other[1] for other in cluster}
            taken = each[1] == best[1] if method == 'nms' else each[1] in owners
            ious.append(0 if best[4] != each[4] or taken or iou < iou_thr else iou)
        if max(ious, default=0) > 0:
            clusters[int(np.argmax(ious))].append(each)
        else:
            clusters.append([each])
    fused = []
    for cluster in clusters:
        best = cluster[0]
        if method == 'nms':
            fused.append((best[3], best[2], best[4], best[5]))
            continue
        total = sum(each[0] for each in cluster)
        box = sum(each[0] * each[2] for each in cluster) / total
        votes = sum(each[0] * each[5] for each in cluster)
        mean = total / sum(weights[each[1]] for each in cluster)
        mask = votes >= total / 2 - 1e-9
        # With equal weights this factor is n / N, equation 6 of Solovyev et al.
        agreement = sum(weights[each[1]] for each in cluster) / sum(weights)
        fused.append((mean * agreement, box, best[4], mask if mask.any() else best[5]))
    fused.sort(key=lambda each: -each[0])
    scores, boxes, labels, masks = zip(*fused) if fused else ([], [], [], [])
    return predict(masks, scores, labels, boxes)


@settings(deadline=None, max_examples=150)
@given(members, st.data(), st.sampled_from([0.2, 0.5, 0.8]), st.sampled_from(['wbf', 'nms']))
def test_the_slow_reference(members, data, iou_thr, method):
    weights = [data.draw(st.sampled_from([1.0, 2.0, 0.7])) for _ in members]
    expected = slow_fuse(members, weights, iou_thr, method)
    assert_equal(fuse(members, weights, iou_thr, method), expected, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(members, st.sampled_from(['wbf', 'nms']))
def test_a_member_alone_stays_as_it_is(members, method):
    member = members[0].select(np.flatnonzero(members[0].masks.areas))
    expected = member.select(np.argsort(-member.scores, kind='stable'))
    assert_equal(fuse(members[:1], iou_thr=0.1, method=method), expected)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.booleans())
def test_copies_change_nothing(seed, copies, ties):
    member = draw_member(np.random.default_rng(seed), 10, ties)
    rounded = fuse([member] * copies)
    assert_equal(rounded, fuse([member]), atol=1e-12)


@settings(deadline=None, max_examples=80)
@given(members, st.randoms(use_true_random=False), st.sampled_from(['wbf', 'nms']))
def test_the_order_of_members_does_not_matter(members, random, method):
    weights = [1.0 + index / 7 for index in range(len(members))]
    order = list(range(len(members)))
    random.shuffle(order)
    shuffled = fuse([members[i] for i in order], [weights[i] for i in order], method=method)
    assert_equal(shuffled, fuse(members, weights, method=method), atol=1e-12)


@settings(deadline=None, max_examples=80)
@given(members)
def test_what_agrees_is_one_prediction(members):
    """Of non-maximum suppression no two that agree are left, unless one member gave both."""
    kept = fuse(members, iou_thr=0.5, method='nms')
    masks = bitmaps_of(kept).astype(bool)
    alone = [{mask['counts'] for mask in member.masks.encode()} for member in members]
    texts = [mask['counts'] for mask in kept.masks.encode()]
    for i in range(len(kept)):
        for j in range(i):
            iou = (masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()
            together = any(texts[i] in texts_of and texts[j] in texts_of for texts_of in alone)
            assert kept.labels[i] != kept.labels[j] or iou < 0.5 or together


def test_agreement_raises_the_score_and_averages_box_and_mask():
    one = predict([rectangle(2, 2, 8, 8), rectangle(15, 2, 20, 8)], [0.8, 0.9], [0, 1], [[2, 2, 8, 8], [15, 2, 20, 8]])
    two = predict([rectangle(3, 2, 8, 8)], [0.6], [0], [[3, 2, 8, 8]])
    three = predict([rectangle(3, 2, 9, 8)], [0.6], [0], [[3, 2, 9, 8]])
    fused = fuse([one, two, three])
    assert fused.scores == pytest.approx([2 / 3, 0.3])
    assert fused.labels.tolist() == [0, 1]
    # Column 2 has 0.8 of 2 votes, column 8 has 0.6.
    np.testing.assert_array_equal(bitmaps_of(fused), [rectangle(3, 2, 8, 8), rectangle(15, 2, 20, 8)])
    np.testing.assert_allclose(fused.boxes[0], [(0.8 * 2 + 0.6 * 3 + 0.6 * 3) / 2, 2, (8 * 0.8 + 8 * 0.6 + 5.4) / 2, 8])


def test_half_of_the_votes_suffices_and_classes_stay_apart():
    one = predict([rectangle(2, 2, 8, 8)], [0.5], [0])
    two = predict([rectangle(3, 2, 9, 8), rectangle(3, 2, 9, 8)], [0.5, 0.4], [0, 1])
    fused = fuse([one, two])
    np.testing.assert_array_equal(bitmaps_of(fused), [rectangle(2, 2, 9, 8), rectangle(3, 2, 9, 8)])


def test_zero_scores_and_nothing_at_all():
    nothing = predict([], [], [])
    assert len(fuse([nothing, nothing])) == 0
    zero = predict([rectangle(2, 2, 8, 8)], [0], [1])
    assert_equal(fuse([zero, nothing, zero]), zero)


def test_pairs_are_compared_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    members = [draw_member(rng, 12) for _ in range(3)]
    expected = fuse(members)
    monkeypatch.setattr(overlaps, '_CHUNK', 3)
    assert_equal(fuse(members), expected)


def test_bad_arguments():
    one = predict([rectangle(2, 2, 8, 8)], [0.5], [0])
    other = Predictions(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=int), decode([], (3, 3)))
    with pytest.raises(ValueError, match='one image'):
        fuse([one, other])
    with pytest.raises(ValueError, match='one image'):
        fuse([])
    for weights in ([1], [1, 0], [1, float('nan')]):
        with pytest.raises(ValueError, match='2 weights greater than 0'):
            fuse([one, one], weights)
    with pytest.raises(ValueError, match='wbf or nms'):
        fuse([one], method='soft')


def test_probabilities_are_means_over_members():
    """Of a member that found nothing, all of it is for none of the classes; the score is that of the class."""
    cell, other = rectangle(2, 2, 8, 8), rectangle(12, 2, 18, 8)
    both, one, none = predict([cell, other], [0.8, 0.6], [0, 1]), predict([cell], [0.5], [0]), predict([], [], [])
    both = dataclasses.replace(both, probabilities=np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2]]))
    one = dataclasses.replace(one, probabilities=np.array([[0.5, 0.3, 0.2]]))
    fused = fuse([both, one, none], weights=[2, 1, 1])
    expected = [[(2 * 0.8 + 0.5) / 4, (2 * 0.1 + 0.3) / 4], [2 * 0.2 / 4, 2 * 0.6 / 4]]
    np.testing.assert_allclose(fused.probabilities[:, :2], expected, atol=1e-12)
    np.testing.assert_allclose(fused.probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(fused.probabilities[[0, 1], fused.labels], fused.scores)
    kept = fuse([both, one, none], method='nms')
    assert kept.probabilities.tolist() == both.probabilities.tolist()
    # Where a member does not know them, or knows other classes, nobody does.
    for stranger in (predict([cell], [0.5], [0]), dataclasses.replace(one, probabilities=np.ones((1, 2)) / 2)):
        assert fuse([both, stranger]).probabilities is None
