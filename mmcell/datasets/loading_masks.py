"""Loading the cells of an image without a bitmap for each."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import get_box_type

from mmcell.coco.masks import to_rle
from mmcell.errors import InputError
from mmcell.io.limits import MAX_COVERED
from mmcell.structures.label_map_masks import LabelMapMasks
from mmcell.structures.rle import decode


@TRANSFORMS.register_module()
class LoadCellAnnotations(LoadAnnotations):
    """Load boxes, labels and masks; the masks as :class:`LabelMapMasks`, painted straight from the annotations' RLE.

    Boxes, labels and ignore flags are those of MMDetection's ``LoadAnnotations``, and so is the treatment of polygons
    and of masks that are neither: a cell without a usable mask is ignored.

    Geometric transforms leave a cell that lost its last pixel in place, empty, and mmdet drops cells by box only. To
    let it go with its label and box, and to have boxes that fit what is left, use both of

    - ``RandomCrop(..., recompute_bbox=True)`` and
    - ``FilterAnnotations(by_box=False, by_mask=True)`` after the last geometric transform.

    Args:
        with_mask: Whether to load masks.
        **kwargs: Other arguments of :class:`mmdet.datasets.transforms.LoadAnnotations`, but for ``poly2mask``.
    """

    def __init__(self, with_mask: bool = True, **kwargs: Any) -> None:
        super().__init__(with_mask=with_mask, poly2mask=True, **kwargs)

    def _load_bboxes(self, results: dict[str, Any]) -> None:
        # torch reads a nested list number by number, which takes longer than all the masks.
        instances = results.get('instances', [])
        boxes = np.array([instance['bbox'] for instance in instances], dtype=np.float32).reshape(-1, 4)
        results['gt_bboxes'] = boxes if self.box_type is None else get_box_type(self.box_type)[1](boxes)
        results['gt_ignore_flags'] = np.array([instance['ignore_flag'] for instance in instances], dtype=bool)

    def _load_masks(self, results: dict[str, Any]) -> None:
        height, width = results['ori_shape']
        try:
            rles = [to_rle(mask, (height, width)) for mask in self._process_masks(results)]
            runs = decode(rles, (height, width))
            if runs.areas.sum() > MAX_COVERED:
                raise ValueError(f'masks cover more than {MAX_COVERED} pixels')
            results['gt_masks'] = LabelMapMasks.from_runs(runs)
        except (ValueError, KeyError, TypeError) as error:  # mmdet's own checks trust the json
            raise InputError(
                results.get('img_path', 'annotations'),
                f'has a broken annotation ({error})',
                'convert the data again with tools/convert.py',
            ) from None
