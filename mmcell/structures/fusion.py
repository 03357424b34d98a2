"""One cell, found by several models, folds or scales, becomes one prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmcell.structures.overlaps import find_agreeing, unsuppressed
from mmcell.structures.rle import Runs

Method = Literal['wbf', 'nms']

# Votes are counted in whole numbers of this unit, so that halves are halves in whatever order they are added.
_VOTES = 1 << 40


@dataclass(frozen=True)
class Predictions:
    """The predictions of one image.

    Attributes:
        boxes: x1, y1, x2, y2 in pixels, (N, 4) float64.
        scores: (N,) float64, 0 to 1.
        labels: (N,) int64.
        masks: N masks of the size of the image.
        probabilities: Of each class and of none of these, (N, C + 1) float64; None where they are not known.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    masks: Runs
    probabilities: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, index: NDArray[np.integer]) -> Predictions:
        """Some of the predictions, in the order of `index`."""
        probabilities = None if self.probabilities is None else self.probabilities[index]
        return Predictions(
            self.boxes[index], self.scores[index], self.labels[index], self.masks.select(index), probabilities
        )

    @classmethod
    def cat(cls, parts: Sequence[Predictions]) -> Predictions:
        """All predictions of several parts of one image, one part after the other; at least one part.

        Probabilities stay only where all parts that predict anything have them, of as many classes.
        """
        filled = [part for part in parts if len(part)]
        known = [part.probabilities for part in filled if part.probabilities is not None]
        alike = len(known) == len(filled) and len({probabilities.shape[1] for probabilities in known}) == 1
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.labels for part in parts]),
            Runs.cat([part.masks for part in parts]),
            np.concatenate(known) if alike else None,
        )


