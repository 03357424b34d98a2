"""Models: attention, backbones and heads for dense images."""

from mmcell.models.boxed_mask_head import BoxedRLEMaskHead
from mmcell.models.cbam import CBAM
from mmcell.models.cbam_resnet import CBAMResNet
from mmcell.models.ensemble import EnsembleDetector
from mmcell.models.tiled import TiledDetector
from mmcell.models.timm_backbone import TimmBackbone
from mmcell.models.tta import CellTTA

__all__ = ['CBAM', 'BoxedRLEMaskHead', 'CBAMResNet', 'CellTTA', 'EnsembleDetector', 'TiledDetector', 'TimmBackbone']
