"""Loading images of the kinds that microscopes write."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmcell.io.images import read_image


@TRANSFORMS.register_module()
class LoadCellImage(BaseTransform):
    """Load an image as :func:`mmcell.io.images.read_image` does.

    MMDetection's `LoadImageFromFile` reads through OpenCV, which refuses or rescales several kinds of TIFF, drops alpha
    and takes red for blue where the file stores them swapped.

    Required keys: img_path, channel_order (optional, 'rgb').

    Added keys: img (uint8, (H, W, 3), BGR as everywhere in MMDetection), img_shape, ori_shape, scale_factor (1, 1):
    MMDetection leaves the last to Resize, so that a detector cannot predict from a pipeline without one.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Load the image of `results['img_path']`.

        Raises:
            InputError: If the image cannot be read.
        """
        image = read_image(results['img_path'], results.get('channel_order', 'rgb'))
        results['img'] = np.ascontiguousarray(image[..., ::-1])
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        results['scale_factor'] = (1.0, 1.0)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