def fuse(
    members: Sequence[Predictions],
    weights: Sequence[float] | None = None,
    iou_thr: float = 0.55,
    method: Method = 'wbf',
) -> Predictions:
    """Bring the predictions of several members of an ensemble on one image together.

    Weighted boxes fusion (Solovyev, Wang & Gabruseva 2021, Image and Vision Computing 107) with masks in the place of
    boxes: in falling order of weighted score, a prediction joins the cluster of its class whose first, best prediction
    its mask agrees with most, if the IoU is at least `iou_thr`, and founds a cluster otherwise. A cluster becomes one
    prediction. Its score is the mean over all members, those that found nothing there counting as 0, so what members
    agree on rises above the rest; its box is the mean of the boxes, weighted by score; its mask are the pixels to
    which at least half of the votes go, where each prediction votes with its weighted score.

    Probabilities of classes are means over all members likewise; what is missing of a member counts as none of these.

    A cluster takes one prediction of each member, since a member holds apart what it gives apart. So the predictions
    of one member alone stay as they are, and copies of them change nothing.

    Predictions whose mask has no pixel are left out.

    Args:
        members: What each member predicts, on images of one size.
        weights: How much each member counts, (M,), greater than 0; None counts all alike.
        iou_thr: Least IoU of two masks that are one cell.
        method: 'wbf' as above; 'nms' keeps the best of the predictions that agree, as it is.

    Returns:
        The fused predictions, ordered by falling score.

    Raises:
        ValueError: If there is no member, the images differ in size, or the weights do not fit.
    """
    votes = np.ones(len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(members) or len({tuple(member.masks.size) for member in members}) > 1:
        raise ValueError('members must be predictions of one image')
    if votes.shape != (len(members),) or not (np.isfinite(votes) & (votes > 0)).all():
        raise ValueError(f'{len(members)} weights greater than 0 are needed, not {votes.tolist()}')
    found = Predictions.cat(members)
    owners = np.repeat(np.arange(len(members)), [len(member) for member in members])
    filled = np.flatnonzero(found.masks.areas)
    found, owners = found.select(filled), owners[filled]
    weighted = found.scores * votes[owners]
    # Sorted once, so that places are ranks.
    order = np.argsort(-weighted, kind='stable')
    found, owners, weighted = found.select(order), owners[order], weighted[order]
    better, worse, ious = find_agreeing(found.masks, iou_thr)
    matches = (owners[better] != owners[worse]) & (found.labels[better] == found.labels[worse])
    better, worse, ious = better[matches], worse[matches], ious[matches]
    if method == 'nms':
        fused = found.select(unsuppressed(len(found), better, worse))
    elif method == 'wbf':
        fused = _average(found, votes[owners], votes.sum(), _cluster(owners, better, worse, ious))
    else:
        raise ValueError(f'method must be wbf or nms, not {method}')
    return fused.select(np.argsort(-fused.scores, kind='stable'))


def _cluster(
    owners: NDArray[np.int64], better: NDArray[np.int64], worse: NDArray[np.int64], ious: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The cluster of each ranked prediction, (N,), numbered by their best."""
    order = np.argsort(worse, kind='stable')
    better, worse, ious = better[order], worse[order], ious[order]
    founders = np.arange(len(owners))
    voters = {rank: {owner} for rank, owner in enumerate(owners.tolist())}
    bounds = np.searchsorted(worse, np.arange(len(owners) + 1))
    for rank in np.unique(worse).tolist():
        start, end = bounds[rank : rank + 2]
        owner, best = int(owners[rank]), 0.0
        for founder, iou in zip(better[start:end].tolist(), ious[start:end].tolist()):
            if founders[founder] == founder and iou > best and owner not in voters[founder]:
                founders[rank], best = founder, iou
        if best:
            voters[int(founders[rank])].add(owner)
    return np.unique(founders, return_inverse=True)[1]


def _average(
    found: Predictions, weights: NDArray[np.float64], total: float, clusters: NDArray[np.int64]
) -> Predictions:
    """One prediction for each cluster, of ranked predictions with the weights of their members, (N,)."""
    _, best = np.unique(clusters, return_index=True)
    weighted = found.scores * weights
    shares = vote_shares(weighted, clusters)
    boxes = np.stack([np.bincount(clusters, shares * side) for side in found.boxes.T], axis=1, dtype=np.float64)
    scores = np.bincount(clusters, weighted) / total
    masks = majority_masks(found.masks, shares, clusters)
    probabilities = None
    if found.probabilities is not None:
        classes = found.probabilities[:, :-1].T
        means = [np.bincount(clusters, weights * column, minlength=len(best)) / total for column in classes]
        probabilities = np.stack([*means, np.maximum(1 - sum(means), 0)], axis=1)
    return Predictions(boxes.reshape(-1, 4), scores, found.labels[best], masks, probabilities)


def vote_shares(scores: NDArray[np.float64], clusters: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each prediction's score is of the sum over its cluster, (N,); where all scores are 0, all count alike."""
    weights = np.where(np.bincount(clusters, scores)[clusters] > 0, scores, 1)
    return weights / np.bincount(clusters, weights)[clusters]


def majority_masks(masks: Runs, shares: NDArray[np.float64], clusters: NDArray[np.int64]) -> Runs:
    """Of each cluster of masks the pixels to which at least half of the votes go, one mask a cluster.

    Where members agree on no pixel by half, which can be with thresholds below a half, the first of them stays.

    Args:
        masks: N masks.
        shares: What each vote counts, (N,), from :func:`vote_shares`.
        clusters: Cluster of each, (N,), 0 to C - 1, each of which occurs.
    """
    voted = _vote(masks, np.rint(shares * _VOTES).astype(np.int64), clusters)
    empty = np.flatnonzero(voted.areas == 0)
    first = np.unique(clusters, return_index=True)[1]
    chosen = np.arange(len(voted))
    chosen[empty] = len(voted) + np.arange(len(empty))
    return Runs.cat([voted, masks.select(first[empty])]).select(chosen)


def _vote(masks: Runs, votes: NDArray[np.int64], clusters: NDArray[np.int64]) -> Runs:
    """Of each cluster of masks the pixels to which at least half of its votes go, one mask a cluster.

    Args:
        masks: N masks.
        votes: Votes of each, (N,).
        clusters: Cluster of each, (N,), 0 to C - 1, each of which occurs.
    """
    count = clusters.max(initial=-1) + 1
    totals = np.zeros(count, dtype=np.int64)
    np.add.at(totals, clusters, votes)
    # Every mask adds its votes where a run starts and takes them back where it ends; positions of one cluster lie
    # apart from those of the next, so that one sum serves all.
    stride = masks.size[0] * masks.size[1] + 1
    shift, change = clusters[masks.owners] * stride, votes[masks.owners]
    positions = np.concatenate([masks.starts + shift, masks.ends + shift])
    positions, places = np.unique(positions, return_inverse=True)
    sums = np.zeros(len(positions), dtype=np.int64)
    np.add.at(sums, places, np.concatenate([change, -change]))
    sums = np.cumsum(sums)
    owners = positions // stride
    won = (sums > 0) & (2 * sums >= totals[owners])
    before = np.concatenate([[False], won[:-1]])
    starts, ends = np.flatnonzero(won & ~before), np.flatnonzero(before & ~won)
    offsets = np.searchsorted(owners[starts], np.arange(count + 1))
    positions = positions - owners * stride
    return Runs(positions[starts], positions[ends], offsets, masks.size)
