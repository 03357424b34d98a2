"""Detections that keep the softmax of their proposal are otherwise those of MMDetection, bit for bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead

from mmcell.models.class_probabilities import ClassProbabilities
from tests.models.test_tta import as_cascade, sample_of


class Standard(ClassProbabilities, StandardRoIHead):
    pass


class Cascade(ClassProbabilities, CascadeRoIHead):
    pass


def build_both(config, build, wrap=lambda detector: detector):
    """MMDetection's detector and the one with probabilities, of the same weights."""
    stock, ours = build(wrap(config)), build(wrap(copy.deepcopy(config)))
    for model in (ours, *getattr(ours, 'others', ())):  # an ensemble's own is its `detector`
        head = getattr(model, 'detector', model).roi_head
        head.__class__ = Cascade if isinstance(head, CascadeRoIHead) else Standard
    for model in (stock, ours):  # the members of an ensemble take the weights of the first when they are loaded
        model.load_state_dict(stock.state_dict())
    return stock, ours


def predict(model, images, samples):
    data = dict(inputs=images, data_samples=copy.deepcopy(samples))
    with torch.no_grad():
        return [sample.pred_instances for sample in model.test_step(data)]


def assert_same_but_for_probabilities(ours, stock, num_classes):
    assert ours.masks == stock.masks and len(ours) > 10
    for key in ('bboxes', 'scores', 'labels'):
        assert torch.equal(ours[key], stock[key])
    probabilities = ours.probabilities
    assert probabilities.shape == (len(ours), num_classes + 1) and 'probabilities' not in stock
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(ours)))
    return probabilities[range(len(ours)), ours.labels]


@pytest.mark.parametrize('agnostic', [False, True])
@pytest.mark.parametrize('cascade', [False, True])
@pytest.mark.parametrize('views', [None, dict(mirror=[False, True], turns=[0, 1])])
def test_each_detection_has_the_softmax_of_its_proposal(tiny_mask_rcnn, build, cascade, agnostic, views):
    config = as_cascade(tiny_mask_rcnn) if cascade else tiny_mask_rcnn
    heads = config.roi_head.bbox_head if cascade else [config.roi_head.bbox_head]
    for head in heads:
        head.reg_class_agnostic = agnostic
    config.test_cfg.rcnn.update(score_thr=0.001, max_per_img=50)
    stock, ours = build_both(
        config, build, lambda detector: detector if views is None else dict(type='CellTTA', detector=detector, **views)
    )
    torch.manual_seed(0)
    images = [torch.randint(0, 256, (3, 90, 100), dtype=torch.uint8) for _ in range(2)]
    samples = [sample_of(90, 100)] * 2
    for mine, theirs in zip(predict(ours, images, samples), predict(stock, images, samples)):
        own = assert_same_but_for_probabilities(mine, theirs, heads[0].num_classes)
        assert torch.equal(own, mine.scores)


def test_no_detection_and_no_proposal(tiny_mask_rcnn, build):
    for key, value in (('rcnn', dict(score_thr=1.0)), ('rpn', dict(max_per_img=1, min_bbox_size=10**4))):
        config = copy.deepcopy(tiny_mask_rcnn)
        config.test_cfg[key].update(value)
        _, ours = build_both(config, build)
        image = torch.zeros((3, 64, 64), dtype=torch.uint8)
        (found,) = predict(ours, [image], [sample_of(64, 64)])
        assert len(found) == 0 and found.probabilities.shape == (0, 5)


@pytest.mark.parametrize('kind', ['tiles', 'ensemble'])
def test_tiles_and_ensembles_hand_them_on(tiny_mask_rcnn, build, kind):
    tiny_mask_rcnn.test_cfg.rcnn.update(score_thr=0.001, max_per_img=50)

    def wrap(detector):
        if kind == 'tiles':
            return dict(type='TiledDetector', detector=detector, tile=64, overlap=32)
        return dict(type='EnsembleDetector', detectors=[detector, detector])

    stock, ours = build_both(tiny_mask_rcnn, build, wrap)
    torch.manual_seed(0)
    image = torch.randint(0, 256, (3, 90, 100), dtype=torch.uint8)
    (mine,), (theirs,) = (predict(model, [image], [sample_of(90, 100)]) for model in (ours, stock))
    own = assert_same_but_for_probabilities(mine, theirs, 4)
    np.testing.assert_allclose(own.numpy(), mine.scores.numpy(), atol=1e-6)
