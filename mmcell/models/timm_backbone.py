"""Backbones of timm (Wightman, https://github.com/huggingface/pytorch-image-models) with a pyramid of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmcell.errors import InputError
from mmcell.io.checkpoints import load_checkpoint, unlike, weights_of
from mmcell.models.timm_weights import fetch_weights, find_model, import_timm, read_weights


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A model of timm, cut off behind the last stage that is wanted.

    For models whose stages follow each other with falling resolution, such as ConvNeXt-V2 (Woo et al., CVPR 2023),
    ResNets or EfficientNets. Weights are loaded by :meth:`init_weights`, so a model that is built for testing needs
    none.

    Args:
        name: timm's name of the model, with or without the name of published weights, such as
            'convnextv2_base.fcmae_ft_in22k_in1k'.
        out_indices: Which of timm's feature maps to give, counted from 0; the neck needs their :attr:`channels`.
        pretrained: Whether to start from the weights that timm publishes under `name`, which it fetches from the
            Hugging Face hub and caches.
        frozen_stages: How many stages (feature maps of timm) are frozen, with all that is in front of them; 0 freezes
            the stem alone, -1 nothing.
        drop_path_rate: Chance to drop a residual branch of the last block, falling to 0 towards the first (Huang et
            al., Deep networks with stochastic depth, ECCV 2016).
        init_cfg: `dict(type='Pretrained', checkpoint=FILE)` starts from a file instead, `.pth` or `.safetensors`, with
            the names of timm's whole model or of its features; `prefix` picks a part of a detector's checkpoint.
        **kwargs: Further arguments of :func:`timm.create_model`.

    Attributes:
        channels: Channels of each feature map.
        strides: Pixels of the image a pixel of each feature map.

    Raises:
        InputError: If timm is not installed or does not know the model.
        ValueError: If the model has no pyramid of stages or fewer than `frozen_stages`.
    """

    def __init__(
        self,
        name: str,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        pretrained: bool = False,
        frozen_stages: int = -1,
        drop_path_rate: float = 0.0,
        init_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg)
        if drop_path_rate:
            kwargs['drop_path_rate'] = drop_path_rate
        self.name, self.pretrained = name, pretrained
        self.net = _create(name, out_indices=tuple(out_indices), **kwargs)
        described: Any = self.net.feature_info
        self.channels: list[int] = described.channels()
        self.strides: list[int] = described.reduction()
        modules = dict(self.net.named_modules())
        names = [stage['module'] for stage in described.info]
        # timm calls the module `stages.0` of a model `stages_0` where it gives features, of most models.
        self._stages = [name if name in modules else name.replace('.', '_') for name in names]
        if frozen_stages > len(self._stages):
            raise ValueError(f'frozen_stages must be at most {len(self._stages)}, not {frozen_stages}')
        self.frozen_stages = frozen_stages
        self._freeze()

    @classmethod
    def check_pretrained(cls, backbone: Mapping[str, Any], neck: Mapping[str, Any] | None = None) -> None:
        """Refuse a backbone that cannot be built or whose weights cannot be had; fetches published weights.

        Args:
            backbone: Its config.
            neck: Config of the neck; its `in_channels` have to be those of the features.

        Raises:
            InputError: If so.
        """
        model = cls(**{key: value for key, value in backbone.items() if key != 'type'})
        wanted = (neck or {}).get('in_channels', model.channels)
        if list(wanted) != model.channels:
            problem = f'is {list(wanted)}, which {model.name} does not give'
            raise InputError('model.neck.in_channels', problem, f'set {model.channels}')
        model.init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps (N, channels[i], H / strides[i], W / strides[i]) of images (N, 3, H, W)."""
        maps = self.net(x)
        if getattr(self.net, 'output_fmt', 'NCHW') == 'NHWC':
            maps = [each.permute(0, 3, 1, 2).contiguous() for each in maps]
        return tuple(maps)

    def init_weights(self) -> None:
        """Load the weights that `init_cfg` or `pretrained` asks for; without either, timm's own initialization stays.

        Raises:
            InputError: If they cannot be had or are another model's.
        """
        init_cfg = self.init_cfg or {}
        if 'prefix' in init_cfg:
            weights = weights_of(load_checkpoint(init_cfg['checkpoint']))
            prefix = f'{init_cfg["prefix"].rstrip(".")}.net.'
            part = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            self._load(init_cfg['checkpoint'], part)
        elif 'checkpoint' in init_cfg:
            self._load(init_cfg['checkpoint'], read_weights(init_cfg['checkpoint']))
        elif self.pretrained:
            self._load(self.name, fetch_weights(self.name))

    def train(self, mode: bool = True) -> TimmBackbone:
        """Switch between training and evaluation; what is frozen stays in the latter."""
        super().train(mode)
        self._freeze()
        return self

    def _load(self, source: str, state: Mapping[str, Tensor]) -> None:
        own = self.net.state_dict()
        found = {name: state[each] for name in own for each in (name, _full_name(name)) if each in state}
        if wrong := unlike(found, own):
            problem = f'holds {wrong[0]} in whole numbers, as a quantized model does'
            raise InputError(source, problem, 'give weights in floating point')
        unfit = [name for name, value in own.items() if name not in found or found[name].shape != value.shape]
        if unfit:
            problem = f'does not fit {self.name}: {len(unfit)} of its {len(own)} weights are missing or of another size'
            raise InputError(source, f'{problem}, such as {_full_name(unfit[0])}', 'give the weights of this model')
        self.net.load_state_dict(found)

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        end = self._stages[self.frozen_stages] if self.frozen_stages < len(self._stages) else None
        for name, module in self.net.named_modules():
            if name == end:
                break
            if end is not None and (not name or end.startswith(f'{name}.')):
                continue  # it holds what is not frozen too
            module.training = False
            for weight in module.parameters(recurse=False):
                weight.requires_grad_(False)


def _create(name: str, **kwargs: Any) -> nn.Module:
    timm = import_timm()
    find_model(name)
    net = timm.create_model(name, features_only=True, **kwargs)
    if not isinstance(net, timm.models.FeatureListNet | timm.models.efficientnet.EfficientNetFeatures):
        raise ValueError(f'{name} has no stages that follow each other')
    return net


def _full_name(name: str) -> str:
    """Name of a weight of the features in the whole model: `stages_0.x` is `stages.0.x` there."""
    stage, _, rest = name.partition('.')
    return f'{".".join(stage.rsplit("_", 1))}.{rest}'
