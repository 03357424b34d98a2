"""Models: attention, backbones and heads for dense images."""

from mmcell.models.boxed_mask_head import BoxedRLEMaskHead
from mmcell.models.cbam import CBAM
from mmcell.models.cbam_resnet import CBAMResNet

__all__ = ['CBAM', 'BoxedRLEMaskHead', 'CBAMResNet']
