"""Data: the cells of an image, loading, transforms, synthetic tissue."""

from mmcell.datasets.cell_dataset import CellDataset
from mmcell.datasets.loading import LoadCellImage
from mmcell.datasets.loading_masks import LoadCellAnnotations
from mmcell.datasets.transforms import (
    ChainedResize,
    CopyPasteCells,
    LimitLongEdge,
    NormalizeStain,
    RandomBrightness,
    RandomHEDJitter,
    RandomQuarterTurn,
    RandomZoomCrop,
)

__all__ = [
    'CellDataset',
    'ChainedResize',
    'CopyPasteCells',
    'LimitLongEdge',
    'LoadCellAnnotations',
    'LoadCellImage',
    'NormalizeStain',
    'RandomBrightness',
    'RandomHEDJitter',
    'RandomQuarterTurn',
    'RandomZoomCrop',
]
