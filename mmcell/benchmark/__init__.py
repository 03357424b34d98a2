"""Ours beside stock MMDetection: time and memory of each, in one run."""

from mmcell.benchmark.compare import compare
from mmcell.benchmark.measure import Limits, Options

__all__ = ['Limits', 'Options', 'compare']
