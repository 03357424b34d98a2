"""An ensemble is what its members predict, fused; its checkpoint is that of the plain detector."""

import copy

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.runner.checkpoint import get_state_dict, load_state_dict

from mmcell.errors import InputError
from mmcell.models.ensemble import EnsembleDetector
from mmcell.structures.fusion import Predictions, fuse
from mmcell.structures.rle import decode

SIZE = (64, 96)


def sample_of(height, width, scale=1.0):
    shape = (round(height / scale), round(width / scale))
    return DetDataSample(metainfo=dict(ori_shape=shape, img_shape=(height, width), scale_factor=(scale, scale)))


def predictions(instances, size=SIZE):
    boxes, scores = (instances[key].double().numpy() for key in ('bboxes', 'scores'))
    return Predictions(boxes, scores, instances.labels.numpy(), decode(instances.masks, size))


def assert_equal(ours, expected):
    assert ours.masks == expected.masks
    for key in ('bboxes', 'scores', 'labels'):
        torch.testing.assert_close(ours[key], expected[key], rtol=0, atol=1e-6)


def randomise(model, seed):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture
def image():
    torch.manual_seed(0)
    return torch.randn(1, 3, *SIZE)


@pytest.fixture
def folds(tiny_mask_rcnn, tmp_path):
    """Two plain detectors of different weights, the second one's as a file."""
    models = [randomise(MODELS.build(copy.deepcopy(tiny_mask_rcnn)), seed) for seed in (0, 1)]
    torch.save({'state_dict': models[1].state_dict(), 'meta': {'epoch': 1}}, tmp_path / 'fold1.pth')
    return models, str(tmp_path / 'fold1.pth')


def test_an_ensemble_of_folds_is_their_fusion(tiny_mask_rcnn, folds, image):
    models, checkpoint = folds
    ensemble = EnsembleDetector([tiny_mask_rcnn] * 2, [None, checkpoint], weights=[2, 1], iou_thr=0.5, max_per_img=60)
    ensemble.load_state_dict(models[0].state_dict())
    with torch.no_grad():
        found = [model.predict(image, [sample_of(*SIZE)])[0].pred_instances for model in models]
        results = ensemble.eval().predict(image, [sample_of(*SIZE)])[0].pred_instances
    expected = fuse([predictions(each) for each in found], [2, 1], 0.5)
    assert len(results) == 60 < len(expected) < sum(map(len, found))
    assert results.masks == expected.masks.encode()[:60]
    np.testing.assert_allclose(results.scores, expected.scores[:60], atol=1e-6)
    np.testing.assert_allclose(results.bboxes, expected.boxes[:60], atol=1e-4)
    np.testing.assert_array_equal(results.labels, expected.labels[:60])


@pytest.mark.parametrize('save', [lambda model: model.state_dict(), get_state_dict], ids=['torch', 'mmengine'])
@pytest.mark.parametrize(
    'load',
    [
        lambda model, state: model.load_state_dict(state),
        lambda model, state: load_state_dict(model, state, strict=True),
    ],
    ids=['torch', 'mmengine'],
)
@pytest.mark.parametrize('wrapped', [False, True])
def test_the_checkpoint_is_that_of_the_plain_detector(tiny_mask_rcnn, folds, save, load, wrapped):
    (plain, other), checkpoint = folds
    views = dict(type='CellTTA', detector=tiny_mask_rcnn, turns=[0])
    model = dict(
        type='EnsembleDetector', detectors=[tiny_mask_rcnn, views, views], checkpoints=[None, checkpoint, None]
    )
    if wrapped:
        model = dict(type='TiledDetector', detector=model)
    model = MODELS.build(model)
    load(model, save(plain))
    state = save(model)
    assert state.keys() == plain.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    ensemble = model.detector if wrapped else model
    for detector, expected in zip(ensemble.others, (other, plain)):
        for name, value in detector.state_dict().items():
            assert torch.equal(value, expected.state_dict()[name]), name
    broken = save(plain)
    broken['neck.extra'] = broken.pop('neck.fpn_convs.0.conv.weight')
    with pytest.raises(RuntimeError, match=r'(?s)fpn_convs\.0\.conv\.weight.*neck\.extra|neck\.extra.*fpn_convs'):
        load(model, broken)


