"""Results become cells: each cell once, no pixel in two cells, one class with the probability of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmcell.structures.cells import Cells
from mmcell.structures.fusion import majority_masks, vote_shares
from mmcell.structures.overlaps import find_agreeing, unsuppressed
from mmcell.structures.parts import without_crumbs
from mmcell.structures.rle import Runs

Way = Literal['objectness', 'fused', 'votes', 'score', 'nms']

#: All ways to resolve, the default first; without probabilities it is the second.
WAYS: tuple[Way, ...] = get_args(Way)

# Least IoU of two masks that show one cell, and the share that better ones may take from a cell: what did best on
# CoNSeP (docs/results.md).
_IOU_THR = {'objectness': 0.3}
_MAX_TAKEN = {'objectness': 0.4}

# Pieces of masks that are listed together: some 100 MB on the way.
_CHUNK = 1 << 22


def resolve(
    masks: Runs,
    scores: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    probabilities: ArrayLike | None = None,
    *,
    way: Way | None = None,
    max_taken: float | None = None,
    iou_thr: float | None = None,
    parts: Literal['largest', 'all'] = 'largest',
) -> Cells:
    """Make cells of the results of one image, in which one cell may stand several times and under several classes.

    First, it is settled which results are cells of their own:

    - 'nms': the best first, each that is still there removes those that agree with it, of whatever class (IoU of the
      masks of at least `iou_thr`);
    - 'objectness', the default with `probabilities`: as 'nms', where best is what is most probably a cell of any class:
      1 minus the probability of "none of these" is also the score of the cell. Its class is the most probable one. A
      result under another class than its most probable one counts by its own score;
    - 'votes': as 'nms', but what was removed votes for the one that it agrees with most. The score of a cell is the sum
      of the highest score under each class among its results, at most 1; its class is the most probable one;
    - 'fused', the default without `probabilities`: as 'votes', and the mask is the pixels to which at least half of the
      votes go, weighted by score;
    - 'score': the best first, each takes its pixels; one is left out if better ones have taken more than `max_taken` of
      it. So no cell depends on results that score less, and the cells above a score are those of the results above it.

    Then pixels are given out by falling score, each once, and what more than `max_taken` of is taken is left out, in
    all ways. Last, what was trimmed keeps its largest part (connected over edges) and loses the crumbs, unless `parts`
    is 'all'. Masks that nothing was taken from stay as they are, in pieces or not.

    The probability of a class is, without `probabilities`, the highest score under that class among the results that
    stand for the cell: its own and those that were left out and agree with it best. Where these sum up to more than 1,
    which results of one softmax cannot, they are divided by their sum; the rest up to 1 is the share of "none of
    these". With `probabilities`, a cell has its own, and in 'objectness', 'votes' and 'fused' the mean of its results',
    weighted by what ranks them.

    Args:
        masks: N masks, which may overlap; those without pixels are left out.
        scores: (N,), 0 to 1.
        labels: Class of each, (N,), an index into `classes`.
        classes: Names of the C classes.
        probabilities: Probability of each class, then of none of these, where the head has them, (N, C + 1).
        way: How cells are told apart; 'objectness' needs `probabilities`. Default: the best that there is.
        max_taken: Share of its pixels that better ones may have taken from a cell, 0 to 1; one of which nothing is
            left is always left out. Default: 0.4 for 'objectness', else 0.3.
        iou_thr: Least IoU of two masks that show one cell, above 0. Default: 0.3 for 'objectness', else 0.5.
        parts: What is kept of a trimmed mask.

    Returns:
        The cells by falling score; of equal scores the earlier result first.

    Raises:
        ValueError: If the arrays do not fit, `way` is unknown or needs probabilities that are not there.
    """
    way = way or WAYS[probabilities is None]
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if way not in WAYS:
        raise ValueError(f'way must be one of {", ".join(WAYS)}, not {way}')
    iou_thr = _IOU_THR.get(way, 0.5) if iou_thr is None else iou_thr
    max_taken = _MAX_TAKEN.get(way, 0.3) if max_taken is None else max_taken
    if scores.shape != (len(masks),) or labels.shape != (len(masks),):
        raise ValueError(f'{len(masks)} masks, but scores {scores.shape} and labels {labels.shape}')
    weights = scores
    if probabilities is None and way == 'objectness':
        raise ValueError("way 'objectness' needs probabilities")
    if probabilities is not None:
        probabilities = np.asarray(probabilities, dtype=np.float64)
        if probabilities.shape != (len(masks), len(classes) + 1):
            raise ValueError(f'probabilities must be ({len(masks)}, {len(classes) + 1}), not {probabilities.shape}')
        if way == 'objectness':
            # A box whose own class NMS has removed is a worse one of another's cell: what is left counts as it is.
            own = probabilities[:, :-1].argmax(axis=1) == labels
            weights = np.where(own, np.clip(1 - probabilities[:, -1], 0, 1), scores)
    filled = np.flatnonzero(masks.areas)
    # Sorted once, so that places are ranks; of a box that is a result under several classes the best comes first.
    order = filled[np.lexsort([-scores[filled], -weights[filled]])]
    masks, weights, scores, labels = masks.select(order), weights[order], scores[order], labels[order]
    probabilities = None if probabilities is None else probabilities[order]

    better, worse, ious = find_agreeing(masks, iou_thr)
    if way == 'score':
        kept, trimmed = take_once(masks, max_taken)
    else:
        kept = unsuppressed(len(masks), better, worse)
    groups = _join_groups(kept, better, worse, ious, len(masks))
    voted = _class_probabilities(groups, scores, labels, len(classes), len(kept))
    if way in ('objectness', 'votes', 'fused'):
        probabilities = voted if probabilities is None else _mean(probabilities, groups, weights, len(kept))
        found, cell_labels = masks.select(kept), probabilities[:, :-1].argmax(axis=1)
        cell_scores = weights[kept] if way == 'objectness' else 1 - voted[:, -1]
        if way == 'fused':
            member = np.flatnonzero(groups >= 0)
            shares = vote_shares(weights[member], groups[member])
            found = majority_masks(masks.select(member), shares, groups[member])
    else:
        probabilities = voted if probabilities is None else probabilities[kept]
        found, cell_scores, cell_labels = masks.select(kept), scores[kept], labels[kept]
    if way != 'score':
        # Sums may differ in their last bits: such scores are equal, and the cell of the better result comes first.
        order = np.argsort(-cell_scores.round(12), kind='stable')
        kept, trimmed = take_once(found.select(order), max_taken)
        kept = order[kept]
        found, probabilities = found.select(kept), probabilities[kept]
        cell_scores, cell_labels = cell_scores[kept], cell_labels[kept]
    if parts == 'largest':
        trimmed = without_crumbs(found, trimmed)
    return Cells(trimmed, cell_labels, cell_scores, probabilities, tuple(classes))


def take_once(masks: Runs, max_taken: float = 1.0) -> tuple[NDArray[np.int64], Runs]:
    """Give each pixel to the first mask that covers it.

    A mask of which more than `max_taken` is taken is left out, and its pixels stay free for those after it.

    Args:
        masks: N masks, the first ones first.
        max_taken: Share, 0 to 1. A mask of which nothing is left is always left out.

    Returns:
        Indices of the masks that stay, ascending, (K,), and what each of them keeps.
    """
    # Between two neighboring edges all pixels are covered by the same masks.
    edges, places = _unique(np.concatenate([masks.starts, masks.ends]))
    lengths = np.diff(edges)
    # The pieces between edges that each run is made of.
    first, last = np.split(places, 2)
    spans = Runs(first, last, masks.offsets, masks.size)
    changes = np.bincount(spans.starts, minlength=len(edges)) - np.bincount(spans.ends, minlength=len(edges))
    shared = np.concatenate([[0], np.cumsum(np.cumsum(changes)[:-1] > 1)])[: len(edges)]
    owners, areas, counts = masks.owners, masks.areas, spans.areas
    contested = np.zeros(len(masks), dtype=bool)
    contested[owners[shared[spans.ends] > shared[spans.starts]]] = True
    taken_by = np.full(len(lengths), -1)
    # A mask that shares nothing has no edge of another inside its runs.
    alone = ~contested[owners]
    taken_by[spans.starts[alone]] = owners[alone]
    turns = np.flatnonzero(contested)
    # In groups, so that memory does not grow with the overlaps of large masks.
    for group in np.split(turns, np.flatnonzero(np.diff(np.cumsum(counts[turns]) // _CHUNK)) + 1):
        pieces = spans.select(group).pixels
        bounds = pairwise(np.cumsum([0, *counts[group]]).tolist())
        for mask, area, (start, end) in zip(group.tolist(), areas[group].tolist(), bounds):
            mine = pieces[start:end]
            free = mine[taken_by[mine] < 0]
            left = int(lengths[free].sum())
            if left and area - left <= max_taken * area:
                taken_by[free] = mask
    owned = np.flatnonzero(taken_by >= 0)
    owned = owned[np.argsort(taken_by[owned], kind='stable')]
    kept, index = np.unique(taken_by[owned], return_inverse=True)
    starts, ends = edges[owned], edges[owned + 1]
    # Neighboring pieces of one mask become one run again.
    apart = (starts[1:] != ends[:-1]) | (index[1:] != index[:-1])
    begins, stops = np.ones((2, len(owned)), dtype=bool)
    begins[1:], stops[:-1] = apart, apart
    offsets = np.searchsorted(index[begins], np.arange(len(kept) + 1))
    return kept, Runs(starts[begins], ends[stops], offsets, masks.size)


def _unique(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The values once, rising, and the place of each among them; ``np.unique`` hashes, which here takes far longer."""
    order = np.argsort(values)
    new = np.append(True, values[order[1:]] != values[order[:-1]])[: len(values)]
    places = np.empty_like(order)
    places[order] = np.cumsum(new) - 1
    return values[order[new]], places


