"""Transforms that the reference or dense images need and MMDetection has not."""

from mmcell.datasets.transforms.colour import RandomBrightness
from mmcell.datasets.transforms.copy_paste import CopyPasteCells
from mmcell.datasets.transforms.normalize_stain import NormalizeStain
from mmcell.datasets.transforms.resize import ChainedResize, LimitLongEdge
from mmcell.datasets.transforms.rotate import RandomQuarterTurn
from mmcell.datasets.transforms.stain import RandomHEDJitter
from mmcell.datasets.transforms.zoom_crop import RandomZoomCrop

__all__ = [
    'ChainedResize',
    'CopyPasteCells',
    'LimitLongEdge',
    'NormalizeStain',
    'RandomBrightness',
    'RandomHEDJitter',
    'RandomQuarterTurn',
    'RandomZoomCrop',
]
