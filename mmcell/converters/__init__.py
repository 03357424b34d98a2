"""Converters: one file per source layout, one validation, one COCO json."""

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, TestImage
from mmcell.converters.class_tiff import ClassTiff
from mmcell.converters.coco import Coco
from mmcell.converters.consep_mat import ConsepMat
from mmcell.converters.convert import Conversion, convert
from mmcell.converters.instance_png import InstancePng
from mmcell.converters.label_image import LabelImage
from mmcell.converters.monusac_xml import MonusacXml
from mmcell.converters.pannuke_npy import PannukeNpy

__all__ = [
    'LAYOUTS',
    'ClassTiff',
    'Coco',
    'ConsepMat',
    'Conversion',
    'ImageRecord',
    'InstancePng',
    'LabelImage',
    'Layout',
    'MonusacXml',
    'PannukeNpy',
    'TestImage',
    'convert',
]
