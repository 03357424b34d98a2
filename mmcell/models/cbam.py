"""Convolutional block attention module (Woo et al., ECCV 2018, https://arxiv.org/abs/1807.06521)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Weigh channels: M_c(F) = sigmoid(MLP(avgpool(F)) + MLP(maxpool(F))), equation 2 of the paper.

    Args:
        channels: Number of channels C.
        reduction: The hidden layer of the shared MLP has C / reduction channels.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ValueError(f'reduction must be between 1 and the number of channels, {channels}, not {reduction}')
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weights (N, C, 1, 1) in (0, 1) for features (N, C, H, W)."""
        average, highest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return torch.sigmoid(self.mlp(average) + self.mlp(highest))


class SpatialAttention(nn.Module):
    """Weigh positions: M_s(F) = sigmoid(conv([mean over channels; max over channels])), equation 3 of the paper.

    Args:
        kernel_size: Size of the convolution, odd.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, not {kernel_size}')
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weights (N, 1, H, W) in (0, 1) for features (N, C, H, W)."""
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv(pooled))


class CBAM(nn.Module):
    """Channel attention, then spatial attention: F' = M_c(F) F, F'' = M_s(F') F', equation 1 of the paper.

    Without the batch norm that the authors' code has behind the spatial convolution and the paper does not mention:
    at the batch size of one that the reference trains with, its statistics would be those of a single image.

    Args:
        channels: Number of channels C.
        reduction: See :class:`ChannelAttention`.
        kernel_size: See :class:`SpatialAttention`.
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction)
        self.spatial = SpatialAttention(kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Attend to features (N, C, H, W); the result has the same shape and dtype."""
        x = self.channel(x) * x
        return self.spatial(x) * x
