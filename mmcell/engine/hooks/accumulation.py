"""Gradient accumulation that survives a resume."""

from __future__ import annotations

from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class KeepGradients(Hook):
    """Saves with a checkpoint the gradients that wait for the optimizer's next step, and resumes with them.

    mmengine forgets them: with `accumulative_counts=4` and epochs of 41 batches, a run resumed after the first epoch
    takes its next step from three batches, divided by four. Gradients of mixed precision are kept scaled, as they are;
    the scale is part of the optimizer's state.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add `gradients`, if there are any: parameter name to tensor, on the CPU."""
        gradients = {
            name: parameter.grad.cpu()
            for name, parameter in runner.model.named_parameters()
            if parameter.grad is not None
        }
        if gradients:
            checkpoint['gradients'] = gradients

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Set the gradients of the model that is trained on."""
        gradients = checkpoint.get('gradients', {})
        for name, parameter in runner.model.named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter.device)