def test_copies_of_one_detector_are_that_detector(tiny_mask_rcnn, build, image):
    plain, ensemble = build(tiny_mask_rcnn), EnsembleDetector([tiny_mask_rcnn] * 3).eval()
    ensemble.load_state_dict(plain.state_dict())
    with torch.no_grad():
        for sample in (sample_of(*SIZE), sample_of(*SIZE, scale=2.0)):
            expected = plain.predict(image, [copy.deepcopy(sample)])[0].pred_instances
            filled = decode(expected.masks, sample.ori_shape).areas > 0
            assert filled.sum() > 10
            kept = expected[torch.from_numpy(filled)]
            kept = kept[torch.sort(kept.scores, descending=True, stable=True)[1]]
            assert_equal(ensemble.predict(image, [sample])[0].pred_instances, kept)


def test_tiles_views_and_ensembles_compose_either_way(tiny_mask_rcnn, build, image):
    plain = build(tiny_mask_rcnn)
    views = dict(type='CellTTA', detector=tiny_mask_rcnn, mirror=[False, True], turns=[0])
    tiled = [dict(type='TiledDetector', detector=views, tile=48, overlap=24, scale=scale) for scale in (1.0, 1.5)]
    outer = MODELS.build(dict(type='EnsembleDetector', detectors=tiled)).eval()
    ensemble = dict(type='EnsembleDetector', detectors=[views, tiny_mask_rcnn])
    inner = MODELS.build(dict(type='TiledDetector', detector=ensemble, tile=48, overlap=24)).eval()
    assert outer.reads_windows and inner.reads_windows and not inner.detector.reads_windows
    for model in (outer, inner):
        model.load_state_dict(plain.state_dict())
        with torch.no_grad():
            results = model.predict(image, [sample_of(*SIZE)])[0].pred_instances
        assert len(results) > 10 and all(mask['size'] == list(SIZE) for mask in results.masks)
        assert (results.scores.diff() <= 0).all()
    with torch.no_grad():
        windows = outer.predict_windows(lambda x1, y1, x2, y2: image[0, :, y1:y2, x1:x2], SIZE)
        assert_equal(windows, outer.predict(image, [sample_of(*SIZE)])[0].pred_instances)


def test_an_image_without_cells(tiny_mask_rcnn, image):
    config = copy.deepcopy(tiny_mask_rcnn)
    config.test_cfg.rcnn.score_thr = 1.0
    ensemble = EnsembleDetector([config] * 2).eval()
    with torch.no_grad():
        results = ensemble.predict(image, [sample_of(*SIZE)])[0].pred_instances
    assert len(results) == 0 and results.masks == [] and results.bboxes.shape == (0, 4)


def test_bad_checkpoints_are_named(tiny_mask_rcnn, tmp_path):
    def build(path):
        MODELS.build(dict(type='EnsembleDetector', detectors=[tiny_mask_rcnn] * 2, checkpoints=[None, str(path)]))

    with pytest.raises(InputError, match=r'none\.pth: is not a checkpoint file'):
        build(tmp_path / 'none.pth')
    torch.save({'state_dict': {'other': torch.zeros(1)}}, tmp_path / 'other.pth')
    with pytest.raises(InputError, match=r'other\.pth: does not fit the model'):
        build(tmp_path / 'other.pth')

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath('sprung').touch, ())

    torch.save({'state_dict': Trap()}, tmp_path / 'trap.pth')
    refused = r'trap\.pth: (holds .* could run any program|is not a checkpoint, or is bro)'
    with pytest.raises(InputError, match=refused) as caught:
        build(tmp_path / 'trap.pth')
    assert '\n' not in str(caught.value) and not (tmp_path / 'sprung').exists()


def test_bad_arguments(tiny_mask_rcnn, image):
    for arguments in (dict(detectors=[]), dict(checkpoints=[None]), dict(checkpoints=['a.pth', None])):
        with pytest.raises(ValueError, match='checkpoints must'):
            EnsembleDetector(**{'detectors': [tiny_mask_rcnn] * 2, **arguments})
    for weights in ([1], [1, 0]):
        with pytest.raises(ValueError, match='weights must'):
            EnsembleDetector([tiny_mask_rcnn] * 2, weights=weights)
    darker = copy.deepcopy(tiny_mask_rcnn)
    darker.data_preprocessor.mean = [0, 0, 0]
    with pytest.raises(ValueError, match='alike'):
        EnsembleDetector([tiny_mask_rcnn, darker])
    stock = copy.deepcopy(tiny_mask_rcnn)
    stock.roi_head.mask_head.type = 'FCNMaskHead'
    ensemble = EnsembleDetector([stock])
    with pytest.raises(InputError, match='gives bitmaps'), torch.no_grad():
        randomise(ensemble, 0).predict(image, [sample_of(*SIZE)])
    with pytest.raises(InputError, match='only predicts'):
        ensemble.loss(image, [])
