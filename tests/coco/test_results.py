"""Predictions of a model -> result dicts."""

import json

import numpy as np
import pytest
import torch

from mmcell.coco.results import sort_results, to_results
from mmcell.errors import InputError


@pytest.fixture
def prediction(square, rle):
    masks = [square(2, 3), square(5, 30, 4)]
    return {
        'bboxes': torch.tensor([[3, 2, 13, 12], [30, 5, 34, 9.5]]),
        'scores': torch.tensor([0.5, 0.75]),
        'labels': torch.tensor([1, 0]),
        'masks': [rle(mask) for mask in masks],
    }, np.array(masks)


def test_fields(prediction):
    prediction, _ = prediction
    results = to_results(7, prediction, [3, 9])
    assert json.loads(json.dumps(results)) == [
        {
            'image_id': 7,
            'bbox': [3, 2, 10, 10],
            'score': 0.5,
            'category_id': 9,
            'segmentation': prediction['masks'][0],
        },
        {
            'image_id': 7,
            'bbox': [30, 5, 4, 4.5],
            'score': 0.75,
            'category_id': 3,
            'segmentation': prediction['masks'][1],
        },
    ]


@pytest.mark.parametrize(
    'convert',
    [
        pytest.param(lambda masks, rles: torch.from_numpy(masks), id='bool tensor'),
        pytest.param(lambda masks, rles: masks, id='bool array'),
        pytest.param(lambda masks, rles: masks.astype(np.uint8), id='uint8 array'),
        pytest.param(lambda masks, rles: [{**r, 'counts': r['counts'].encode()} for r in rles], id='bytes'),
    ],
)
def test_every_kind_of_mask_gives_the_same(prediction, convert):
    prediction, masks = prediction
    other = {**prediction, 'masks': convert(masks, prediction['masks'])}
    assert to_results(1, other, [1, 2]) == to_results(1, prediction, [1, 2])


def test_arrays_half_precision_and_no_masks(prediction):
    prediction, _ = prediction
    expected = to_results(1, prediction, [1, 2])
    for result in expected:
        del result['segmentation']
    for dtype in (torch.bfloat16, torch.float16):
        tensors = {'bboxes': prediction['bboxes'].to(dtype), 'scores': prediction['scores'].to(dtype)}
        assert to_results(1, {**tensors, 'labels': prediction['labels']}, [1, 2]) == expected
    arrays = {key: prediction[key].numpy() for key in ('bboxes', 'scores', 'labels')}
    assert to_results(1, arrays, [1, 2]) == expected


def test_no_instances():
    prediction = {'bboxes': torch.zeros(0, 4), 'scores': torch.zeros(0), 'labels': torch.zeros(0, dtype=torch.long)}
    assert to_results(1, {**prediction, 'masks': torch.zeros(0, 5, 6, dtype=torch.bool)}, [1]) == []


def test_label_without_category(prediction):
    with pytest.raises(InputError, match=r'label 1, but the annotation file has 1 categories; set num_classes'):
        to_results(1, prediction[0], [1])


def test_sort_results_is_stable():
    results = [
        {'image_id': 2, 'score': 0.9, 'n': 0},
        {'image_id': 1, 'score': 0.1, 'n': 1},
        {'image_id': 1, 'score': 0.5, 'n': 2},
        {'image_id': 1, 'score': 0.1, 'n': 3},
    ]
    assert [result['n'] for result in sort_results(results)] == [2, 1, 3, 0]
