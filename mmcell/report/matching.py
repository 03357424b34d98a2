"""Which predicted cell is which true one, so that a viewer can show hits, misses and false alarms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mmcell.report.cells import Cells


@dataclass(frozen=True)
class Matches:
    """The pairs of one image, N predictions with M true cells.

    Attributes:
        taken: Index of the true cell that each prediction takes, or -1, (N,) int64.
        ious: Mask IoU of each pair, 0 without one, (N,) float64.
        right: Whether each prediction takes a true cell of its own class, (N,) bool.
        found: Score of the prediction that takes each true cell, -1 if none does, (M,) float64.
    """

    taken: NDArray[np.int64]
    ious: NDArray[np.float64]
    right: NDArray[np.bool_]
    found: NDArray[np.float64]

    def counts(self, scores: NDArray[np.float64], score_thr: float) -> dict[str, int]:
        """Number of hits, wrong classes, false alarms and misses among predictions that score `score_thr` or more.

        Args:
            scores: Scores of the predictions, (N,).
            score_thr: The threshold.
        """
        kept = scores >= score_thr
        paired = self.taken >= 0
        return {
            'hits': int((kept & self.right).sum()),
            'wrong': int((kept & paired & ~self.right).sum()),
            'alarms': int((kept & ~paired).sum()),
            'misses': int((self.found < score_thr).sum()),
        }


def match_cells(truth: Cells, predicted: Cells, iou_thr: float = 0.5) -> Matches:
    """Pair cells as :func:`mmcell.evaluation.confusion_matrix` does.

    By falling score each prediction takes the free true cell of highest mask IoU, of whatever class, if it is at least
    `iou_thr`. So no pair depends on lower scores: the pairs above a score threshold are those of all predictions
    without the ones below it, and a viewer may move the threshold without matching again.
    """
    taken, ious = np.full(len(predicted), -1), np.zeros(len(predicted))
    found = np.full(len(truth), -1.0)
    if len(truth) and len(predicted):
        pairs = coco_mask.iou(predicted.runs.encode(), truth.runs.encode(), [0] * len(truth))
        for index in np.argsort(-predicted.scores, kind='stable'):
            best = int(pairs[index].argmax())
            if pairs[index, best] >= iou_thr:
                taken[index], ious[index] = best, pairs[index, best]
                found[best] = predicted.scores[index]
                pairs[:, best] = 0
    right = taken >= 0
    right[right] = truth.labels[taken[right]] == predicted.labels[right]
    return Matches(taken, ious, right, found)
