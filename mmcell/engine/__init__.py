"""Runs: the schedule, from arguments to a runner, testing."""

from mmcell.engine.schedule import WarmupCosineLR

__all__ = ['WarmupCosineLR']
