"""Large images: the same cells as the usual way, in memory that does not grow with the image."""

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
from mmcell.engine.large import predict_large

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'configs/demo/mask_rcnn_synthetic.py'


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
from mmcell.engine.large import predict_large

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
