"""Views of an image and the bringing together of what is found in them."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from pycocotools import mask as coco_mask

from mmcell.models.boxed_mask_head import paste_and_encode
from mmcell.models.tta import CellTTA, View

orientations = st.builds(View, st.booleans(), st.integers(0, 3), st.just(1.0))


def sample_of(height, width, scale=1.0):
    shape = (round(height / scale), round(width / scale))
    return DetDataSample(metainfo=dict(ori_shape=shape, img_shape=(height, width), scale_factor=(scale, scale)))


def assert_equal(ours, expected):
    assert ours.masks == expected.masks
    for key in ('bboxes', 'scores', 'labels'):
        torch.testing.assert_close(ours[key], expected[key], rtol=0, atol=0)


@settings(deadline=None, max_examples=60)
@given(orientations, st.data())
def test_boxes_move_with_the_pixels(view, data):
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    image = torch.zeros(1, 1, height, width)
    image[..., y1:y2, x1:x2] = 1
    seen = view.of_images(image)
    boxes = torch.tensor([[x1, y1, x2, y2]]).float()
    moved = view.of_boxes(boxes, (height, width), seen.shape[2:])
    rows, columns = np.nonzero(seen[0, 0].numpy())
    assert moved.tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
    assert torch.equal(view.to_boxes(moved, (height, width), seen.shape[2:]), boxes)
    # What the box holds turns with it.
    masks = torch.rand(1, 2, height, width)
    assert torch.equal(view.to_masks(view.of_images(masks)), masks)


@given(st.booleans(), st.integers(0, 3), st.floats(0.3, 3))
@settings(deadline=None, max_examples=40)
def test_scaled_views(mirror, turns, scale):
    view = View(mirror, turns, scale)
    seen = view.of_images(torch.rand(1, 3, 20, 31))
    sides = [max(1, round(side * scale)) for side in ((31, 20) if turns % 2 else (20, 31))]
    assert list(seen.shape[2:]) == sides
    boxes = torch.tensor([[0.0, 0, 31, 20], [3, 4, 10, 6]])
    moved = view.of_boxes(boxes, (20, 31), seen.shape[2:])
    assert moved[0].tolist() == pytest.approx([0, 0, *sides[::-1]], abs=1e-4)
    torch.testing.assert_close(view.to_boxes(moved, (20, 31), seen.shape[2:]), boxes, rtol=0, atol=1e-4)


@pytest.mark.parametrize('cascade', [False, True])
def test_the_untransformed_view_gives_the_plain_result(tiny_mask_rcnn, build, cascade):
    if cascade:
        tiny_mask_rcnn = as_cascade(tiny_mask_rcnn)
    plain = build(tiny_mask_rcnn)
    augmented = build(dict(type='CellTTA', detector=tiny_mask_rcnn, mirror=[False], turns=[0]))
    torch.manual_seed(0)
    for sample in (sample_of(90, 100), sample_of(90, 100, scale=2.0)):
        data = dict(inputs=[torch.randint(0, 256, (3, 90, 100), dtype=torch.uint8)], data_samples=[sample])
        expected = plain.test_step(copy.deepcopy(data))[0].pred_instances
        assert len(expected) > 10 and len(set(map(str, expected.masks))) > 5
        assert_equal(augmented.test_step(data)[0].pred_instances, expected)


def as_cascade(config):
    config = copy.deepcopy(config)
    head = config.roi_head
    head.update(type='CascadeRoIHead', num_stages=2, stage_loss_weights=[1, 0.5])
    head.bbox_head = [head.bbox_head, head.bbox_head]
    config.train_cfg = None
    return config


def test_masks_are_averaged_before_the_threshold(tiny_mask_rcnn, build):
    """Against numpy: each view predicted by the plain model's own parts, turned back by index arithmetic."""
    plain = build(tiny_mask_rcnn)
    augmented = build(dict(type='CellTTA', detector=tiny_mask_rcnn, mirror=[False, True], turns=[0]))
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        results = augmented.predict(image, [sample_of(64, 96)])[0].pred_instances
        boxes = results.bboxes
        mirrored = torch.stack([96 - boxes[:, 2], boxes[:, 1], 96 - boxes[:, 0], boxes[:, 3]], dim=1)
        total = np.zeros((len(boxes), 28, 28), dtype=np.float32)
        for pixels, rois, step in ((image, boxes, 1), (image.flip(3), mirrored, -1)):
            rois = torch.cat([torch.zeros(len(rois), 1), rois], dim=1)
            logits = plain.roi_head._mask_forward(plain.extract_feat(pixels), rois)['mask_preds'].numpy()
            chosen = logits[np.arange(len(boxes)), results.labels.numpy()]
            total += (1 / (1 + np.exp(-chosen)))[:, :, ::step]
    mean = torch.from_numpy(total / 2)[:, None]
    assert len(results) > 10
    reference = paste_and_encode(mean, boxes, (64, 96), 0.5)
    # numpy's exp rounds differently, which may turn a pixel at the threshold.
    assert differing_pixels(results.masks, reference) <= 2
    assert differing_pixels(results.masks, paste_and_encode(mean.flip(3), boxes, (64, 96), 0.5)) > 100


