"""The slow reference: label maps, pixel by pixel, and matrices of all true with all predicted cells."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from mmcell.evaluation.matching import Overlap, Table


def ids(label_map):
    return [i for i in np.unique(label_map) if i]


def find_overlap(true_map, pred_map, true_labels, pred_labels, pred_scores, void=None):
    """As :func:`mmcell.evaluation.matching.find_overlap`, from label maps; labels and scores by rising id."""
    if void is not None:
        void = void & (true_map == 0)
        pred_map, kept = pred_map.copy(), []
        for i, number in enumerate(ids(pred_map)):
            if 2 * np.sum(void & (pred_map == number)) > np.sum(pred_map == number):
                pred_map[pred_map == number] = 0
            else:
                kept.append(i)
        pred_map[void] = 0
        pred_labels, pred_scores = pred_labels[kept], pred_scores[kept]
    true, pred = ([label_map == number for number in ids(label_map)] for label_map in (true_map, pred_map))
    shared = [(t, p, int(np.sum(a & b))) for t, a in enumerate(true) for p, b in enumerate(pred)]
    shared = np.array([row for row in shared if row[2]], dtype=np.int64).reshape(-1, 3)
    scores = np.ones(len(true))
    return Overlap(
        measure(true, true_labels, scores), measure(pred, pred_labels, pred_scores), shared[:, :2], shared[:, 2]
    )


def measure(masks, labels, scores):
    areas = np.array([mask.sum() for mask in masks], dtype=np.int64)
    centres = np.array([np.argwhere(mask).mean(axis=0)[::-1] + 0.5 for mask in masks]).reshape(-1, 2)
    # No metric that is compared to these reads probabilities.
    return Table(areas, centres, labels, scores, np.zeros((len(areas), 0)))


def iou_matrix(overlap):
    ious = np.zeros((len(overlap.true), len(overlap.pred)))
    ious[tuple(overlap.pairs.T)] = overlap.ious
    return ious


def jaccard_plus(overlap):
    """Intersection and union of AJI+, and whether another pairing has the same total IoU, nearly."""
    ious = iou_matrix(overlap)
    index = np.full(ious.shape, -1)
    index[tuple(overlap.pairs.T)] = np.arange(len(overlap.pairs))
    chosen = index[linear_sum_assignment(ious, maximize=True)]
    chosen = chosen[chosen >= 0]
    intersection = overlap.intersections[chosen].sum()
    return intersection, overlap.true.areas.sum() + overlap.pred.areas.sum() - intersection


def taken(overlap, iou_thr):
    """The true cell that each prediction takes, by falling score the free one of highest IoU."""
    ious, found = iou_matrix(overlap), np.full(len(overlap.pred), -1)
    for p in np.argsort(-overlap.pred.scores, kind='stable'):
        if len(ious) and ious[:, p].max() >= iou_thr:
            found[p] = ious[:, p].argmax()
            ious[found[p]] = 0
    return found


def paired_centres(true, pred, radius):
    """Pairs of the smallest total distance, where distances beyond the radius count as the radius."""
    distances = cdist(true, pred)
    rows, columns = linear_sum_assignment(np.minimum(distances, radius))
    near = distances[rows, columns] <= radius
    return rows[near], columns[near]
