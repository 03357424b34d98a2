"""Mixed precision on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from torch import nn


def has_bfloat16() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 (AVX512-BF16, AMX); on others they are slower than floats."""
    # torch says so for its own tests only, and names may change.
    checks = (getattr(torch.cpu, f'_is_{name}_supported', None) for name in ('avx512_bf16', 'amx_tile'))
    return any(check is not None and check() for check in checks)


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16 (Kalamkar et al., A study of BFLOAT16 for deep learning training, 2019) on a CPU.

    MMEngine's `AmpOptimWrapper` insists on an accelerator. Weights, gradients, the optimizer and what a checkpoint
    holds are those of single precision; bfloat16 has its range, so no loss has to be scaled. Takes the arguments of
    :class:`mmengine.optim.OptimWrapper`.
    """

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a forward pass."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
