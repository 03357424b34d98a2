"""Synthetic H&E-like tissue with exact masks: something to train, test and measure on without anyone's data."""

from mmcell.synthetic.tissue import Tissue, draw_tissue
from mmcell.synthetic.writer import write_class_tiff

__all__ = ['Tissue', 'draw_tissue', 'write_class_tiff']
