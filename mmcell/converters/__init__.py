"""Converters: one file per source layout, one validation, one COCO json."""

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, TestImage
from mmcell.converters.class_tiff import ClassTiff
from mmcell.converters.convert import Conversion, convert

__all__ = ['LAYOUTS', 'ClassTiff', 'Conversion', 'ImageRecord', 'Layout', 'TestImage', 'convert']
