"""PQ, AJI, Dice and detection F1 as the literature on nuclei defines them, on label maps of truth and prediction.

Every number is a ratio of two sums over cells, so an image contributes a numerator and a denominator:

- pooled (`PQ_pooled`): sums over the whole set, then the ratio;
- by image (`PQ_image`): the ratio of each image, then the mean over the images whose truth has such a cell, as
  HoVer-Net (Graham et al. 2019) and PanNuke (Gamper et al. 2020) report them.

Crowd annotations are void (Kirillov et al. 2019): their pixels count for nothing, and predictions that lie there for
more than half are left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from mmcell.coco.results import Result, check_results
from mmcell.coco.truth import Truth, load_truth
from mmcell.errors import InputError
from mmcell.evaluation.label_maps import to_label_map, to_mask
from mmcell.io.limits import MAX_PIXELS

#: Score thresholds that `pick_threshold` chooses from.
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))

#: Pixels between the centres of one cell in truth and prediction, at 40x (HoVer-Net; 6 at 20x).
RADIUS = 12.0


@dataclass(frozen=True)
class Cells:
    """The cells of one label map.

    Attributes:
        areas: Pixels, (N,) int64.
        centres: Means of the pixels' coordinates, (N, 2) float64 as y, x.
        labels: Class of each, (N,) int64.
        scores: (N,) float64; 1 for truth.
    """

    areas: NDArray[np.int64]
    centres: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]

    def select(self, mask: NDArray[np.bool_]) -> Cells:
        """Those where `mask`, (N,) bool, is true."""
        return Cells(self.areas[mask], self.centres[mask], self.labels[mask], self.scores[mask])


@dataclass(frozen=True)
class Overlap:
    """Which true and predicted cells of one image share pixels.

    Attributes:
        true: T true cells.
        pred: P predicted cells.
        pairs: (K, 2) int64, indices into `true` and `pred`.
        intersections: Shared pixels of each pair, (K,) int64, at least 1.
    """

    true: Cells
    pred: Cells
    pairs: NDArray[np.int64]
    intersections: NDArray[np.int64]

    @property
    def unions(self) -> NDArray[np.int64]:
        """Pixels of each pair's union, (K,)."""
        return self.true.areas[self.pairs[:, 0]] + self.pred.areas[self.pairs[:, 1]] - self.intersections

    @property
    def ious(self) -> NDArray[np.float64]:
        """IoU of each pair, (K,)."""
        return self.intersections / self.unions

    def select(self, true: NDArray[np.bool_], pred: NDArray[np.bool_]) -> Overlap:
        """Only the cells where `true`, (T,) bool, and `pred`, (P,) bool, are true."""
        kept = true[self.pairs[:, 0]] & pred[self.pairs[:, 1]]
        new_true, new_pred = np.cumsum(true) - 1, np.cumsum(pred) - 1
        pairs = np.stack([new_true[self.pairs[kept, 0]], new_pred[self.pairs[kept, 1]]], axis=1)
        return Overlap(self.true.select(true), self.pred.select(pred), pairs, self.intersections[kept])

    def above(self, score: float) -> Overlap:
        """Without the predictions that score less than `score`."""
        return self.select(np.ones(len(self.true.areas), dtype=bool), self.pred.scores >= score)


def find_overlap(
    true_map: NDArray[np.integer],
    pred_map: NDArray[np.integer],
    true_labels: ArrayLike | None = None,
    pred_labels: ArrayLike | None = None,
    pred_scores: ArrayLike | None = None,
    void: NDArray[np.bool_] | None = None,
) -> Overlap:
    """Compare two label maps of one image.

    Args:
        true_map: (H, W) integers, 0 is background; ids may have gaps.
        pred_map: The same for the prediction.
        true_labels: Class of id i at index i - 1; all 0 unless given.
        pred_labels: The same for the prediction.
        pred_scores: Score of id i at index i - 1; all 1 unless given.
        void: (H, W) bool, pixels to leave out of account.
    """
    if void is not None:
        void = void & (true_map == 0)
        mostly_void = 2 * np.bincount(pred_map[void], minlength=pred_map.max() + 1) > np.bincount(pred_map.ravel())
        pred_map = np.where(void | mostly_void[pred_map], 0, pred_map)
    true_ids, true = _measure(true_map, true_labels, None)
    pred_ids, pred = _measure(pred_map, pred_labels, pred_scores)
    both = (true_map > 0) & (pred_map > 0)
    step = int(pred_map.max()) + 1
    keys, intersections = np.unique(true_map[both].astype(np.int64) * step + pred_map[both], return_counts=True)
    true_id, pred_id = np.divmod(keys, step)
    pairs = np.stack([np.searchsorted(true_ids, true_id), np.searchsorted(pred_ids, pred_id)], axis=1)
    return Overlap(true, pred, pairs, intersections)


