"""The memory layout that a CPU's convolutions are fastest in."""

from __future__ import annotations

import torch
from mmdet.registry import HOOKS
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcell.models.dense_roi_extractor import takes_any_layout


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Trains with `channels_last` weights on a CPU, so that all channels of a pixel lie together in memory.

    The convolutions of oneDNN then need not turn what they read and write, and hand the layout on. Losses and gradients
    are the same but for the last bits of sums; checkpoints load into models of either layout, and predict contiguously.
    The RoI extractor of the model has to take any layout, as
    :class:`mmcell.models.dense_roi_extractor.DenseRoIExtractor` does: with another one the model stays as it is. So it
    does on accelerators, where a step took as long either way (H100, docs/performance.md), and in several processes:
    what synchronises their gradients has been told another layout.
    """

    def before_train(self, runner: Runner) -> None:
        """Turn the weights in place, once they are initialized: in another layout a seed would draw other ones."""
        model = runner.model
        on_cpu = all(parameter.device.type == 'cpu' for parameter in model.parameters())
        if on_cpu and get_world_size() == 1 and takes_any_layout(model):
            model.to(memory_format=torch.channels_last)
