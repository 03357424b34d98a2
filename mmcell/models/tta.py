"""Test-time augmentation of masks: an image is predicted in several views, and the views are merged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
from mmcv.ops import batched_nms
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.models.shared_outlines import merge_boxes, spread_outlines
from mmcell.models.wrapper import DetectorWrapper, resize


class View(NamedTuple):
    """How an image is seen: mirrored left to right, then turned counterclockwise by quarters, then scaled."""

    mirror: bool = False
    turns: int = 0
    scale: float = 1.0

    def of_images(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) as this view shows them."""
        if self.mirror:
            images = images.flip(3)
        return resize(torch.rot90(images, self.turns, (2, 3)), self.scale)

    def of_boxes(self, boxes: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> Tensor:
        """Boxes, (n, 4) as x1, y1, x2, y2, of an image of a height and width, in a view of `view_size`."""
        height, width = size
        if self.mirror:
            boxes = _mirror(boxes, width)
        for _ in range(self.turns):
            boxes = _turn(boxes, width)
            height, width = width, height
        return boxes * _ratio(boxes, view_size, (height, width))

    def to_boxes(self, boxes: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> Tensor:
        """The inverse of :meth:`of_boxes`."""
        height, width = size[::-1] if self.turns % 2 else size
        boxes = boxes / _ratio(boxes, view_size, (height, width))
        for _ in range(-self.turns % 4):
            boxes = _turn(boxes, width)
            height, width = width, height
        return _mirror(boxes, width) if self.mirror else boxes

    def to_masks(self, masks: Tensor) -> Tensor:
        """Masks inside boxes of the view, (n, C, h, w), as they are inside the boxes of the image."""
        masks = torch.rot90(masks, -self.turns, (2, 3))
        return masks.flip(3) if self.mirror else masks


def _mirror(boxes: Tensor, width: int) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=1)


def _turn(boxes: Tensor, width: int) -> Tensor:
    """A quarter counterclockwise: what was at the right comes to lie on top."""
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([y1, width - x2, y2, width - x1], dim=1)


def _ratio(boxes: Tensor, size: tuple[int, int], before: tuple[int, int]) -> Tensor:
    ratio = [size[1] / before[1], size[0] / before[0]]
    return boxes.new_tensor([*ratio, *ratio])


@MODELS.register_module()
class CellTTA(DetectorWrapper):
    """A two-stage detector that predicts from several views of an image, masks included.

    As in Detectron2's ``GeneralizedRCNNWithTTA``: the boxes of all views, brought back to the image, go through one
    more non-maximum suppression per class; the mask head then looks at the boxes that are left in every view, the
    probabilities are averaged inside the boxes, and only their mean is pasted and thresholded, once. A single
    untransformed view gives just what `detector` gives. The views are all elements of `mirror` x `turns` x `scales`;
    by default the eight orientations of a square. The features of all views are held at a time.

    Args:
        detector: Config of a Mask R-CNN or a Cascade Mask R-CNN.
        mirror: Whether to mirror: False, True or both.
        turns: Quarter turns, counterclockwise.
        scales: Sizes relative to the image.

    Raises:
        ValueError: If there is no view.
    """

    def __init__(
        self,
        detector: ConfigType,
        mirror: Sequence[bool] = (False, True),
        turns: Sequence[int] = (0, 1, 2, 3),
        scales: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__(detector)
        self.views = [View(*view) for view in product(mirror, [turn % 4 for turn in turns], scales)]
        if not self.views:
            raise ValueError('mirror, turns and scales must each name at least one choice')

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Predict the cells of images.

        Args:
            batch_inputs: Normalized images, (N, 3, H, W), padded to one size. Images of different size are predicted
                one by one, as if each were alone.
            batch_data_samples: Their meta data.
            rescale: Whether predictions are wanted at the size of the original images.

        Returns:
            The samples with `pred_instances`.
        """
        sizes: list[tuple[int, int]] = [tuple(sample.img_shape[:2]) for sample in batch_data_samples]
        if len(set(sizes)) > 1:
            return [
                self.predict(inputs[None], [sample], rescale)[0]
                for inputs, sample in zip(batch_inputs, batch_data_samples)
            ]
        height, width = sizes[0]
        images = batch_inputs[:, :, :height, :width]
        metas = [{'scale_factor': (1.0, 1.0), **sample.metainfo} for sample in batch_data_samples]
        features, view_sizes, found = [], [], []
        for view in self.views:
            seen = view.of_images(images)
            view_sizes.append((seen.shape[2], seen.shape[3]))
            inputs, samples = self.as_inputs(seen, view_sizes[-1], (1.0, 1.0))
            features.append(self.detector.extract_feat(inputs))
            found.append(self._predict_boxes(features[-1], samples))
            for results in found[-1]:
                results.bboxes = view.to_boxes(results.bboxes, (height, width), view_sizes[-1])
        results = [self._merge(views) for views in zip(*found)]
        shares = getattr(self.detector.roi_head, 'shares_outlines', False)
        merged = [merge_boxes(each) for each in results] if shares else []
        outlined = [boxes for boxes, _ in merged] if shares else results
        probabilities = self._average_masks(features, outlined, (height, width), view_sizes)
        mask_head = self.detector.roi_head.mask_head
        outlined = (mask_head[-1] if self._is_cascade else mask_head).predict_by_feat(
            probabilities, outlined, metas, self.detector.roi_head.test_cfg, rescale, activate_map=True
        )
        if shares:
            outlined = [spread_outlines(*each) for each in zip(results, outlined, [box_of for _, box_of in merged])]
        return self.add_pred_to_datasample(batch_data_samples, outlined)

    @property
    def _is_cascade(self) -> bool:
        return isinstance(self.detector.roi_head, CascadeRoIHead)

    def _predict_boxes(self, features: tuple[Tensor, ...], samples: SampleList) -> InstanceList:
        proposals = self.detector.rpn_head.predict(features, samples, rescale=False)
        roi_head = self.detector.roi_head
        metas = [sample.metainfo for sample in samples]
        return roi_head.predict_bbox(features, metas, proposals, roi_head.test_cfg, rescale=False)

    def _merge(self, views: Sequence[InstanceData]) -> InstanceData:
        """The detections of one image in all views -> those that are not suppressed by a better one."""
        if len(views) == 1:
            return views[0]
        results = InstanceData.cat(list(views))
        cfg = self.detector.roi_head.test_cfg
        if not len(results):
            return results
        boxes, kept = batched_nms(results.bboxes, results.scores, results.labels, cfg.nms)
        results = results[kept]
        results.scores = boxes[:, 4]  # soft suppression lowers them
        return results[: cfg.max_per_img] if cfg.max_per_img > 0 else results

    def _average_masks(
        self,
        features: Sequence[tuple[Tensor, ...]],
        results: InstanceList,
        size: tuple[int, int],
        view_sizes: Sequence[tuple[int, int]],
    ) -> tuple[Tensor, ...]:
        """Mean over the views of the mask probabilities of each image, (n, num_classes, h, w)."""
        total: Tensor | None = None
        for view, levels, view_size in zip(self.views, features, view_sizes):
            rois = bbox2roi([view.of_boxes(each.bboxes, size, view_size) for each in results])
            masks = view.to_masks(self._predict_masks(levels, rois))
            total = masks if total is None else total + masks
        assert total is not None  # there is a view
        return (total / len(self.views)).split([len(each) for each in results])

    def _predict_masks(self, features: tuple[Tensor, ...], rois: Tensor) -> Tensor:
        roi_head = self.detector.roi_head
        if not self._is_cascade:
            return roi_head._mask_forward(features, rois)['mask_preds'].sigmoid()
        logits = [roi_head._mask_forward(stage, features, rois)['mask_preds'] for stage in range(roi_head.num_stages)]
        return torch.stack([stage.sigmoid() for stage in logits]).mean(dim=0)
