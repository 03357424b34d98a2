"""RoI features from maps of any memory layout and precision."""

from __future__ import annotations

import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS
from torch import Tensor

from mmcell.models.roi_align import roi_align


@MODELS.register_module()
class DenseRoIExtractor(SingleRoIExtractor):
    """MMDetection's extractor with the same arguments and features, right whatever the memory layout, fast on a CPU.

    mmcv's RoIAlign takes its input for contiguous: of features that are `channels_last`, as timm's ConvNeXt gives them
    and convolutions hand them on, it reads other pixels, without a word. In half precision MMDetection rounds the
    boxes, too, to whole pixels beyond 1024. Here the boxes, and what is computed with them, stay in single precision,
    as in torchvision's mixed precision; features come back in the precision that they came in.

    On a CPU, :func:`mmcell.models.roi_align.roi_align` does the work, elsewhere mmcv's operator, on contiguous maps.
    """

    def forward(self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Features of each box, (K, out_channels, h, w).

        Args:
            feats: Feature maps, each (N, out_channels, H, W), in any memory layout and float dtype.
            rois: Index of the image and x1, y1, x2, y2 in pixels of it, (K, 5).
            roi_scale_factor: How much to enlarge boxes around their centers, once their levels are chosen.

        Raises:
            ValueError: On a CPU, if a box has a negative or undefined side.
        """
        dtype = feats[0].dtype
        precise = dtype if dtype == torch.float64 else torch.float32
        rois = rois.to(precise)
        with torch.autocast(feats[0].device.type, enabled=False):
            if feats[0].device.type == 'cpu' and all(_is_plain(layer) for layer in self.roi_layers):
                return self._align([level.to(precise) for level in feats], rois, roi_scale_factor).to(dtype)
            feats = tuple(level.to(precise).contiguous() for level in feats)
            return super().forward(feats, rois.contiguous(), roi_scale_factor).to(dtype)

    def _align(self, feats: list[Tensor], rois: Tensor, roi_scale_factor: float | None) -> Tensor:
        level_of = self.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        layer = self.roi_layers[0]
        scales = [each.spatial_scale for each in self.roi_layers]
        return roi_align(feats, rois, level_of, scales, layer.output_size, layer.sampling_ratio, layer.aligned)


def takes_any_layout(model: torch.nn.Module) -> bool:
    """Whether no operator of a model takes its input for contiguous, as those of mmcv do unless we see to it."""
    safe = {id(layer) for part in model.modules() if isinstance(part, DenseRoIExtractor) for layer in part.modules()}
    return all(id(part) in safe for part in model.modules() if type(part).__module__.startswith('mmcv.ops'))


def _is_plain(layer: torch.nn.Module) -> bool:
    return type(layer) is RoIAlign and layer.pool_mode == 'avg' and not layer.use_torchvision
