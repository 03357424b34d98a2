"""A proposal head whose boxes and scores are precise in mixed precision too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class DenseRPNHead(RPNHead):
    """MMDetection's head with the same parameters; in mixed precision its last convolutions are in single precision.

    MMDetection makes its anchors in the precision of the scores: in half precision they stand on whole pixels beyond
    1024, in bfloat16 on every second one beyond 256, and mmcv's suppression has no kernel for the latter. Scores in
    bfloat16 would be alike for many of the thousands of proposals that they rank.
    """

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, (N, anchors * classes, H, W), and box offsets, (N, anchors * 4, H, W), of a level (N, C, H, W)."""
        x = F.relu(self.rpn_conv(x))
        if x.dtype not in (torch.half, torch.bfloat16):
            return self.rpn_cls(x), self.rpn_reg(x)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            return self.rpn_cls(x), self.rpn_reg(x)
