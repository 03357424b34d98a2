"""Detectors around detectors: they change how a trained model predicts, nothing else."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import ConfigType
from torch import Tensor, nn


class DetectorWrapper(BaseDetector):
    """A detector that trains as another one does and shares its checkpoints.

    The names of the weights are those of the wrapped detector, both ways: a checkpoint of either loads into the other.

    Args:
        detector: Config of the detector; its `data_preprocessor` becomes the wrapper's.

    """

    def __init__(self, detector: ConfigType) -> None:
        detector = MODELS.build(detector)
        super().__init__(data_preprocessor=detector.data_preprocessor)
        self.detector = detector
        self.register_state_dict_post_hook(_hide_wrapper)
        self.register_load_state_dict_pre_hook(_expect_no_wrapper)

    @property
    def reads_windows(self) -> bool:
        """Whether it has `predict_windows`, which takes images that are not in memory as a whole."""
        return False

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Features of the wrapped detector."""
        return self.detector.extract_feat(batch_inputs)

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Any]:
        """Losses of the wrapped detector."""
        return self.detector.loss(batch_inputs, batch_data_samples)

    def as_inputs(
        self, images: Tensor, ori_shape: tuple[int, int], scale_factor: tuple[float, float]
    ) -> tuple[Tensor, list[DetDataSample]]:
        """Normalized images as a detector's `predict` wants them.

        Args:
            images: (N, C, H, W), without padding.
            ori_shape: Height and width that predictions are to be scaled back to.
            scale_factor: Width and height of `images` relative to `ori_shape`.

        Returns:
            The images, padded at the right and below as the data preprocessor does, and N samples.
        """
        height, width = images.shape[2:]
        divisor = getattr(self.data_preprocessor, 'pad_size_divisor', 1)
        value = getattr(self.data_preprocessor, 'pad_value', 0)
        padded = F.pad(images, (0, -width % divisor, 0, -height % divisor), value=value)
        shape = tuple(padded.shape[2:])
        meta = dict(
            ori_shape=tuple(ori_shape),
            img_shape=(height, width),
            pad_shape=shape,
            batch_input_shape=shape,
            scale_factor=tuple(scale_factor),
        )
        return padded, [DetDataSample(metainfo=meta) for _ in images]

    def _forward(self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None) -> tuple:
        return self.detector._forward(batch_inputs, batch_data_samples)


def _hide_wrapper(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    _rename(state_dict, f'{prefix}detector.', prefix)


def _expect_no_wrapper(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    _rename(state_dict, prefix, f'{prefix}detector.')


def _rename(state_dict: dict[str, Any], old: str, new: str) -> None:
    for name in [name for name in state_dict if name.startswith(old)]:
        state_dict[new + name.removeprefix(old)] = state_dict.pop(name)


def resize(images: Tensor, scale: float) -> Tensor:
    """Images (N, C, H, W) scaled to the nearest whole pixels; those of a scale of 1 untouched."""
    size = [max(1, round(side * scale)) for side in images.shape[2:]]
    if size == list(images.shape[2:]):
        return images
    # Without smoothing, nuclei of shrunk images alias.
    return F.interpolate(images, size, mode='bilinear', align_corners=False, antialias=scale < 1)
