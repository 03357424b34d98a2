"""ResNet with CBAM behind its residual blocks or its stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmengine.model import ModuleDict, ModuleList
from torch import Tensor

from mmcell.models.cbam import CBAM


@MODELS.register_module()
class CBAMResNet(ResNet):
    """ResNet whose features pass through :class:`CBAM`.

    The attention modules live beside ResNet's own (`cbam.layer2.0`, …), so a checkpoint of a plain ResNet, such as
    torchvision's, loads with only the keys of CBAM missing.

    Args:
        depth: Depth of the ResNet: 18, 34, 50, 101 or 152.
        position: 'block' attends to the output of every residual block, after the addition and its ReLU;
            'stage' attends once, to the output of the stage.
        cbam_stages: Stages that get attention, counted from 1 (`layer1`).
        reduction: See :class:`CBAM`.
        kernel_size: See :class:`CBAM`.
        identity_init: See :class:`CBAM`: with a checkpoint of a plain ResNet, the features are at first exactly that
            ResNet's.
        **kwargs: Arguments of :class:`mmdet.models.ResNet`.

    Raises:
        ValueError: If `position` is neither of the two or a stage does not exist.
    """

    def __init__(
        self,
        depth: int,
        position: Literal['block', 'stage'] = 'block',
        cbam_stages: Sequence[int] = (2, 3, 4),
        reduction: int = 16,
        kernel_size: int = 7,
        identity_init: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(depth, **kwargs)
        if position not in ('block', 'stage'):
            raise ValueError(f"position must be 'block' or 'stage', not {position!r}")
        if not set(cbam_stages) <= set(range(1, self.num_stages + 1)):
            raise ValueError(f'cbam_stages must be among 1 to {self.num_stages}, not {tuple(cbam_stages)}')
        self.position = position
        # Containers that pass `init_weights` on, after rules for all convolutions and before a checkpoint.
        self.cbam = ModuleDict()
        for stage in sorted(set(cbam_stages)):
            name = self.res_layers[stage - 1]
            layer = getattr(self, name)
            channels = layer[-1].conv2.out_channels * self.block.expansion
            count = len(layer) if position == 'block' else 1
            self.cbam[name] = ModuleList(CBAM(channels, reduction, kernel_size, identity_init) for _ in range(count))
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of the stages in `out_indices` for images (N, 3, H, W); stage i has H / 2**(i + 2) rows."""
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(x)
        outs = []
        for index, name in enumerate(self.res_layers):
            layer = getattr(self, name)
            attention = self.cbam[name] if name in self.cbam else ()
            # One module: behind the last block, which is behind the stage. Else one behind each block.
            first = len(layer) - len(attention)
            for number, block in enumerate(layer):
                x = block(x)
                if number >= first:
                    x = attention[number - first](x)
            if index in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        # ResNet's constructor calls this once before there is any attention.
        for name in self.res_layers[: max(self.frozen_stages, 0)]:
            if hasattr(self, 'cbam') and name in self.cbam:
                self.cbam[name].eval()
                self.cbam[name].requires_grad_(False)
