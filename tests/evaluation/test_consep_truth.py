"""Truth as its own prediction, on all of CoNSeP's training images."""

from __future__ import annotations

import pytest

from mmcell.converters import LAYOUTS, convert
from mmcell.evaluation import evaluate_cells, evaluate_coco
from mmcell.io.files import read_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def truth_and_results(shared_data, tmp_path_factory):
    out = tmp_path_factory.mktemp('consep')
    convert(LAYOUTS.get('class_tiff')(shared_data / 'consep'), out, workers=1)
    truth = read_json(out / 'annotations/trainval.json')
    results = [
        {key: annotation[key] for key in ('image_id', 'bbox', 'category_id', 'segmentation')} | {'score': 1.0}
        for annotation in truth['annotations']
    ]
    return truth, results


def test_average_precision_is_one_where_the_limit_lets_it(truth_and_results):
    # One image holds 1,065 cells of one class, more than the headline's limit.
    scores = evaluate_coco(*truth_and_results, max_dets=(1200, 1000, 100)).as_dict()
    assert scores['mAP_1200'] == scores['AP50_1200'] == 1
    assert 0.99 < scores['mAP_1000'] < 1 and scores['mAP_100'] < 0.7


def test_cell_metrics_are_one(truth_and_results):
    scores = evaluate_cells(*truth_and_results, score_thr=0.5).as_dict()
    names = ['PQ_pooled', 'PQ_image', 'AJI_pooled', 'AJI_image', 'Dice_pooled', 'F1_pooled', 'mPQ_pooled']
    assert {name: scores[name] for name in names} == pytest.approx(dict.fromkeys(names, 1.0), abs=1e-12)