def panoptic_quality(overlap: Overlap) -> dict[str, tuple[float, float]]:
    """PQ = DQ · SQ (Kirillov et al. 2019, eq. 1): pairs with IoU > 0.5 are hits.

    Returns:
        Numerator and denominator of `PQ`, `DQ` and `SQ`.
    """
    ious = overlap.ious
    hits = ious > 0.5
    cells = (len(overlap.true.areas) + len(overlap.pred.areas)) / 2  # TP + FP / 2 + FN / 2
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

    Returns:
        Numerator and denominator.
    """
    ious = np.zeros((len(overlap.true.areas), len(overlap.pred.areas)))
    pair_index = np.full(ious.shape, -1)
    ious[tuple(overlap.pairs.T)] = overlap.ious
    pair_index[tuple(overlap.pairs.T)] = np.arange(len(overlap.pairs))
    chosen = pair_index[linear_sum_assignment(ious, maximize=True)]
    return _jaccard(overlap, chosen[chosen >= 0])


def dice(overlap: Overlap) -> tuple[float, float]:
    """Dice of foreground against background.

    Returns:
        Numerator and denominator.
    """
    return 2.0 * overlap.intersections.sum(), float(overlap.true.areas.sum() + overlap.pred.areas.sum())


def detection_f1(overlap: Overlap, num_classes: int, radius: float = RADIUS) -> NDArray[np.float64]:
    """F1 of detection, and of detection with classification (Graham et al. 2019, section 4.2).

    Centres are paired one to one by the smallest total distance; pairs farther apart than `radius` are undone. Then
    F_d = 2 TP / (2 TP + FP_d + FN_d), and for a class F_c = 2 TP_c / (2 TP_c + 2 FP_c + 2 FN_c + FP_d + FN_d), where
    TP_c are pairs of that class on both sides, FP_c and FN_c pairs where only the prediction or only the truth has it,
    FP_d and FN_d unpaired cells of that class. The paper's formula adds TN_c, pairs of other classes, to TP_c; its
    authors' `compute_stats.py`, whence the published numbers, counts none of them, and neither do we.

    Returns:
        Numerators and denominators, (1 + num_classes, 2): detection, then each class.
    """
    distances = cdist(overlap.true.centres, overlap.pred.centres)
    true, pred = linear_sum_assignment(distances)
    near = distances[true, pred] <= radius
    true, pred = true[near], pred[near]
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


@dataclass(frozen=True)
class CellScores:
    """Numerators and denominators of every number, image by image, and the numbers.

    Attributes:
        ratios: Name -> (I, 2) float64. Names are `PQ`, `DQ`, `SQ`, `AJI`, `AJI_plus`, `Dice`, `F1` for any class, and
            `PQ/<class>`, `DQ/<class>`, `SQ/<class>`, `F1/<class>`.
        has_truth: Class name, or '' for any -> (I,) bool, whether the image's truth has such a cell.
        classes: Class names.
        image_ids: Ids of the I images.
        score_thr: Predictions that score less were left out.
    """

    ratios: dict[str, NDArray[np.float64]]
    has_truth: dict[str, NDArray[np.bool_]]
    classes: tuple[str, ...]
    image_ids: tuple[int, ...]
    score_thr: float

    def pooled(self, name: str) -> float:
        """The ratio of the sums over all images; NaN if there are no such cells, 0 for the `SQ` of no hits."""
        empty = 0.0 if self.has_truth[name.partition('/')[2]].any() else math.nan
        return float(_divide(*self.ratios[name].sum(axis=0), empty=empty))

    def by_image(self, name: str) -> NDArray[np.float64]:
        """The ratio of each image, (I,); NaN where its truth has no such cell, 0 for the `SQ` of no hits."""
        values = _divide(*self.ratios[name].T, empty=0.0)
        return np.where(self.has_truth[name.partition('/')[2]], values, math.nan)

    def as_dict(self) -> dict[str, float]:
        """Every number under its name.

        `<name>_pooled` and `<name>_image` for each of `ratios`, with classes as in `PQ_pooled/<class>`; `mPQ_pooled`,
        the mean of the classes' pooled PQ; `mPQ_image`, PanNuke's: for each image the mean over the classes in its
        truth, then the mean over images (PanNuke's bPQ is our `PQ_image`); `score_thr`.
        """
        numbers = {}
        for ratio in self.ratios:
            name, slash, class_name = ratio.partition('/')
            numbers[f'{name}_pooled{slash}{class_name}'] = self.pooled(ratio)
            numbers[f'{name}_image{slash}{class_name}'] = _mean(self.by_image(ratio))
        numbers['mPQ_pooled'] = _mean(np.array([self.pooled(f'PQ/{name}') for name in self.classes]))
        each_class = np.array([self.by_image(f'PQ/{name}') for name in self.classes])
        numbers['mPQ_image'] = _mean(np.array([_mean(classes) for classes in each_class.T]))
        numbers['score_thr'] = self.score_thr
        return numbers


def evaluate_cells(
    truth: str | Path | Mapping[str, Any] | Truth,
    results: Sequence[Result],
    score_thr: float | Literal['auto'],
    radius: float = RADIUS,
) -> CellScores:
    """Score results on label maps; overlaps are resolved by :func:`to_label_map`.

    Args:
        truth: Annotation file or its content. Where true cells overlap, the earlier annotation has the pixel.
        results: Result dicts with `segmentation`.
        score_thr: Predictions that score less are left out. 'auto' picks it from these very results, as
            :func:`pick_threshold` does: right on val, too favourable on test.
        radius: See :func:`detection_f1`.

    Raises:
        InputError: If the truth cannot be used or a result does not fit it.
    """
    truth = load_truth(truth)
    lowest = min(THRESHOLDS) if score_thr == 'auto' else score_thr
    overlaps = _overlaps(truth, results, lowest)
    if score_thr == 'auto':
        score_thr = _best_threshold(overlaps, THRESHOLDS)
        overlaps = [overlap.above(score_thr) for overlap in overlaps]
    rows = [_image_ratios(overlap, truth.classes, radius) for overlap in overlaps]
    ratios = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    has_truth = {'': np.array([len(overlap.true.labels) > 0 for overlap in overlaps])}
    for label, name in enumerate(truth.classes):
        has_truth[name] = np.array([label in overlap.true.labels for overlap in overlaps])
    return CellScores(ratios, has_truth, truth.classes, tuple(truth.image_sizes), float(score_thr))


def pick_threshold(
    truth: str | Path | Mapping[str, Any] | Truth, results: Sequence[Result], grid: Sequence[float] = THRESHOLDS
) -> float:
    """The score threshold of highest pooled PQ over all classes together, the lowest of equals.

    Args:
        truth: Annotation file of the validation images, or its content.
        results: Result dicts of those images.
        grid: Thresholds to choose from.

    Raises:
        InputError: If the truth cannot be used or a result does not fit it.
    """
    return _best_threshold(_overlaps(load_truth(truth), results, min(grid)), grid)


def _best_threshold(overlaps: Sequence[Overlap], grid: Sequence[float]) -> float:
    ratios = np.array([[panoptic_quality(overlap.above(thr))['PQ'] for overlap in overlaps] for thr in grid])
    sums = ratios.sum(axis=1)
    return grid[int(np.argmax(_divide(sums[:, 0], sums[:, 1], empty=0.0)))]


def _overlaps(truth: Truth, results: Sequence[Result], score_thr: float) -> list[Overlap]:
    """The overlap of each image, in the order of `truth.images`."""
    check_results(results, truth.image_sizes, set(truth.category_ids))
    label_of = {category_id: label for label, category_id in enumerate(truth.category_ids)}
    annotations, predictions = defaultdict(list), defaultdict(list)
    for instances, by_image in ((truth.annotations, annotations), (results, predictions)):
        for instance in instances:
            if 'segmentation' not in instance:
                raise InputError(f'image {instance["image_id"]}', 'has cells without masks', 'cell metrics need masks')
            by_image[instance['image_id']].append(instance)
    overlaps = []
    for image_id, size in truth.image_sizes.items():
        if size[0] * size[1] > MAX_PIXELS:
            raise InputError(f'image {image_id}', f'is too large for label maps ({size[1]} x {size[0]})', 'cut it up')
        cells = [annotation for annotation in annotations[image_id] if not annotation['iscrowd']]
        crowds = [annotation['segmentation'] for annotation in annotations[image_id] if annotation['iscrowd']]
        predicted = [result for result in predictions[image_id] if result['score'] >= score_thr]
        scores = [result['score'] for result in predicted]
        try:
            overlap = find_overlap(
                to_label_map([cell['segmentation'] for cell in cells], size, min_visible=0),
                to_label_map([result['segmentation'] for result in predicted], size, scores),
                [label_of[cell['category_id']] for cell in cells],
                [label_of[result['category_id']] for result in predicted],
                scores,
                to_mask(crowds, size) if crowds else None,
            )
        except ValueError as error:
            raise InputError(f'image {image_id}', str(error), 'write the masks again') from None
        overlaps.append(overlap)
    return overlaps


def _image_ratios(overlap: Overlap, classes: Sequence[str], radius: float) -> dict[str, tuple[float, float]]:
    ratios = panoptic_quality(overlap)
    ratios['AJI'] = aggregated_jaccard(overlap)
    ratios['AJI_plus'] = aggregated_jaccard_plus(overlap)
    ratios['Dice'] = dice(overlap)
    f1 = detection_f1(overlap, len(classes), radius)
    ratios['F1'] = f1[0]
    for label, name in enumerate(classes):
        ratios |= {f'{key}/{name}': value for key, value in panoptic_quality(_of_class(overlap, label)).items()}
        ratios[f'F1/{name}'] = f1[1 + label]
    return ratios


def _of_class(overlap: Overlap, label: int) -> Overlap:
    return overlap.select(overlap.true.labels == label, overlap.pred.labels == label)


def _jaccard(overlap: Overlap, chosen: NDArray[np.int64]) -> tuple[float, float]:
    """Intersection over union of the chosen pairs; cells that are in none of them add to the union."""
    true, pred = overlap.pairs[chosen].T
    union = overlap.unions[chosen].sum() + np.delete(overlap.true.areas, true).sum()
    union += np.delete(overlap.pred.areas, pred).sum()
    return float(overlap.intersections[chosen].sum()), float(union)


def _measure(
    label_map: NDArray[np.integer], labels: ArrayLike | None, scores: ArrayLike | None
) -> tuple[NDArray[np.integer], Cells]:
    """Ids, rising, and cells of a label map."""
    y, x = np.nonzero(label_map)
    ids, index, areas = np.unique(label_map[y, x], return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(index, weights=axis, minlength=len(ids)) for axis in (y, x)], axis=1)
    labels = np.zeros(len(ids), dtype=np.int64) if labels is None else np.asarray(labels, dtype=np.int64)[ids - 1]
    scores = np.ones(len(ids)) if scores is None else np.asarray(scores, dtype=float)[ids - 1]
    return ids, Cells(areas, sums / areas[:, None], labels, scores)


def _divide(numerator: ArrayLike, denominator: ArrayLike, empty: float) -> NDArray[np.float64]:
    """The ratio, and `empty` where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, dtype=float), np.asarray(denominator, dtype=float)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, empty), where=denominator > 0)


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of the numbers that are defined; NaN if none is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan
