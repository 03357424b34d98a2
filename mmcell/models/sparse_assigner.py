"""An assigner that looks only at the boxes near a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.models.task_modules.assigners.iou2d_calculator import BboxOverlaps2D
from mmdet.models.task_modules.assigners.max_iou_assigner import perm_repeat_bboxes
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.errors import InputError
from mmcell.models.box_grid import LARGEST, BoxGrid

# Pairs of which an accelerator computes all: 64 MB of IoU. It does so sooner than it starts the kernels of a search.
_ALL_PAIRS = 1 << 24


class SparseAssignResult(AssignResult):
    """An ``AssignResult`` whose ``max_overlaps`` are found when they are read: no sampler of Mask R-CNN reads them."""

    _max_overlaps: Tensor | None

    def __init__(self, num_gts: int, gt_inds: Tensor, find_max_overlaps: Callable[[], Tensor], labels: Tensor) -> None:
        super().__init__(num_gts, gt_inds, None, labels)
        self._find = find_max_overlaps

    @property
    def max_overlaps(self) -> Tensor:
        """Largest IoU of each box with any cell, (N,) float; -1 where the box is ignored."""
        if self._max_overlaps is None:
            self._max_overlaps = self._find()
        return self._max_overlaps

    @max_overlaps.setter
    def max_overlaps(self, values: Tensor | None) -> None:
        self._max_overlaps = values

    def add_gt_(self, gt_labels: Tensor) -> None:
        """Put the cells themselves before the boxes, as a sampler with ``add_gt_as_proposals`` does.

        Args:
            gt_labels: Labels of the cells, (K,).
        """
        found, find = self._max_overlaps, self._find
        self._max_overlaps = self.gt_inds.new_zeros(0)  # so that they are not found now
        super().add_gt_(gt_labels)
        count = len(gt_labels)

        def find_both() -> Tensor:
            overlaps = find() if found is None else found
            return torch.cat([overlaps.new_ones(count), overlaps])

        self._max_overlaps, self._find = None, find_both


@TASK_UTILS.register_module()
class SparseMaxIoUAssigner(MaxIoUAssigner):
    """MMDetection's ``MaxIoUAssigner`` for images of thousands of cells: the same assignments at a flat cost.

    ``MaxIoUAssigner`` computes the IoU of all boxes with all cells, 160,000 anchors times 1000 cells for an image of
    800 x 800 pixels, several times over. Here only those pairs are computed whose IoU can reach the lowest of the
    thresholds, since no other changes an assignment. All numbers are the same to the last bit, ``max_overlaps``
    too; they need all pairs that overlap, and so are found when they are read. An accelerator compares all pairs if
    there are no more than 16 million.

    Arguments are those of ``MaxIoUAssigner``. ``gpu_assign_thr`` is ignored: memory does not grow with the cells, so
    nothing has to move to the CPU. Boxes in half precision or with coordinates that are not finite are left to
    ``MaxIoUAssigner``.

    Args:
        *args: As ``MaxIoUAssigner``.
        **kwargs: As ``MaxIoUAssigner``.

    Raises:
        InputError: If ``iou_calculator`` is not ``BboxOverlaps2D`` in full precision, or ``neg_iou_thr`` neither a
            float nor a tuple of two: ``MaxIoUAssigner`` takes anything else and assigns no box to the background.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name, calculator = type(self).__name__, self.iou_calculator
        if type(calculator) is not BboxOverlaps2D or calculator.dtype is not None:
            raise InputError(
                f'{name}.iou_calculator', f'{calculator} is not supported', 'leave it out, or use MaxIoUAssigner'
            )
        if not isinstance(self.neg_iou_thr, float) and not (
            isinstance(self.neg_iou_thr, tuple) and len(self.neg_iou_thr) == 2
        ):
            raise InputError(
                f'{name}.neg_iou_thr', f'{self.neg_iou_thr!r} makes nothing negative', 'give a float or a tuple of two'
            )

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """Assign cells to boxes.

        Args:
            pred_instances: Of which ``priors`` are read, (N, 4): anchors or proposals.
            gt_instances: Of which ``bboxes``, (K, 4), and ``labels``, (K,) int64, are read.
            gt_instances_ignore: Of which ``bboxes`` are read: crowd regions, (I, 4).
            **kwargs: Ignored, as by ``MaxIoUAssigner``.

        Returns:
            For each box the number of its cell from 1, 0 for the background, -1 for neither; and its label.
        """
        priors, cells = (_boxes(boxes) for boxes in (pred_instances.priors, gt_instances.bboxes))
        crowds = None if gt_instances_ignore is None else _boxes(gt_instances_ignore.bboxes)
        if self.ignore_iof_thr <= 0 or (crowds is not None and not crowds.numel()):
            crowds = None
        if not all(_is_plain(boxes, priors.dtype) for boxes in (priors, cells, crowds) if boxes is not None):
            return super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        if self.perm_repeat_gt_cfg is not None:
            cells = perm_repeat_bboxes(cells, self.iou_calculator, self.perm_repeat_gt_cfg)
        if crowds is None and _prefers_all_pairs(priors, cells):
            largest, gt_inds = self._match_all(self.iou_calculator(cells, priors))
            return SparseAssignResult(len(cells), gt_inds, lambda: largest, _labels(gt_inds, gt_instances.labels))
        grid = BoxGrid(priors)
        ignored = priors.new_zeros(len(priors), dtype=torch.bool)
        if crowds is not None:
            over: Literal['box', 'query'] = 'box' if self.ignore_wrt_candidates else 'query'
            for _, box, share in grid.pairs(crowds, self.ignore_iof_thr, over):
                ignored[box[share > self.ignore_iof_thr]] = True

        least = self._lowest_threshold()
        overlaps, gt_inds = self._match(grid, cells, ignored if crowds is not None else None, least, len(priors))

        def find_max_overlaps() -> Tensor:
            with torch.no_grad():
                for _, box, iou in grid.pairs(cells) if least > 0 else ():
                    overlaps.scatter_reduce_(0, box, iou, 'amax')
            overlaps[ignored] = -1
            return overlaps

        return SparseAssignResult(len(cells), gt_inds, find_max_overlaps, _labels(gt_inds, gt_instances.labels))

    def _lowest_threshold(self) -> float:
        """IoU below which no pair changes an assignment."""
        negative = self.neg_iou_thr if isinstance(self.neg_iou_thr, tuple) else (self.neg_iou_thr,)
        # An overlap of 0 or more is on the same side of a negative threshold, whatever it is.
        thresholds = [self.pos_iou_thr, *(bound for bound in negative if bound > 0)]
        if self.match_low_quality:
            thresholds.append(self.min_pos_iou)
        return max(min(thresholds), 0.0)

    def _match(
        self, grid: BoxGrid, cells: Tensor, ignored: Tensor | None, least: float, count: int
    ) -> tuple[Tensor, Tensor]:
        """Match `count` boxes with the cells, step by step as ``MaxIoUAssigner.assign_wrt_overlaps``.

        Returns the largest IoU of each box, 0 if below `least`, and the numbers of its assigned cell.
        """
        overlaps = cells.new_zeros(count)
        best = torch.zeros(count, dtype=torch.long, device=cells.device)  # first of the cells with the largest IoU
        low_quality = torch.zeros_like(best)  # number of the last cell of which no other box has more
        highest = cells.new_zeros(len(cells))  # largest IoU of each cell
        for pairs in grid.pairs(cells, least):
            query, box, iou = pairs if ignored is None else (part[~ignored[pairs.box]] for part in pairs)
            before = overlaps[box]
            overlaps.scatter_reduce_(0, box, iou, 'amax')
            # Earlier cells came before, so they keep a box of which they have as much.
            first = (iou > before) & (iou == overlaps[box])
            best[box[first]] = len(cells)
            best.scatter_reduce_(0, box[first], query[first], 'amin')
            if self.match_low_quality:
                highest.scatter_reduce_(0, query, iou, 'amax')
                matched = (iou == highest[query]) & (iou >= self.min_pos_iou)
                query, box = query[matched], box[matched]
                if not self.gt_max_assign_all:
                    firsts = best.new_full((len(cells),), count).scatter_reduce_(0, query, box, 'amin')
                    query = (firsts < count).nonzero()[:, 0]
                    box = firsts[query]
                low_quality.scatter_reduce_(0, box, query + 1, 'amax')
        if ignored is not None:
            overlaps[ignored] = -1
        if self.match_low_quality and self.min_pos_iou <= 0:
            self._match_lonely(highest, overlaps, low_quality)

        return overlaps, self._choose(overlaps, best, low_quality)

    def _match_all(self, iou: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`_match`, from the IoU of K > 0 cells with all N boxes, (K, N), and without waiting for a device."""
        overlaps, best = iou.max(dim=0)
        # Where several cells have as much of a box, `max` may name any of them, MMDetection's on a CPU the first.
        number = torch.arange(1, len(iou) + 1, device=iou.device)[:, None]
        best = torch.where(iou == overlaps, number, len(iou) + 1).amin(dim=0) - 1
        low_quality = torch.zeros_like(best)
        if self.match_low_quality:
            highest = iou.amax(dim=1, keepdim=True)
            matched = (iou == highest) & (highest >= self.min_pos_iou)
            if not self.gt_max_assign_all:
                matched &= matched.cumsum(dim=1) == 1
            low_quality = (matched * number).amax(dim=0)
        return overlaps, self._choose(overlaps, best, low_quality)

    def _choose(self, overlaps: Tensor, best: Tensor, low_quality: Tensor) -> Tensor:
        """Number of each box's cell, (N,): 0 is the background, -1 neither; `low_quality` goes first, where not 0."""
        low, high = self.neg_iou_thr if isinstance(self.neg_iou_thr, tuple) else (0, self.neg_iou_thr)
        gt_inds = torch.where((overlaps >= low) & (overlaps < high), 0, torch.full_like(best, -1))
        gt_inds = torch.where(overlaps >= self.pos_iou_thr, best + 1, gt_inds)
        return torch.where(low_quality > 0, low_quality, gt_inds)

    def _match_lonely(self, highest: Tensor, overlaps: Tensor, low_quality: Tensor) -> None:
        """Give boxes to cells that overlap none, as a threshold of 0 or less asks: all have the largest IoU, 0 or -1.

        Only the last cell counts, since each takes the boxes of those before it. `low_quality` is changed.
        """
        lonely = (highest == 0).nonzero()[:, 0]
        alike = (overlaps >= 0).nonzero()[:, 0]
        value = 0 if len(alike) else -1
        if not len(lonely) or value < self.min_pos_iou:
            return
        if value < 0:
            alike = torch.arange(len(overlaps), device=overlaps.device)
        if not self.gt_max_assign_all:
            alike = alike[:1]
        low_quality[alike] = low_quality[alike].clamp(min=int(lonely[-1]) + 1)


def _boxes(boxes: Any) -> Tensor:
    """Corners, (N, 4), without the scores that proposals may carry."""
    return get_box_tensor(boxes)[..., :4]


def _labels(gt_inds: Tensor, labels: Tensor) -> Tensor:
    """Label of each box's cell, -1 without one."""
    return torch.where(gt_inds > 0, labels[(gt_inds - 1).clamp(min=0)], -1)


def _prefers_all_pairs(priors: Tensor, cells: Tensor) -> bool:
    """Whether to look at all pairs rather than to search those that overlap."""
    return priors.device.type != 'cpu' and len(priors) * len(cells) <= _ALL_PAIRS


def _is_plain(boxes: Tensor, dtype: torch.dtype) -> bool:
    """Whether there are boxes, in full precision, and all are finite."""
    if not boxes.numel() or boxes.dtype != dtype or dtype not in (torch.float32, torch.float64):
        return False
    low, high = boxes.aminmax()
    return bool((low > -LARGEST) & (high < LARGEST))
