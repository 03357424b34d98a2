"""Evaluation of dense instance segmentation, from RLE: COCO AP, cell metrics, confusion, intervals."""

from mmcell.evaluation.bootstrap import Interval, Sampled, bootstrap_cells, bootstrap_coco, to_interval
from mmcell.evaluation.cell_metric import CellMetric
from mmcell.evaluation.cell_metrics import CellScores, evaluate_cells, find_overlap, pick_threshold
from mmcell.evaluation.coco import CocoScores, evaluate_coco
from mmcell.evaluation.coco_metric import DenseCocoMetric
from mmcell.evaluation.confusion import confusion_matrix
from mmcell.evaluation.label_maps import to_label_map
from mmcell.evaluation.results import sort_results, to_results
from mmcell.evaluation.truth import Truth, load_truth, pool_truths

__all__ = [
    'CellMetric',
    'CellScores',
    'CocoScores',
    'DenseCocoMetric',
    'Interval',
    'Sampled',
    'Truth',
    'bootstrap_cells',
    'bootstrap_coco',
    'confusion_matrix',
    'evaluate_cells',
    'evaluate_coco',
    'find_overlap',
    'load_truth',
    'pick_threshold',
    'pool_truths',
    'sort_results',
    'to_interval',
    'to_label_map',
    'to_results',
]
