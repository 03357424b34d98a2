"""Numbers out of range and names that no metric gives: found before an hour is gone, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from mmengine.config import Config

from mmcell.config import load_config
from mmcell.preflight.settings import check_best, check_settings, list_scores

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/cell/mask_rcnn_cbam_aug.py'
CLASSES = ('tumour', 'immune cell')
BEST = 'default_hooks.checkpoint.save_best'


def lines(key: str, value: object, skip: tuple[str, ...] = ()) -> list[str]:
    """Of a config that holds this setting alone."""
    *heads, last = key.split('.')
    content: dict = {last: value}
    for head in reversed(heads):
        content = {head: content}
    return [str(error) for error in check_settings(Config(content, cfg_text=' ', filename='a.py'), skip)]


WHOLE = {
    'train_cfg.max_epochs': 1,
    'train_cfg.max_iters': 1,
    'train_cfg.val_interval': 1,
    'train_cfg.val_begin': 0,
    'train_dataloader.batch_size': 1,
    'val_dataloader.batch_size': 1,
    'test_dataloader.batch_size': 1,
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
    'test_dataloader.num_workers': 0,
    'randomness.seed': 0,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': 1,
    'default_hooks.logger.interval': 1,
    'optim_wrapper.accumulative_counts': 1,
}
#: Settings that may also be this.
ALSO = {'randomness.seed': None, 'default_hooks.checkpoint.interval': -1, 'default_hooks.checkpoint.max_keep_ckpts': -1}


@pytest.mark.parametrize('key', WHOLE)
def test_whole_numbers(key):
    least = WHOLE[key]
    for value in (least, least + 1, 1000, *([ALSO[key]] if key in ALSO else ())):
        assert lines(key, value) == []
    wrong = [least - 1 if ALSO.get(key) != least - 1 else least - 3, -7, 1.5, 2.0, '2', '', True, [1], {}, math.nan]
    for value in (*wrong, math.inf, 'auto', *([None] if key not in ALSO or ALSO[key] is not None else ())):
        (line,) = lines(key, value)
        assert line.startswith(f'a.py: {key} is ') and f'; set it to a whole number from {least}' in line
    assert lines(key, -7, skip=(key.partition('.')[0],)) == []


@pytest.mark.parametrize(
    ('key', 'most'),
    [('randomness.seed', 2**32 - 1), *((f'{each}_dataloader.num_workers', 1024) for each in ('train', 'val', 'test'))],
)
def test_the_largest(key, most):
    assert lines(key, most) == []
    assert lines(key, most + 1) == [f'a.py: {key} is {most + 1}; set it to a whole number from 0 to {most}']


@pytest.mark.parametrize('name', ['lr', 'weight_decay', 'max_norm'])
def test_numbers(name):
    key = 'optim_wrapper.clip_grad.max_norm' if name == 'max_norm' else f'optim_wrapper.optimizer.{name}'
    zero = name == 'weight_decay'
    for value in (1e-12, 1, 0.5, 1e30, *([0, 0.0] if zero else ())):
        assert lines(key, value) == []
    for value in (-1e-12, math.nan, math.inf, -math.inf, '1e-3', None, True, [0.1], *([] if zero else [0, 0.0])):
        (line,) = lines(key, value)
        assert line.endswith(f'; set it to {"a number from 0" if zero else "a number above 0"}')


def test_settings_of_another_kind_are_left_alone():
    for content in (
        {},
        {'train_cfg': 1},
        {'train_cfg': None},
        {'optim_wrapper': [1]},
        {'default_hooks': {'logger': 2}},
    ):
        assert check_settings(Config(content)) == []


def test_all_that_is_wrong_is_said_at_once():
    config = load_config(CONFIG, {'train_cfg.max_epochs': 0, 'optim_wrapper.optimizer.lr': -1, 'randomness.seed': 'x'})
    found = [str(error).partition(': ')[2].split(' is ')[0] for error in check_settings(config)]
    assert found == ['train_cfg.max_epochs', 'randomness.seed', 'optim_wrapper.optimizer.lr']


def best(value: object) -> list[str]:
    return [str(error) for error in check_best(load_config(CONFIG, {BEST: value}), CLASSES)]


def test_scores_that_choose_the_best_checkpoint():
    for value in (None, 'auto', 'segm/mAP_1000', ['segm/AP50_1000', 'cell/PQ_pooled']):
        assert best(value) == []
    assert best('segm/AP50') == [
        f"{CONFIG}: {BEST} is 'segm/AP50', which no metric gives; did you mean 'segm/AP50_1000'?"
    ]
    misspelt, unknown = best(['segm/AP50_1000', 'segm/mAp_1000', '%%'])
    assert misspelt.endswith("did you mean 'segm/mAP_1000'?") and unknown.endswith('; name a score of val_evaluator')


def test_scores_of_a_metric_that_is_not_ours_are_not_known():
    content = {'val_evaluator': {'type': 'CocoMetric'}, 'default_hooks': {'checkpoint': {'save_best': 'coco/bbox_mAP'}}}
    assert check_best(Config(content), CLASSES) == []
    assert list_scores(Config({'val_evaluator': [1]}), CLASSES) is None
    assert list_scores(Config({}), CLASSES) == []


def test_names_follow_the_settings_of_the_metric_and_the_classes():
    metric = {'type': 'DenseCocoMetric', 'prefix': 'mine', 'max_dets': [50]}
    names = list_scores(Config({'val_evaluator': metric}), CLASSES)
    assert 'mine/mAP_50' in names and all(name.startswith('mine/') for name in names)
    assert any('immune' in name for name in names) and not any('macrophage' in name for name in names)
