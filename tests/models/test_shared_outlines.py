"""A box that is reported under several classes is outlined once, and nothing else changes."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmcell.models.shared_outlines import merge_boxes, spread_outlines
from tests.models.test_tta import as_cascade, sample_of


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, -0.0, 1.5, 2.25])] * 4), max_size=12))
def test_merging_is_undone_by_spreading(boxes):
    results = InstanceData(bboxes=torch.tensor(boxes).reshape(-1, 4), scores=torch.arange(len(boxes)))
    merged, box_of = merge_boxes(results)
    distinct = list(dict.fromkeys(boxes))  # the first of each, in order
    assert [tuple(box) for box in merged.bboxes.tolist()] == distinct
    assert merged.scores.tolist() == [boxes.index(box) for box in distinct]
    assert box_of.tolist() == [distinct.index(box) for box in boxes]
    for masks in ([*map(str, range(len(distinct)))], torch.arange(len(distinct))[:, None, None]):
        merged.masks = masks
        spread = spread_outlines(copy.deepcopy(results), merged, box_of)
        assert torch.equal(spread.bboxes, results.bboxes) and torch.equal(spread.scores, results.scores)
        assert [merged.masks[distinct.index(box)] for box in boxes] == list(spread.masks)


@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('cascade', [False, True])
@pytest.mark.parametrize('views', [None, dict(mirror=[False], turns=[0]), dict(mirror=[False, True], turns=[0, 1])])
def test_results_are_those_of_one_outline_per_detection(tiny_mask_rcnn, build, cascade, views, agnostic):
    config = as_cascade(tiny_mask_rcnn) if cascade else tiny_mask_rcnn
    heads = config.roi_head.bbox_head if cascade else [config.roi_head.bbox_head]
    for head in heads:
        head.reg_class_agnostic = True
    config.roi_head.mask_head.class_agnostic = agnostic
    config.test_cfg.rpn.max_per_img = 40  # views of thousands of detections take a minute
    config.test_cfg.rcnn.update(score_thr=0.001, max_per_img=-1)
    models = []
    for kind in (f'{"Cascade" if cascade else "Standard"}RoIHead', f'Dense{"Cascade" if cascade else ""}RoIHead'):
        detector = copy.deepcopy(config)
        detector.roi_head.type = kind
        models.append(build(detector if views is None else dict(type='CellTTA', detector=detector, **views)))
    stock, ours = models
    seen = []
    mask_head = getattr(ours, 'detector', ours).roi_head.mask_head
    mask_head = mask_head[0] if cascade else mask_head
    mask_head.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    torch.manual_seed(0)
    images = [torch.randint(0, 256, (3, 90, 100), dtype=torch.uint8) for _ in range(2)]
    for samples in ([sample_of(90, 100)], [sample_of(90, 100, scale=2.0)], [sample_of(90, 100)] * 2):
        data = dict(inputs=images[: len(samples)], data_samples=samples)
        expected = [each.pred_instances for each in stock.test_step(copy.deepcopy(data))]
        seen.clear()
        found = [each.pred_instances for each in ours.test_step(copy.deepcopy(data))]
        distinct = [len(np.unique(each.bboxes.detach().numpy(), axis=0)) for each in expected]
        detections = sum(map(len, expected))
        assert sum(distinct) < detections and len(expected[0]) > 10
        assert set(seen) == {sum(distinct) if agnostic else detections}
        for one, other in zip(found, expected):
            assert one.masks == other.masks
            for key in ('bboxes', 'scores', 'labels'):
                assert torch.equal(one[key], other[key])


def test_an_image_without_cells(tiny_mask_rcnn, build):
    tiny_mask_rcnn.roi_head.type = 'DenseRoIHead'
    tiny_mask_rcnn.roi_head.mask_head.class_agnostic = True
    tiny_mask_rcnn.test_cfg.rcnn.score_thr = 1.0
    data = dict(inputs=[torch.zeros(3, 64, 64, dtype=torch.uint8)], data_samples=[sample_of(64, 64)])
    for config in (tiny_mask_rcnn, dict(type='CellTTA', detector=tiny_mask_rcnn, turns=[0, 1])):
        results = build(config).test_step(copy.deepcopy(data))[0].pred_instances
        assert len(results) == len(results.masks) == 0
