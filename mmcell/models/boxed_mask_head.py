"""A mask head whose predictions leave it as RLE, pasted and encoded inside their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from torch import Tensor

from mmcell.errors import InputError
from mmcell.structures.rle import RLE, Runs, find_box_runs

# Boxes that go through the convolutions together on a CPU: their maps then stay in its cache. Of 600 boxes of 64
# channels it takes two thirds of the time that all together take.
_BOXES = 32
# Pixels pasted together, padding included: some 10 MB on the way. A larger box goes alone.
_CHUNK = 1 << 18


@MODELS.register_module()
class BoxedRLEMaskHead(FCNMaskHead):
    """MMDetection's mask head with the same parameters, losses and masks, for images of a thousand cells.

    MMDetection pastes N masks into an N x H x W canvas, 4 GB for 1000 cells on 2000 x 2000 pixels, and its metric
    encodes each full frame. Here each mask is pasted into its own box only, many boxes together, and leaves as COCO RLE
    in ``results.masks``, a list. The RLE are byte for byte those of MMDetection's CPU paste; its GPU paste also fills
    pixels more than one pixel outside the box, which large masks reach at thresholds below 0.5.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, classes, 2 h, 2 w), of the features of n boxes, (n, in_channels, h, w)."""
        if torch.is_grad_enabled() or x.device.type != 'cpu' or len(x) <= _BOXES:
            return super().forward(x)
        return torch.cat([super(BoxedRLEMaskHead, self).forward(part) for part in x.split(_BOXES)])

    def predict_by_feat(
        self,
        mask_preds: Sequence[Tensor],
        results_list: list[InstanceData],
        batch_img_metas: list[dict],
        rcnn_test_cfg: ConfigDict,
        rescale: bool = False,
        activate_map: bool = False,
    ) -> InstanceList:
        """Add ``masks`` to the detections of each image.

        Args:
            mask_preds: Logits of each image, (n, num_classes, h, w).
            results_list: Detections of each image; their boxes are rescaled in place, as MMDetection does.
            batch_img_metas: Their meta data.
            rcnn_test_cfg: Of which ``mask_thr_binary`` is read.
            rescale: Whether masks and boxes are wanted at the size of the original image.
            activate_map: Whether `mask_preds` are probabilities already.

        Returns:
            `results_list`, each with ``masks``: a list of n COCO RLE dicts.

        Raises:
            InputError: If ``mask_thr_binary`` is negative, MMDetection's sign for soft masks, which RLE cannot hold.
        """
        if rcnn_test_cfg.mask_thr_binary < 0:
            raise InputError(
                'model.test_cfg.rcnn.mask_thr_binary',
                f'{rcnn_test_cfg.mask_thr_binary} asks for soft masks, which BoxedRLEMaskHead cannot write',
                'set a threshold between 0 and 1, or use FCNMaskHead',
            )
        results_list = super().predict_by_feat(
            mask_preds, results_list, batch_img_metas, rcnn_test_cfg, rescale, activate_map
        )
        for results in results_list:
            if not len(results):
                results.masks = []  # MMDetection gives an image without detections a tensor
        return results_list

    def _predict_by_feat_single(
        self,
        mask_preds: Tensor,
        bboxes: Tensor,
        labels: Tensor,
        img_meta: dict,
        rcnn_test_cfg: ConfigDict,
        rescale: bool = False,
        activate_map: bool = False,
    ) -> list[RLE]:
        """The masks of one image; arguments as :meth:`predict_by_feat`, for n > 0 detections."""
        scale_w, scale_h = img_meta['scale_factor']
        height, width = img_meta['ori_shape'][:2]
        # The sigmoid comes before the choice of the class, since it may round differently at other places in memory.
        masks = mask_preds.to(bboxes) if activate_map else mask_preds.sigmoid()
        if rescale:
            bboxes /= bboxes.new_tensor([scale_w, scale_h, scale_w, scale_h])
        else:
            scale_w, scale_h = bboxes.new_tensor([scale_w, scale_h]).tolist()
            height, width = int(np.round(height * scale_h)), int(np.round(width * scale_w))
        if not self.class_agnostic:
            masks = masks[range(len(masks)), labels][:, None]
        return paste_and_encode(masks, bboxes, (height, width), rcnn_test_cfg.mask_thr_binary)


def paste_and_encode(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float) -> list[RLE]:
    """Paste masks into their boxes on an image and encode what reaches the threshold.

    Equals ``_do_paste_mask(..., skip_empty=True)`` of mmdet one by one, ``>= threshold`` and ``pycocotools`` encoding.
    Costs one copy to the CPU for the boxes and one for each chunk of masks.

    Args:
        masks: Probabilities, (N, 1, h, w).
        boxes: x1, y1, x2, y2 in pixels, (N, 4); may stick out of the image or be flat.
        size: Height and width of the image.
        threshold: Least probability of foreground, 0 or more.

    Returns:
        N compressed RLE.
    """
    if not len(boxes):
        return []
    # As MMDetection: the pixels that the box touches and one more on each side, inside the image.
    first = (boxes[:, :2].floor() - 1).clamp(min=0).long()
    extent = (torch.minimum(boxes[:, 2:].ceil() + 1, boxes.new_tensor(size[::-1])).long() - first).clamp(min=0)
    corners, extents = torch.stack([first, extent]).cpu().numpy()
    # Boxes of like size go together, so that padding them to one size wastes little.
    order = np.lexsort((extents[:, 1], extents[:, 0] // 8))
    parts = []
    for start, end in pairwise(_chunk_bounds(extents[order])):
        members = order[start:end]
        index = torch.from_numpy(members).to(boxes.device)
        bitmaps = _paste(
            masks[index], boxes[index], first[index], extent[index], extents[members].max(axis=0), threshold
        )
        parts.append(find_box_runs(bitmaps.cpu().numpy(), corners[members], size))
    return Runs.cat(parts).select(np.argsort(order)).encode()


def _chunk_bounds(extents: NDArray[np.integer]) -> list[int]:
    """Where to cut N boxes of the given widths and heights, (N, 2), so that each part, padded, fits a chunk."""
    bounds, widest, highest = [0], 0, 0
    for i, (width, height) in enumerate(extents.tolist()):
        widest, highest = max(widest, width), max(highest, height)
        if i > bounds[-1] and (i + 1 - bounds[-1]) * widest * highest > _CHUNK:
            bounds.append(i)
            widest, highest = width, height
    return [*bounds, len(extents)]


def _paste(
    masks: Tensor, boxes: Tensor, first: Tensor, extent: Tensor, shape: tuple[int, int], threshold: float
) -> Tensor:
    """Sample n masks, (n, 1, h, w), at the pixels of their regions of the image.

    Regions start at `first` and have `extent` pixels, both (n, 2) as x, y. Returns (n, *shape) bool, x before y since
    RLE goes down the columns; False outside the regions.
    """
    positions, inside = [], []
    for axis in (0, 1):
        steps = torch.arange(shape[axis], device=boxes.device)
        start, end = boxes[:, axis, None], boxes[:, axis + 2, None]
        position = ((first[:, axis, None] + steps).float() + 0.5 - start) / (end - start) * 2 - 1
        # A flat box divides by zero; MMDetection then takes the middle of the mask.
        positions.append(position.masked_fill(position.isinf(), 0))
        inside.append(steps < extent[:, axis, None])
    grid = torch.stack(torch.broadcast_tensors(positions[0][:, :, None], positions[1][:, None, :]), dim=3)
    pasted = F.grid_sample(masks.float(), grid, align_corners=False)[:, 0]
    return (pasted >= threshold) & inside[0][:, :, None] & inside[1][:, None, :]
