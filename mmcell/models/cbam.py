"""Convolutional block attention module (Woo et al., ECCV 2018, https://arxiv.org/abs/1807.06521)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Weigh channels: M_c(F) = sigmoid(MLP(avgpool(F)) + MLP(maxpool(F))), equation 2 of the paper.

    Args:
        channels: Number of channels C.
        reduction: The hidden layer of the shared MLP has C / reduction channels.
        peak: What the sigmoid is multiplied by: the highest weight.
    """

    def __init__(self, channels: int, reduction: int = 16, peak: float = 1) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ValueError(f'reduction must be between 1 and the number of channels, {channels}, not {reduction}')
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1, bias=False),
        )
        self.peak = peak

    def forward(self, x: Tensor) -> Tensor:
        """Weights (N, C, 1, 1) in (0, peak) for features (N, C, H, W)."""
        average, highest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return torch.sigmoid(self.mlp(average) + self.mlp(highest)) * self.peak


class SpatialAttention(nn.Module):
    """Weigh positions: M_s(F) = sigmoid(conv([mean over channels; max over channels])), equation 3 of the paper.

    Args:
        kernel_size: Size of the convolution, odd.
        peak: See :class:`ChannelAttention`.
    """

    def __init__(self, kernel_size: int = 7, peak: float = 1) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, not {kernel_size}')
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.peak = peak

    def forward(self, x: Tensor) -> Tensor:
        """Weights (N, 1, H, W) in (0, peak) for features (N, C, H, W)."""
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv(pooled)) * self.peak


class CBAM(nn.Module):
    """Channel attention, then spatial attention: F' = M_c(F) F, F'' = M_s(F') F', equation 1 of the paper.

    Without the batch norm that the authors' code has behind the spatial convolution and the paper does not mention:
    at the batch size of one that the course report trains with, its statistics would be those of a single image.

    Args:
        channels: Number of channels C.
        reduction: See :class:`ChannelAttention`.
        kernel_size: See :class:`SpatialAttention`.
        identity_init: Start as the identity, so that a pretrained network behind the module sees what it was trained
            on; the paper's module starts by dividing features by about four. The weights become 2 sigmoid(z), which is
            1 + tanh(z / 2), the gate of Yang et al. (Gated channel transformation, CVPR 2020, equation 5), and the
            layers that give z start at zero. They have a gradient from the first step on, the layer before them from
            the second. Parameters have the same names and shapes either way, but not the same meaning.
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7, identity_init: bool = False) -> None:
        super().__init__()
        peak = 2 if identity_init else 1
        self.channel = ChannelAttention(channels, reduction, peak)
        self.spatial = SpatialAttention(kernel_size, peak)
        self.identity_init = identity_init
        self.init_weights()

    def init_weights(self) -> None:
        """Return to the identity, if that is the start; mmengine calls this after its own initialization."""
        if self.identity_init:
            for layer in (self.channel.mlp[-1], self.spatial.conv):
                assert isinstance(layer, nn.Conv2d)
                nn.init.zeros_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Attend to features (N, C, H, W); the result has the same shape and dtype."""
        x = self.channel(x) * x
        return self.spatial(x) * x
