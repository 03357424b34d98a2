"""Models: attention, backbones and heads for dense images."""

from mmcell.models.cbam import CBAM
from mmcell.models.cbam_resnet import CBAMResNet

__all__ = ['CBAM', 'CBAMResNet']
