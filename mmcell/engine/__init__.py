"""Runs: the schedule, from arguments to a runner, testing."""

from mmcell.engine.accumulation import KeepGradients
from mmcell.engine.schedule import WarmupCosineLR

__all__ = ['KeepGradients', 'WarmupCosineLR']
