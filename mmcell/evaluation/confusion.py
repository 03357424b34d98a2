"""Which class is taken for which, with misses and false alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcell.coco.results import Result
from mmcell.coco.truth import Truth, load_truth
from mmcell.evaluation.matching import match_cells
from mmcell.evaluation.nuclei import find_overlaps_of
from mmcell.structures.cells import Cells


def confusion_matrix(
    truth: str | Path | Mapping[str, Any] | Truth,
    found: Sequence[Result] | Mapping[int, Cells],
    score_thr: float,
    **how: Any,
) -> NDArray[np.int64]:
    """Count pairs of true and predicted class, of cells that :func:`mmcell.evaluation.matching.match_cells` pairs.

    Args:
        truth: Annotation file or its content. Crowds are void, see :func:`mmcell.evaluation.matching.find_overlap`.
        found: Result dicts with `segmentation`, or the cells of each image by its id.
        score_thr: Cells that score less are left out.
        how: How cells are made of results, see :func:`mmcell.structures.resolve.resolve`.

    Returns:
        (C + 1, C + 1) int64: rows are the true classes in the order of their category ids, columns the predicted ones;
        the last column counts misses, the last row false alarms, their corner is 0.

    Raises:
        InputError: If the truth cannot be used or a result does not fit it.
    """
    truth = load_truth(truth)
    background = len(truth.classes)
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    for overlap in find_overlaps_of(truth, found, **how):
        overlap = overlap.above(score_thr)
        true, pred = overlap.true.labels, overlap.pred.labels
        taken = match_cells(overlap).taken
        hit = taken >= 0
        np.add.at(matrix, (true[taken[hit]], pred[hit]), 1)
        np.add.at(matrix[:, background], np.delete(true, taken[hit]), 1)
        np.add.at(matrix[background], pred[~hit], 1)
    return matrix