def _join_groups(
    kept: NDArray[np.int64],
    better: NDArray[np.int64],
    worse: NDArray[np.int64],
    ious: NDArray[np.float64],
    count: int,
) -> NDArray[np.int64]:
    """For each ranked result the place in `kept` of the one that it stands for, -1 for none, (N,).

    One that was not kept stands for the better, kept one that it agrees with most, the best-ranked of equals.
    """
    places = np.full(count, -1)
    places[kept] = np.arange(len(kept))
    joins = (places[better] >= 0) & (places[worse] < 0)
    better, worse, ious = better[joins], worse[joins], ious[joins]
    order = np.lexsort([better, -ious, worse])
    joined, first = np.unique(worse[order], return_index=True)
    places[joined] = places[better[order[first]]]
    return places


def _class_probabilities(
    groups: NDArray[np.int64],
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    num_classes: int,
    count: int,
) -> NDArray[np.float64]:
    """Probabilities of the classes and of none of them by the highest score of each class in each group, (G, C + 1)."""
    probabilities = np.zeros((count, num_classes + 1))
    member = groups >= 0
    np.maximum.at(probabilities, (groups[member], labels[member]), np.minimum(scores[member], 1))
    total = probabilities.sum(axis=1)
    probabilities /= np.maximum(total, 1)[:, None]
    probabilities[:, -1] = np.maximum(1 - total, 0)
    return probabilities


def _mean(
    probabilities: NDArray[np.float64], groups: NDArray[np.int64], scores: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """The mean of each group's probabilities, weighted by score, (G, C + 1)."""
    member = groups >= 0
    groups, shares = groups[member], vote_shares(scores[member], groups[member])
    columns = [np.bincount(groups, shares * column, minlength=count) for column in probabilities[member].T]
    return np.stack(columns, axis=1)
