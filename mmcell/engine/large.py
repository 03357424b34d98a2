"""Prediction of images that are too large to be held as the network wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.io.images import ChannelOrder
from mmcell.io.windows import ImageWindows
from mmcell.models.wrapper import DetectorWrapper


def predict_large(
    model: DetectorWrapper, path: str | Path, channel_order: ChannelOrder = 'rgb', progress: bool = True
) -> InstanceData:
    """Predict the cells of an image that is read, normalised and predicted tile by tile.

    Where the test pipeline only loads images, the result is that of the usual way for any image.

    Args:
        model: The model, ready to predict, one that `reads_windows`: tiles, or an ensemble of tiles.
        path: The image.
        channel_order: Order of the colours in the file.
        progress: Whether to show on a terminal how many tiles are done.

    Returns:
        bboxes (n, 4) as x1, y1, x2, y2, scores (n,), labels (n,) and masks (n RLE) of the whole image.

    Raises:
        InputError: If the image cannot be read.
    """
    with ImageWindows(path, channel_order) as image, torch.no_grad():

        def cut(x1: int, y1: int, x2: int, y2: int) -> Tensor:
            bgr = np.ascontiguousarray(image.read(x1, y1, x2, y2)[..., ::-1].transpose(2, 0, 1))
            data = dict(inputs=[torch.from_numpy(bgr)], data_samples=None)
            # The preprocessor pads, which is for the detector to do once the tile has been enlarged.
            return model.data_preprocessor(data, training=False)['inputs'][0, :, : y2 - y1, : x2 - x1]

        return model.predict_windows(cut, image.size, progress)
