"""Evaluation of dense instance segmentation, from RLE: COCO AP, cell metrics, confusion, intervals.

The classes for MMDetection's loops are found by their files, listed nowhere.
"""

from mmcell.coco.results import sort_results, to_results
from mmcell.coco.truth import Truth, load_truth, pool_truths
from mmcell.evaluation.bootstrap import Interval, Sampled, bootstrap_cells, bootstrap_coco, to_interval
from mmcell.evaluation.calibration import Calibration, calibrate, evaluate_calibration
from mmcell.evaluation.coco_ap import CocoScores, evaluate_coco
from mmcell.evaluation.confusion import confusion_matrix
from mmcell.evaluation.matching import Matches, find_overlap, match_cells
from mmcell.evaluation.nuclei import CellScores, evaluate_cells, evaluate_thresholds, pick_threshold

__all__ = [
    'Calibration',
    'CellScores',
    'CocoScores',
    'Interval',
    'Matches',
    'Sampled',
    'Truth',
    'bootstrap_cells',
    'bootstrap_coco',
    'calibrate',
    'confusion_matrix',
    'evaluate_calibration',
    'evaluate_cells',
    'evaluate_coco',
    'evaluate_thresholds',
    'find_overlap',
    'load_truth',
    'match_cells',
    'pick_threshold',
    'pool_truths',
    'sort_results',
    'to_interval',
    'to_results',
]
