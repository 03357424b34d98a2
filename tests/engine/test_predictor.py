"""A trained model in Python: what it is made of, what it takes for an image, what it gives; large images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from mmdet.registry import MODELS
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope

import mmcell
from mmcell.coco.cells import cells_of
from mmcell.config import load_config
from mmcell.engine.predictor import load_model, predict_large
from mmcell.errors import InputError
from mmcell.io.images import read_image

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'configs/demo/mask_rcnn_synthetic.py'
CLASSES = ('a', 'b', 'c', 'd')


@pytest.fixture(scope='module')
def config():
    config = load_config(DEMO)
    config.model.test_cfg.rcnn.max_per_img = 100
    return config


def save(model: torch.nn.Module, path: Path, **meta) -> Path:
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


def test_weights_and_class_names(config, tmp_path):
    torch.manual_seed(1)
    trained = MODELS.build(config.model)
    model = load_model(config, save(trained, tmp_path / 'a.pth'), 'cpu')
    assert model.classes == ('class 1', 'class 2', 'class 3', 'class 4') and not model.network.training
    assert all(torch.equal(value, model.network.state_dict()[key]) for key, value in trained.state_dict().items())
    assert (model.found_threshold, model.score_thr) == (None, 0.5)

    path = save(trained, tmp_path / 'b.pth', dataset_meta={'classes': CLASSES}, score_thr=0.3)
    model = load_model(DEMO, path, 'cpu')
    assert model.classes == CLASSES and (model.found_threshold, model.score_thr) == (0.3, 0.3)


def test_unfit_checkpoints(config, tmp_path):
    with pytest.raises(InputError, match='is not a checkpoint file'):
        load_model(config, tmp_path / 'nowhere.pth')
    (tmp_path / 'text.pth').write_bytes(b'no checkpoint')
    with pytest.raises(InputError, match='is not a checkpoint, or is cut off'):
        load_model(config, tmp_path / 'text.pth')
    (tmp_path / 'broken.pth').write_bytes(b'\x80 begins like an old checkpoint')
    with pytest.raises(InputError, match='is not a checkpoint, or is broken'):
        load_model(config, tmp_path / 'broken.pth')
    with pytest.raises(InputError, match='does not fit the model of'):
        load_model(config, save(torch.nn.Linear(1, 1), tmp_path / 'other.pth'))


def test_absent_device(config, tmp_path):
    path = save(MODELS.build(config.model), tmp_path / 'a.pth')
    for device in ('cuda:99', 'toaster'):
        with pytest.raises(InputError, match='--device'):
            load_model(config, path, device)


@pytest.fixture(scope='module')
def model(config, tmp_path_factory):
    """An untrained one, which finds something everywhere."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        network = MODELS.build(config.model)
    path = tmp_path_factory.mktemp('weights') / 'weights.pth'
    save(network, path, dataset_meta={'classes': CLASSES}, score_thr=0.84)
    return mmcell.load_model(config, path, 'cpu')


@pytest.fixture(scope='module')
def pixels():
    return np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def assert_same(one, other):
    assert one.label_map().tobytes() == other.label_map().tobytes()
    for name in ('labels', 'scores', 'probabilities'):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_cells_of_an_image(model, pixels):
    cells = model.predict(pixels)
    everything = model.predict(pixels, score_thr=0)
    assert cells.classes == CLASSES and cells.size == (64, 80) and 3 < len(cells) < len(everything)
    assert sum(cells.counts().values()) == len(cells) == len(cells.to_geojson()['features'])
    assert np.array_equal(np.unique(cells.label_map()), np.arange(len(cells) + 1))
    assert (np.diff(cells.scores) <= 0).all() and cells.scores[-1] >= model.score_thr > everything.scores[-1]
    assert_same(cells, everything.above(model.score_thr))
    # Results stay what COCO's evaluation reads: more of them, and overlapping.
    size, results = model.predict_results(pixels, image_id=7)
    assert size == (64, 80) and len(results) > len(everything) and {result['image_id'] for result in results} == {7}
    image = {'id': 7, 'height': 64, 'width': 80}
    ((_, expected),) = cells_of(results, [image], model.categories, model.score_thr)
    assert_same(cells, expected)


def test_files_arrays_and_lists_are_alike(model, pixels, tmp_path):
    path, swapped = tmp_path / 'image.tif', tmp_path / 'swapped.tif'
    tifffile.imwrite(path, pixels, photometric='rgb')
    tifffile.imwrite(swapped, np.ascontiguousarray(pixels[..., ::-1]), photometric='rgb')
    expected = model.predict(pixels)
    for image in (path, str(path)):
        assert_same(model.predict(image), expected)
    first, second = model.predict([path, pixels[:32]])
    assert_same(first, expected)
    assert second.size == (32, 80)
    assert model.predict([]) == []
    assert_same(model.predict(swapped, channel_order='bgr'), expected)


