"""Configs: loading them, over another base and on a fold if asked to, and saying how two of them differ."""

from mmcell.config.bases import list_bases, over_or_itself
from mmcell.config.blame import blame
from mmcell.config.differences import diff_bases, diff_configs
from mmcell.config.loading import SETTINGS, VARIABLES, load_config
from mmcell.config.runs import base_name, base_of, check_fold, fold_of, read_record, run_name, title

__all__ = [
    'SETTINGS',
    'VARIABLES',
    'base_name',
    'base_of',
    'blame',
    'check_fold',
    'diff_bases',
    'diff_configs',
    'fold_of',
    'list_bases',
    'load_config',
    'over_or_itself',
    'read_record',
    'run_name',
    'title',
]
