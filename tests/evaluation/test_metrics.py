"""DenseCocoMetric and CellMetric as the loops use them."""

import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmcell.coco.results import sort_results
from mmcell.errors import InputError
from mmcell.evaluation.coco_ap import evaluate_coco
from mmcell.evaluation.nuclei import evaluate_cells

IMAGES = 3


@pytest.fixture
def case(random_case, tmp_path):
    """(path of the annotation file, its content, results)."""
    truth, results = random_case(5, IMAGES)
    truth['categories'][0]['name'] = 'cell @ 40x/é'
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(truth))
    for result in results:  # the model's scores are float32
        result['score'] = float(np.float32(result['score']))
    return path, truth, results


def to_sample(image_id, results, as_bitmaps=False):
    """What the model returns for one image."""
    mine = [result for result in results if result['image_id'] == image_id]
    boxes = torch.tensor([result['bbox'] for result in mine]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = [result['segmentation'] for result in mine]
    if as_bitmaps:
        masks = torch.tensor(np.array([coco_mask.decode(mask) for mask in masks]).reshape(-1, 40, 50), dtype=torch.bool)
    instances = InstanceData(
        bboxes=boxes,
        scores=torch.tensor([result['score'] for result in mine]),
        labels=torch.tensor([result['category_id'] - 1 for result in mine], dtype=torch.long),
        masks=masks,
    )
    return DetDataSample(metainfo={'img_id': image_id, 'ori_shape': (40, 50)}, pred_instances=instances)


def run(config, results, as_bitmaps=False, images=IMAGES):
    evaluator = Evaluator(METRICS.build(config))
    for image_id in range(1, images + 1):
        evaluator.process([to_sample(image_id, results, as_bitmaps)])
    return evaluator.evaluate(images)


@pytest.mark.parametrize('as_bitmaps', [False, True])
def test_coco_numbers_and_file(case, tmp_path, as_bitmaps):
    path, truth, results = case
    out_file = tmp_path / 'out' / 'results.json'
    numbers = run({'type': 'DenseCocoMetric', 'ann_file': str(path), 'out_file': str(out_file)}, results, as_bitmaps)
    expected = evaluate_coco(truth, results).as_dict()
    assert list(numbers.values()) == pytest.approx(list(expected.values()), nan_ok=True, rel=0, abs=1e-12)
    assert {'segm/mAP_1000', 'segm/AP50_1000', 'segm/AP50_1000_b', 'segm/AP75_100'} <= set(numbers)
    assert not any(re.search(r'[^-/\w.]', name) for name in numbers)
    assert json.loads(out_file.read_text()) == sort_results(results)


def test_boxes_and_prefix(case):
    path, truth, results = case
    config = {'type': 'DenseCocoMetric', 'ann_file': path, 'iou_type': 'bbox', 'max_dets': (50,)}
    numbers = run(config, results)
    assert numbers['bbox/mAP_50'] == pytest.approx(evaluate_coco(truth, results, 'bbox', (50,)).mean(50), abs=1e-12)
    assert run({**config, 'prefix': 'train'}, results)['train/mAP_50'] == numbers['bbox/mAP_50']


def test_format_only_needs_no_truth(case, tmp_path):
    path, truth, results = case
    path.write_text(json.dumps({key: truth[key] for key in ('images', 'categories')}))
    config = {'type': 'DenseCocoMetric', 'ann_file': path, 'format_only': True}
    with pytest.raises(InputError, match='set out_file'):
        METRICS.build(config)
    assert run({**config, 'out_file': tmp_path / 'results.json'}, results) == {}
    assert json.loads((tmp_path / 'results.json').read_text()) == sort_results(results)


def test_results_are_no_cells(case, tmp_path):
    """Average precision and the submission keep what stands under two classes, to the last bit; counts do not."""
    path, truth, results = case
    others = [
        {**result, 'category_id': result['category_id'] % 3 + 1, 'score': float(np.float32(0.9 * result['score']))}
        for result in results
    ]
    twice = [*results, *others]
    out_file = tmp_path / 'results.json'
    config = {'type': 'DenseCocoMetric', 'ann_file': str(path), 'out_file': str(out_file)}
    numbers = run(config, twice)
    expected = evaluate_coco(truth, twice, backend='pycocotools').as_dict()
    assert list(numbers.values()) == pytest.approx(list(expected.values()), nan_ok=True, rel=0, abs=1e-12)
    written = out_file.read_bytes()
    assert json.loads(written) == sort_results(twice)
    run({**config, 'format_only': True}, twice)
    assert out_file.read_bytes() == written
    counts = [evaluate_cells(truth, some, 0).counts[:, 1].tolist() for some in (results, twice)]
    assert counts[0] == counts[1]


def test_images_that_were_not_predicted_count_as_missed(case):
    path, truth, results = case
    numbers = run({'type': 'DenseCocoMetric', 'ann_file': path}, results, images=2)
    seen = [result for result in results if result['image_id'] <= 2]
    assert numbers['segm/mAP_1000'] == pytest.approx(evaluate_coco(truth, seen).mean(1000), abs=1e-12)


def test_padding_of_the_last_batch_is_dropped(case):
    """Samplers repeat the first images until every process has as many; mmengine cuts the entries to the set's size."""
    path, _, results = case
    metric = METRICS.build({'type': 'DenseCocoMetric', 'ann_file': path})
    for image_id in (1, 2, 3, 1):
        metric.process(None, [to_sample(image_id, results).to_dict()])
    expected = run({'type': 'DenseCocoMetric', 'ann_file': path}, results)
    assert metric.evaluate(IMAGES) == pytest.approx(expected, nan_ok=True)


ONE_OF_TWO_PROCESSES = """
import json, sys, torch
from mmdet.registry import METRICS
from mmengine import dist
import mmcell

torch.distributed.init_process_group('gloo')
truth, predictions = sys.argv[1:]
metric = METRICS.build({'type': 'DenseCocoMetric', 'ann_file': truth})
for image_id, instances in torch.load(predictions)[dist.get_rank()]:
    metric.process(None, [{'img_id': image_id, 'pred_instances': instances}])
numbers = metric.evaluate(3)
if dist.is_main_process():
    print(json.dumps(numbers))
"""


@pytest.mark.slow
def test_two_processes(case, tmp_path):
    path, _, results = case
    samples = [(i, to_sample(i, results).to_dict()['pred_instances']) for i in (1, 2, 3)]
    # Dealt out in turn as samplers do it, the last round filled up with the first image.
    predictions = tmp_path / 'predictions.pth'
    torch.save([[samples[0], samples[2]], [samples[1], samples[0]]], predictions)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    environment = {**os.environ, 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'WORLD_SIZE': '2'}
    command = [sys.executable, '-c', ONE_OF_TWO_PROCESSES, str(path), str(predictions)]
    processes = [
        subprocess.Popen(command, env={**environment, 'RANK': rank}, stdout=subprocess.PIPE, text=True) for rank in '01'
    ]
    outputs = [process.communicate(timeout=3600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    expected = run({'type': 'DenseCocoMetric', 'ann_file': path}, results)
    assert json.loads(outputs[0].splitlines()[-1]) == pytest.approx(expected, nan_ok=True)


def test_cell_numbers(case):
    path, truth, results = case
    numbers = run({'type': 'CellMetric', 'ann_file': path}, results)
    expected = evaluate_cells(truth, results, 'auto').as_dict()
    assert list(numbers.values()) == pytest.approx(list(expected.values()), nan_ok=True)
    assert {'cell/PQ_pooled', 'cell/PQ_image_b', 'cell/AJI_image', 'cell/F1_pooled_c', 'cell/score_thr'} <= set(numbers)
    assert not any(re.search(r'[^-/\w.]', name) for name in numbers)
    fixed = run({'type': 'CellMetric', 'ann_file': path, 'score_thr': 0.7, 'radius': 3, 'prefix': 'x'}, results)
    expected = evaluate_cells(truth, results, 0.7, 3).as_dict()
    assert list(fixed.values()) == pytest.approx(list(expected.values()), nan_ok=True)
    assert fixed['x/score_thr'] == 0.7