@pytest.mark.parametrize('kind', ['grey', 'one channel', '16 bits', 'rgba', 'bool'])
def test_arrays_of_other_kinds_are_taken_as_files_of_them(model, pixels, tmp_path, kind):
    grey = pixels[..., 0]
    array = {
        'grey': grey,
        'one channel': grey[..., None],
        '16 bits': pixels.astype(np.uint16) * 257,
        'rgba': np.dstack([pixels, grey]),
        'bool': grey > 100,
    }[kind]
    photometric = 'rgb' if array.shape[-1] in (3, 4) else 'minisblack'
    extra = {'extrasamples': ['unassalpha']} if kind == 'rgba' else {}
    tifffile.imwrite(tmp_path / 'a.tif', array.squeeze(), photometric=photometric, **extra)
    assert_same(model.predict(array), model.predict(read_image(tmp_path / 'a.tif')))


@pytest.mark.parametrize(
    'array',
    [np.zeros((8, 8, 3)), np.zeros((8, 8, 5), np.uint8), np.zeros((2, 8, 8, 3), np.uint8), np.zeros((0, 8), np.uint8)],
)
def test_arrays_that_are_no_image(model, array):
    with pytest.raises(InputError, match=r'image: has (pixels of type|shape)'):
        model.predict(array)


def test_two_channels_are_no_alpha(model, pixels):
    with pytest.raises(InputError, match='image: has 2 channels'):
        model.predict(pixels[..., :2])


def test_what_is_neither_array_nor_path(model, tmp_path):
    with pytest.raises(TypeError, match='an array, a path, or a list of them, not Tensor'):
        model.predict(torch.zeros(3, 8, 8))
    with pytest.raises(InputError, match=r'nowhere\.tif'):
        model.predict(tmp_path / 'nowhere.tif')


def test_the_package_offers_it_without_importing_it():
    code = 'import sys, mmcell; assert "torch" not in sys.modules; print(callable(mmcell.load_model))'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.splitlines()[-1] == 'True', run.stderr
    with pytest.raises(AttributeError, match='no_such_thing'):
        mmcell.no_such_thing  # noqa: B018


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_windows_give_what_the_test_pipeline_gives(tmp_path, order):
    path = tmp_path / 'image.tif'
    pixels = np.random.default_rng(0).integers(0, 256, (70, 130, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, compression='zlib', tile=(32, 32), photometric='rgb')
    detector = load_config(DEMO).model
    detector.test_cfg.rcnn.update(score_thr=0.2, max_per_img=30)
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        model = MODELS.build(dict(type='TiledDetector', detector=detector, tile=64, overlap=30, scale=1.5)).eval()
        pipeline = Compose([dict(type='LoadCellImage'), dict(type='PackDetInputs')])
        data = pseudo_collate([pipeline(dict(img_path=str(path), img_id=1, channel_order=order))])
    with torch.no_grad():
        expected = model.test_step(data)[0].pred_instances
    results = predict_large(model, path, order, progress=False)
    assert results.masks == expected.masks and len(results) > 10
    for key in ('bboxes', 'scores', 'labels'):
        torch.testing.assert_close(results[key], expected[key], rtol=0, atol=0)


LARGE_RUN = """
import resource, sys
import torch
from mmengine.registry import init_default_scope
from mmdet.registry import MODELS
from mmcell.config import load_config
from mmcell.engine.predictor import predict_large

detector = load_config(sys.argv[1]).model
detector.backbone.base_channels, detector.neck.in_channels = 8, [8, 16, 32, 64]
init_default_scope('mmdet')
torch.manual_seed(0)
detector.test_cfg.rcnn.update(score_thr=0.2, max_per_img=200)
model = MODELS.build(dict(type='TiledDetector', detector=detector, tile=1024, overlap=64)).eval()
results = predict_large(model, sys.argv[2])
sides = {tuple(mask['size']) for mask in results.masks}
print(len(results), *sides, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_ten_thousand_by_ten_thousand_pixels_in_less_than_4_gb(tmp_path):
    path = tmp_path / 'large.tif'
    patch = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    tifffile.imwrite(path, np.tile(patch, (25, 25, 1)), compression='zlib', tile=(512, 512), photometric='rgb')
    run = subprocess.run([sys.executable, '-c', LARGE_RUN, DEMO, path], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    found, side, other, peak = run.stdout.split()[-4:]
    assert int(found) > 1000
    assert (side, other) == ('(10000,', '10000)')
    assert int(peak) * 1024 < 4e9, f'{int(peak) / 1e6:.2f} GB'
