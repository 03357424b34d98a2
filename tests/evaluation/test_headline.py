from __future__ import annotations

from pathlib import Path

import pytest

from mmcell.config import load_config
from mmcell.evaluation import bootstrap_cells, bootstrap_coco, evaluate_cells, evaluate_coco
from mmcell.evaluation.headline import COMPARED, DECIDING, HEADLINES

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / 'configs').glob('[!_]*/*.py'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configs_save_what_the_table_says(path):
    saved = load_config(path).default_hooks.checkpoint.get('save_best')
    expected = [headline.logged for headline in HEADLINES if headline.saves_best]
    # A config may save by fewer of them, never by another number; the one that decides is always among them.
    assert saved == expected or (set(saved) < set(expected) and DECIDING.logged in saved)


def test_the_scores_exist(coco, annotation, result):
    truth, results = coco([annotation(0, 0)]), [result(0, 0)]
    numbers = {'segm': evaluate_coco(truth, results).as_dict(), 'cell': evaluate_cells(truth, results, 0.5).as_dict()}
    assert all(headline.score in numbers[headline.prefix] for headline in HEADLINES)
    sampled = bootstrap_coco(truth, results, samples=2)
    sampled |= bootstrap_cells(evaluate_cells(truth, results, 0.5), samples=2)
    assert all(headline.score in sampled for headline in COMPARED)


def test_the_best_checkpoint_is_named_as_mmengine_does():
    assert DECIDING.best_checkpoint == 'best_segm_AP50_1000_'
