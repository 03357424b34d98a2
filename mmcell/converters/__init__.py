"""Converters: one file per source layout, listed nowhere; one validation, one COCO json."""

from importlib import import_module

from mmcell import list_modules
from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, TestImage, find_layout
from mmcell.converters.convert import Conversion, convert

__all__ = ['LAYOUTS', 'Conversion', 'ImageRecord', 'Layout', 'TestImage', 'convert', 'find_layout']

# All layouts, so that whoever looks at the registry sees them.
for _name in list_modules('converters'):
    import_module(_name)
