"""The cells of an image after their pixels changed."""

from __future__ import annotations

from typing import Any

from mmdet.structures.bbox import HorizontalBoxes

from mmcell.structures.label_map_masks import LabelMapMasks


def replace_masks(results: dict[str, Any], masks: LabelMapMasks) -> None:
    """Put `masks`, one for each cell, in place of the old ones: boxes follow the pixels, cells without any leave.

    Modified keys: gt_masks, gt_bboxes (float32, tight), gt_bboxes_labels and gt_ignore_flags where there are any.
    """
    runs = masks.to_runs()
    keep = runs.areas > 0
    boxes = runs.boxes[keep]
    boxes[:, 2:] += boxes[:, :2]
    results['gt_masks'] = masks[keep]
    results['gt_bboxes'] = HorizontalBoxes(boxes.astype('float32'))
    for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
        if key in results:
            results[key] = results[key][keep]
