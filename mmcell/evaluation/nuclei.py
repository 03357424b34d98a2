"""PQ, AJI, Dice, detection F1 and the error of the count, as the literature on nuclei defines them.

Every number is a ratio of two sums over cells, so an image contributes a numerator and a denominator:

- pooled (`PQ_pooled`): sums over the whole set, then the ratio;
- by image (`PQ_image`): the ratio of each image, then the mean over the images whose truth has such a cell, as
  HoVer-Net (Graham et al. 2019) and PanNuke (Gamper et al. 2020) report them.

Crowd annotations are void (Kirillov et al. 2019): their pixels count for nothing, and predictions that lie there for
more than half are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from mmengine.logging import MMLogger
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from mmcell.coco.cells import cells_of, true_cells
from mmcell.coco.results import Result
from mmcell.coco.truth import Truth, load_truth
from mmcell.evaluation.matching import Overlap, assign, find_overlap
from mmcell.structures.cells import Cells

#: Score thresholds that `pick_threshold` chooses from.
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))

#: Pixels between the centers of one cell in truth and prediction, at 40x (HoVer-Net; 6 at 20x).
RADIUS = 12.0

#: Pairs of centers up to which all distances are reckoned with: 200 MB.
MAX_DISTANCES = 25_000_000


def panoptic_quality(overlap: Overlap) -> dict[str, tuple[float, float]]:
    """PQ = DQ · SQ (Kirillov et al. 2019, eq. 1): pairs with IoU > 0.5 are hits.

    Returns:
        Numerator and denominator of `PQ`, `DQ` and `SQ`.
    """
    ious = overlap.ious
    hits = ious > 0.5
    cells = (len(overlap.true) + len(overlap.pred)) / 2  # TP + FP / 2 + FN / 2
    iou_sum, count = float(ious[hits].sum()), float(hits.sum())
    return {'PQ': (iou_sum, cells), 'DQ': (count, cells), 'SQ': (iou_sum, count)}


def aggregated_jaccard(overlap: Overlap) -> tuple[float, float]:
    """AJI (Kumar et al. 2017, algorithm 1): each true cell with the prediction of highest IoU, which may serve twice.

    Returns:
        Numerator and denominator.
    """
    ious = overlap.ious
    # By true cell, then falling IoU: the first of each true cell is its best.
    order = np.lexsort([-ious, overlap.pairs[:, 0]])
    best = order[np.unique(overlap.pairs[order, 0], return_index=True)[1]]
    return _jaccard(overlap, best)


def aggregated_jaccard_plus(overlap: Overlap) -> tuple[float, float]:
    """AJI+ (HoVer-Net's evaluation code): as AJI, but one to one, by the pairing of largest total IoU.

    Of several such pairings any may be taken.

    Returns:
        Numerator and denominator.
    """
    return _jaccard(overlap, assign(overlap.pairs, overlap.ious, (len(overlap.true), len(overlap.pred))))


def dice(overlap: Overlap) -> tuple[float, float]:
    """Dice of foreground against background.

    Returns:
        Numerator and denominator.
    """
    return 2.0 * overlap.intersections.sum(), float(overlap.true.areas.sum() + overlap.pred.areas.sum())


def detection_f1(overlap: Overlap, num_classes: int, radius: float = RADIUS) -> NDArray[np.float64]:
    """F1 of detection, and of detection with classification (Graham et al. 2019, section 4.2).

    Centers are paired one to one by the smallest total distance; pairs farther apart than `radius` are undone. Then
    F_d = 2 TP / (2 TP + FP_d + FN_d), and for a class F_c = 2 TP_c / (2 TP_c + 2 FP_c + 2 FN_c + FP_d + FN_d), where
    TP_c are pairs of that class on both sides, FP_c and FN_c pairs where only the prediction or only the truth has it,
    FP_d and FN_d unpaired cells of that class. The paper's formula adds TN_c, pairs of other classes, to TP_c; its
    authors' `compute_stats.py`, which made the published numbers, counts none of them, and neither do we.

    The smallest total is taken over all pairs, near or far, as there, which takes memory for all of them. In images of
    more than :data:`MAX_DISTANCES` pairs (some 5,000 true and 5,000 predicted cells), which the literature does not
    have, all distances beyond `radius` count as `radius`: there a miss and a false alarm far apart cannot undo a pair
    between them. A warning says so.

    Returns:
        Numerators and denominators, (1 + num_classes, 2): detection, then each class.
    """
    true, pred = _pair_centres(overlap.true.centres, overlap.pred.centres, radius)
    true_labels, pred_labels = overlap.true.labels, overlap.pred.labels
    alone = len(true_labels) + len(pred_labels) - 2 * len(true)  # FP_d + FN_d
    counts = [(2 * len(true), 2 * len(true) + alone)]
    for label in range(num_classes):
        both = np.sum((true_labels[true] == label) & (pred_labels[pred] == label))
        one = np.sum((true_labels[true] == label) ^ (pred_labels[pred] == label))
        paired = np.sum(true_labels[true] == label) + np.sum(pred_labels[pred] == label)
        alone = np.sum(true_labels == label) + np.sum(pred_labels == label) - paired
        counts.append((2 * both, 2 * both + 2 * one + alone))
    return np.array(counts, dtype=float)


def _pair_centres(
    true: NDArray[np.float64], pred: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of paired centers, both (K,)."""
    if len(true) * len(pred) <= MAX_DISTANCES:
        distances = cdist(true, pred)
        rows, columns = linear_sum_assignment(distances)
        near = distances[rows, columns] <= radius
        return rows[near], columns[near]
    MMLogger.get_current_instance().warning(
        f'an image has {len(true)} true and {len(pred)} predicted cells: F1 pairs them within {radius:g} pixels only'
    )
    near = KDTree(true).sparse_distance_matrix(KDTree(pred), radius, output_type='ndarray')
    pairs = np.stack([near['i'], near['j']], axis=1).astype(np.int64)
    # A pair at the very radius is worth a little, too.
    rows, columns = pairs[assign(pairs, radius * (1 + 1e-9) - near['v'], (len(true), len(pred)))].T
    return rows, columns


@dataclass(frozen=True)
class CellScores:
    """Numerators and denominators of every number, image by image, and the numbers.

    Attributes:
        ratios: Name -> (I, 2) float64. Names are `PQ`, `DQ`, `SQ`, `AJI`, `AJI_plus`, `Dice`, `F1` for any class, and
            `PQ/<class>`, `DQ/<class>`, `SQ/<class>`, `F1/<class>`.
        has_truth: Class name, or '' for any -> (I,) bool, whether the image's truth has such a cell.
        counts: True and predicted cells of each image, (I, 2) int64.
        classes: Class names.
        image_ids: Ids of the I images.
        score_thr: Predictions that score less were left out.
    """

    ratios: dict[str, NDArray[np.float64]]
    has_truth: dict[str, NDArray[np.bool_]]
    counts: NDArray[np.int64]
    classes: tuple[str, ...]
    image_ids: tuple[int, ...]
    score_thr: float

    def pooled(self, name: str) -> float:
        """The ratio of the sums over all images; NaN if there are no such cells, 0 for the `SQ` of no hits."""
        empty = 0.0 if self.has_truth[name.partition('/')[2]].any() else math.nan
        numerator, denominator = self.ratios[name].sum(axis=0)
        return float(_divide(numerator, denominator, empty=empty))

    def by_image(self, name: str) -> NDArray[np.float64]:
        """The ratio of each image, (I,); NaN where its truth has no such cell, 0 for the `SQ` of no hits."""
        numerators, denominators = self.ratios[name].T
        values = _divide(numerators, denominators, empty=0.0)
        return np.where(self.has_truth[name.partition('/')[2]], values, math.nan)

    @property
    def count_errors(self) -> NDArray[np.float64]:
        """(predicted - true) / true cells of each image, (I,); NaN where there is no true one."""
        true, pred = self.counts.T
        return _divide(pred - true, true, empty=math.nan)

    def as_dict(self) -> dict[str, float]:
        """Every number under its name.

        `<name>_pooled` and `<name>_image` for each of `ratios`, with classes as in `PQ_pooled/<class>`; `mPQ_pooled`,
        the mean of the classes' pooled PQ; `mPQ_image`, PanNuke's: for each image the mean over the classes in its
        truth, then the mean over images (PanNuke's bPQ is our `PQ_image`); `count_error`, the mean over images of
        |predicted - true| / true cells, and `count_bias`, the same with its sign; `score_thr`.
        """
        numbers = {}
        for ratio in self.ratios:
            name, slash, class_name = ratio.partition('/')
            numbers[f'{name}_pooled{slash}{class_name}'] = self.pooled(ratio)
            numbers[f'{name}_image{slash}{class_name}'] = _mean(self.by_image(ratio))
        numbers['mPQ_pooled'] = _mean(np.array([self.pooled(f'PQ/{name}') for name in self.classes]))
        each_class = np.array([self.by_image(f'PQ/{name}') for name in self.classes])
        numbers['mPQ_image'] = _mean(np.array([_mean(classes) for classes in each_class.T]))
        numbers['count_error'] = _mean(np.abs(self.count_errors))
        numbers['count_bias'] = _mean(self.count_errors)
        numbers['score_thr'] = self.score_thr
        return numbers


def evaluate_cells(
    truth: str | Path | Mapping[str, Any] | Truth,
    found: Sequence[Result] | Mapping[int, Cells],
    score_thr: float | Literal['auto'],
    radius: float = RADIUS,
    **how: Any,
) -> CellScores:
    """Score what was found, each cell once.

    Args:
        truth: Annotation file or its content. Where true cells overlap, the earlier annotation has the pixel.
        found: Result dicts with `segmentation`, or the cells of each image by its id.
        score_thr: Cells that score less are left out. 'auto' picks it from what was found, as :func:`pick_threshold`
            does: right on val, too favorable on test.
        radius: See :func:`detection_f1`.
        how: How cells are made of results, see :func:`mmcell.structures.resolve.resolve`.

    Raises:
        InputError: If the truth cannot be used or a result does not fit it.
    """
    truth = load_truth(truth)
    overlaps = list(find_overlaps_of(truth, found, **how))
    if score_thr == 'auto':
        score_thr = _best_threshold(overlaps, THRESHOLDS)
    return _score(truth, [overlap.above(score_thr) for overlap in overlaps], radius, score_thr)


def evaluate_thresholds(
    truth: str | Path | Mapping[str, Any] | Truth,
    found: Sequence[Result] | Mapping[int, Cells],
    grid: Sequence[float] = THRESHOLDS,
    radius: float = RADIUS,
    **how: Any,
) -> list[CellScores]:
    """As :func:`evaluate_cells`, at each score threshold of `grid`; cells are made and compared once."""
    truth = load_truth(truth)
    overlaps = list(find_overlaps_of(truth, found, **how))
    return [_score(truth, [overlap.above(thr) for overlap in overlaps], radius, thr) for thr in grid]


def pick_threshold(
    truth: str | Path | Mapping[str, Any] | Truth,
    found: Sequence[Result] | Mapping[int, Cells],
    grid: Sequence[float] = THRESHOLDS,
    **how: Any,
) -> float:
    """The score threshold of highest pooled PQ over all classes together, the middle one of equals.

    It is used on other images, where what just passes the lowest of equals is as likely to be no cell.

    Args:
        truth: Annotation file of the validation images, or its content.
        found: Result dicts of those images, or the cells of each by its id.
        grid: Thresholds to choose from.
        how: How cells are made of results, see :func:`mmcell.structures.resolve.resolve`.

    Raises:
        InputError: If the truth cannot be used or a result does not fit it.
    """
    return _best_threshold(list(find_overlaps_of(load_truth(truth), found, **how)), grid)


def find_overlaps_of(truth: Truth, found: Sequence[Result] | Mapping[int, Cells], **how: Any) -> Iterator[Overlap]:
    """Compare truth with what was found, image by image, in the order of `truth.images`.

    Raises:
        InputError: If a result or the truth has no masks, or a result does not fit the truth.
    """
    # What json holds may be an object, too; that is refused like all that is no list of results.
    cells: Iterator[tuple[int, Cells]]
    if isinstance(found, Mapping) and truth.image_sizes.keys() <= found.keys():
        cells = ((image['id'], found[image['id']]) for image in truth.images)
    else:
        cells = cells_of(cast('Sequence[Result]', found), truth.images, truth.categories, **how)
    for (_, true, crowds), (_, pred) in zip(true_cells(truth), cells):
        yield find_overlap(true, pred, crowds)


def _best_threshold(overlaps: Sequence[Overlap], grid: Sequence[float]) -> float:
    ratios = np.array([[panoptic_quality(overlap.above(thr))['PQ'] for overlap in overlaps] for thr in grid])
    sums = ratios.sum(axis=1)
    return grid[middle_of_best(_divide(sums[:, 0], sums[:, 1], empty=0.0))]


def middle_of_best(values: ArrayLike) -> int:
    """Index of the largest value, the middle one of equals.

    >>> middle_of_best([0.1, 0.4, 0.4, 0.4, 0.2])
    2
    """
    best = np.flatnonzero(np.asarray(values) == np.max(values))
    return int(best[len(best) // 2])


def _score(truth: Truth, overlaps: Sequence[Overlap], radius: float, score_thr: float) -> CellScores:
    rows = [_image_ratios(overlap, truth.classes, radius) for overlap in overlaps]
    ratios = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    counts = np.array([(len(overlap.true), len(overlap.pred)) for overlap in overlaps])
    has_truth = {'': counts[:, 0] > 0}
    for label, name in enumerate(truth.classes):
        has_truth[name] = np.array([label in overlap.true.labels for overlap in overlaps])
    return CellScores(ratios, has_truth, counts, truth.classes, tuple(truth.image_sizes), float(score_thr))


def _image_ratios(overlap: Overlap, classes: Sequence[str], radius: float) -> dict[str, tuple[float, float]]:
    ratios = panoptic_quality(overlap)
    ratios['AJI'] = aggregated_jaccard(overlap)
    ratios['AJI_plus'] = aggregated_jaccard_plus(overlap)
    ratios['Dice'] = dice(overlap)
    f1 = detection_f1(overlap, len(classes), radius)
    ratios['F1'] = f1[0]
    for label, name in enumerate(classes):
        one = overlap.select(overlap.true.labels == label, overlap.pred.labels == label)
        ratios |= {f'{key}/{name}': value for key, value in panoptic_quality(one).items()}
        ratios[f'F1/{name}'] = f1[1 + label]
    return ratios


def _jaccard(overlap: Overlap, chosen: NDArray[np.int64]) -> tuple[float, float]:
    """Intersection over union of the chosen pairs; cells that are in none of them add to the union."""
    true, pred = overlap.pairs[chosen].T
    union = overlap.unions[chosen].sum() + np.delete(overlap.true.areas, true).sum()
    union += np.delete(overlap.pred.areas, pred).sum()
    return float(overlap.intersections[chosen].sum()), float(union)


def _divide(numerator: ArrayLike, denominator: ArrayLike, empty: float) -> NDArray[np.float64]:
    """The ratio, and `empty` where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, empty), where=denominator > 0)


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of the numbers that are defined; NaN if none is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan
