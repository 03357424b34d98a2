"""The learning rate schedule of the course report."""

from __future__ import annotations

import math
from typing import Any

from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim.scheduler import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from torch.optim import Optimizer


def warmup_cosine(step: int, steps: int, warmup_ratio: float = 0.25) -> float:
    """Factor of the learning rate at a step: linear from zero to one, then half a cosine to zero.

    With w = warmup_ratio * steps: step / w before w, then (1 + cos(pi * (step - w) / (steps - w))) / 2
    (Loshchilov & Hutter, ICLR 2017, equation 5, without restarts).

    Args:
        step: Number of training steps taken, from 0.
        steps: Number of steps of the whole training.
        warmup_ratio: Share of the steps that warm up, 0 to below 1.
    """
    warmup = warmup_ratio * steps
    if step < warmup:
        return step / warmup
    return (1 + math.cos(math.pi * min((step - warmup) / (steps - warmup), 1))) / 2


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Learning rate by :func:`warmup_cosine`, over the whole training whatever its length.

    mmengine sets `end` to the length of the training and, with `convert_to_iter_based=True`, turns epochs into steps;
    a config can so change `max_epochs` alone, where a chain of LinearLR and CosineAnnealingLR has to change three
    numbers. A step is a batch: where the gradients of several batches are accumulated (`accumulative_counts`), the
    optimizer takes the rate of the last of them, so the curve over the training stays the same.

    Args:
        optimizer: Optimizer or optimizer wrapper.
        end: Length of the training, in epochs or steps.
        warmup_ratio: See :func:`warmup_cosine`.
        last_step: Step to resume from.
        by_epoch: Whether `end` counts epochs.
        verbose: Print the rate at every step.

    Attributes:
        follows_config: A resumed training takes its length from the config, not from the checkpoint.
    """

    follows_config = True

    def __init__(
        self,
        optimizer: Optimizer,
        end: int,
        warmup_ratio: float = 0.25,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if not 0 <= warmup_ratio < 1:
            raise ValueError(f'warmup_ratio must be at least 0 and below 1, not {warmup_ratio}')
        self.steps = end
        self.warmup_ratio = warmup_ratio
        super().__init__(optimizer, end=end, last_step=last_step, by_epoch=by_epoch, verbose=verbose)

    @classmethod
    def build_iter_from_epoch(cls, *args: Any, end: int, epoch_length: int, **kwargs: Any) -> WarmupCosineLR:
        """Build the scheduler with `end` epochs turned into steps."""
        kwargs['by_epoch'] = False
        return cls(*args, **{**kwargs, 'end': end * epoch_length})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, over the length that this scheduler has: one that is trained longer than planned.

        The rate of the next step is that of the curve of this length, which for the same length is what it was.
        """
        own = {key: vars(self)[key] for key in ('steps', 'end', 'warmup_ratio')}
        super().load_state_dict({**state_dict, **own})
        # A schedule that has reached its end counts no further.
        self.last_step = min(self._global_step, self.end - 1)
        for group, value in zip(self.optimizer.param_groups, self._get_value(), strict=True):
            group[self.param_name] = value
        self._last_value = [group[self.param_name] for group in self.optimizer.param_groups]

    def _get_value(self) -> list[float]:
        # Closed form: the rate depends on the step alone, so a resumed run cannot drift.
        factor = warmup_cosine(self.last_step, self.steps, self.warmup_ratio)
        return [value * factor for value in self.base_values]
