"""Predicting on images without a data set: which images, weights and names; large ones in memory that stays flat."""

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

from mmcell.config import load_config
from mmcell.engine.inference import find_images, load_model, predict_large
from mmcell.errors import InputError, InputErrors

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'configs/demo/mask_rcnn_synthetic.py'


@pytest.fixture(scope='module')
def config():
    return load_config(DEMO)


def test_images_of_folders_and_files(tmp_path):
    wanted = ('b.tif', 'sub/deep/a.PNG', 'sub/c.jpeg', 'odd.name')
    for name in (*wanted, 'notes.txt', '.hidden.tif', 'out/overlays/b.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sources = [tmp_path, tmp_path / 'b.tif', tmp_path / 'odd.name', tmp_path / 'sub']
    assert find_images(sources, skip=tmp_path / 'out') == sorted(tmp_path / name for name in wanted)


def test_images_are_found_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / 'in/out').mkdir(parents=True)
    (tmp_path / 'in/a.tif').touch()
    (tmp_path / 'in/out/a.png').touch()
    monkeypatch.chdir(tmp_path)
    assert find_images(['in'], skip=Path('in/out')) == [tmp_path / 'in/a.tif']


def test_every_missing_source_is_named(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputErrors, match=r'nowhere.tif: does not exist(.|\n)*empty: holds no image'):
        find_images([tmp_path / 'nowhere.tif', tmp_path / 'empty'], skip=tmp_path)


def save(model: torch.nn.Module, path: Path, **meta) -> Path:
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


def test_weights_and_class_names(config, tmp_path):
    torch.manual_seed(1)
    trained = MODELS.build(config.model)
    model, classes = load_model(config, save(trained, tmp_path / 'a.pth'), 'cpu')
    assert classes == ('epithelial', 'lymphocyte', 'neutrophil', 'macrophage') and not model.training
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in trained.state_dict().items())

    names = ('a', 'b', 'c', 'd')
    assert load_model(config, save(trained, tmp_path / 'b.pth', dataset_meta={'classes': names}), 'cpu')[1] == names


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
from mmcell.engine.inference import predict_large

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
