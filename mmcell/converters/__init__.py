"""Converters: one file per source layout, listed nowhere; one validation, one COCO json."""

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, TestImage, find_layout
from mmcell.converters.convert import Conversion, convert

__all__ = ['LAYOUTS', 'Conversion', 'ImageRecord', 'Layout', 'TestImage', 'convert', 'find_layout']
