"""One outline for each box, however many classes it is reported under."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.models.class_probabilities import ClassProbabilities


def merge_boxes(results: InstanceData) -> tuple[InstanceData, Tensor]:
    """The detections of an image whose boxes differ: of those with the same box, bit for bit, the first.

    Where boxes are shared by all classes (``reg_class_agnostic``), a proposal that scores well for three of them
    is three detections with one box.

    Args:
        results: n detections.

    Returns:
        m of them, in the same order, and for each of the n which of the m has its box, (n,) int64.
    """
    _, box_of = results.bboxes.unique(dim=0, return_inverse=True)
    number = torch.arange(len(box_of), device=box_of.device)
    first = number.new_full((int(box_of.max()) + 1 if len(box_of) else 0,), len(box_of))
    order = first.scatter_reduce_(0, box_of, number, 'amin').argsort()
    return results[first[order]], order.argsort()[box_of]


def spread_outlines(results: InstanceData, merged: InstanceData, box_of: Tensor) -> InstanceData:
    """Give detections the boxes, which may have been rescaled, and the masks of those that they were merged into.

    Args:
        results: The n detections that :func:`merge_boxes` was given; changed in place.
        merged: The m detections, with masks: a list of RLE or a tensor, (m, H, W).
        box_of: Which of the m is that of each of the n, (n,).
    """
    results.bboxes = merged.bboxes[box_of]
    masks = merged.masks
    results.masks = [masks[box] for box in box_of.tolist()] if isinstance(masks, list) else masks[box_of]
    return results


if TYPE_CHECKING:
    from mmdet.models.roi_heads import StandardRoIHead as _InFrontOf
else:
    _InFrontOf = object


class _SharedOutlines(_InFrontOf):
    """A RoI head that predicts the outline of each box once, if its outlines are those of all classes."""

    @property
    def shares_outlines(self) -> bool:
        """Whether the masks of a box are the same under every class."""
        heads = self.mask_head if isinstance(self.mask_head, torch.nn.ModuleList) else [self.mask_head]
        return all(head.class_agnostic for head in heads)

    def predict_mask(
        self, x: tuple[Tensor, ...], batch_img_metas: list[dict], results_list: InstanceList, rescale: bool = False
    ) -> InstanceList:
        """Add masks to detections; arguments as MMDetection's, whose results are the same."""
        if not self.shares_outlines:
            return super().predict_mask(x, batch_img_metas, results_list, rescale)
        merged, box_of = zip(*map(merge_boxes, results_list))
        merged = super().predict_mask(x, batch_img_metas, list(merged), rescale)
        return [spread_outlines(*each) for each in zip(results_list, merged, box_of)]


@MODELS.register_module()
class DenseRoIHead(ClassProbabilities, _SharedOutlines, StandardRoIHead):
    """MMDetection's head, with the probabilities of all classes, and one outline for each box.

    A class-agnostic mask head predicts each box once, not once for each of the classes that it is reported under.
    """


@MODELS.register_module()
class DenseCascadeRoIHead(ClassProbabilities, _SharedOutlines, CascadeRoIHead):
    """MMDetection's cascade, as :class:`DenseRoIHead`."""
