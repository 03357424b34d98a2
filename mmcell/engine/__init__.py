"""Runs: the schedule, from arguments to a runner, testing; what lets a run be killed and resumed."""

from mmcell.engine.hooks.accumulation import KeepGradients
from mmcell.engine.hooks.exact_resume import ExactResumeHook
from mmcell.engine.hooks.safe_checkpoints import SafeCheckpointHook
from mmcell.engine.schedule import WarmupCosineLR

__all__ = ['ExactResumeHook', 'KeepGradients', 'SafeCheckpointHook', 'WarmupCosineLR']
