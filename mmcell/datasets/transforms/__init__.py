"""Transforms that the reference has and MMDetection has not."""

from mmcell.datasets.transforms.colour import RandomBrightness, RandomGrayscale
from mmcell.datasets.transforms.resize import ChainedResize, LimitLongEdge

__all__ = ['ChainedResize', 'LimitLongEdge', 'RandomBrightness', 'RandomGrayscale']
