"""How the masks of one image are held: label maps for truth, boxed RLE for predictions, Cells for what was found.

``LabelMapMasks`` stays in its module, because it needs torch and mmdet, and the converters, which only encode, do not.
"""

from mmcell.structures.cells import Cells
from mmcell.structures.rle import RLE, Instances, Runs, decode, encode_label_map, find_box_runs, find_runs

__all__ = [
    'RLE',
    'Cells',
    'Instances',
    'Runs',
    'decode',
    'encode_label_map',
    'find_box_runs',
    'find_runs',
]