def differing_pixels(some, others):
    return (coco_mask.decode(some) != coco_mask.decode(others)).sum()


def test_boxes_of_all_views_are_suppressed_together(tiny_mask_rcnn, build):
    plain = build(tiny_mask_rcnn)
    augmented = build(dict(type='CellTTA', detector=tiny_mask_rcnn, mirror=[False], turns=[0, 1]))
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        results = augmented.predict(image, [sample_of(64, 96)])[0].pred_instances
        upright = plain.predict(image, [sample_of(64, 96)])[0].pred_instances
        turned = plain.predict(torch.rot90(image, 1, (2, 3)), [sample_of(96, 64)])[0].pred_instances
    x1, y1, x2, y2 = turned.bboxes.numpy().T
    boxes = np.concatenate([upright.bboxes, np.stack([96 - y2, x1, 96 - y1, x2], axis=1)])
    scores, labels = np.concatenate([upright.scores, turned.scores]), np.concatenate([upright.labels, turned.labels])
    kept = []
    for i in np.argsort(-scores, kind='stable'):
        if all(labels[i] != labels[j] or iou(boxes[i], boxes[j]) <= 0.5 for j in kept):
            kept.append(i)
    kept = kept[:100]
    assert len(upright) and len(turned) and set(kept) - set(range(len(upright)))
    np.testing.assert_allclose(results.bboxes, boxes[kept], atol=1e-4)
    np.testing.assert_array_equal(results.scores, scores[kept])
    np.testing.assert_array_equal(results.labels, labels[kept])


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_a_mirrored_image_gives_mirrored_cells(tiny_mask_rcnn, build):
    """With all eight orientations the result turns with the image, whatever the detector has learned."""
    augmented = build(dict(type='CellTTA', detector=tiny_mask_rcnn))
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        upright = augmented.predict(image, [sample_of(64, 64)])[0].pred_instances
        mirrored = augmented.predict(image.flip(3), [sample_of(64, 64)])[0].pred_instances
    assert len(upright) == len(mirrored) > 10
    torch.testing.assert_close(mirrored.scores, upright.scores, rtol=0, atol=1e-5)
    x1, y1, x2, y2 = mirrored.bboxes.numpy().T
    back = np.stack([64 - x2, y1, 64 - x1, y2], axis=1)
    for box in upright.bboxes.numpy():
        assert np.abs(back - box).max(axis=1).min() < 1e-3


def test_images_of_several_sizes_are_predicted_as_if_alone(tiny_mask_rcnn, build):
    augmented = build(dict(type='CellTTA', detector=tiny_mask_rcnn, turns=[0, 1]))
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        together = augmented.predict(images, [sample_of(64, 96), sample_of(64, 60)])
        alone = [
            augmented.predict(images[:1], [sample_of(64, 96)])[0],
            augmented.predict(images[1:, :, :, :64], [sample_of(64, 60)])[0],
        ]
    for ours, expected in zip(together, alone):
        assert_equal(ours.pred_instances, expected.pred_instances)


def test_an_image_without_cells(tiny_mask_rcnn, build):
    config = copy.deepcopy(tiny_mask_rcnn)
    config.test_cfg.rcnn.score_thr = 1.0
    augmented = build(dict(type='CellTTA', detector=config, turns=[0, 1]))
    with torch.no_grad():
        results = augmented.predict(torch.randn(1, 3, 64, 64), [sample_of(64, 64)])[0].pred_instances
    assert len(results) == 0 and results.masks == []


def test_tiles_of_views(tiny_mask_rcnn, build):
    """The two wrappers compose: a single tile of all views is the views' result."""
    augmented = dict(type='CellTTA', detector=tiny_mask_rcnn, turns=[0])
    tiled = dict(type='TiledDetector', detector=augmented, tile=64, overlap=32)
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = build(augmented).predict(image, [sample_of(64, 64)])[0].pred_instances
        assert_equal(build(tiled).predict(image, [sample_of(64, 64)])[0].pred_instances, expected)
        wide = build(tiled).predict(torch.randn(1, 3, 64, 100), [sample_of(64, 100)])[0].pred_instances
    assert len(wide) > 10 and all(mask['size'] == [64, 100] for mask in wide.masks)


def test_no_view_is_refused(tiny_mask_rcnn):
    with pytest.raises(ValueError, match='at least one'):
        CellTTA(tiny_mask_rcnn, turns=())
