"""Ours beside stock MMDetection: time and memory of each, in one run."""

from benchmarks.compare import compare
from benchmarks.measure import Limits, Options

__all__ = ['Limits', 'Options', 'compare']
