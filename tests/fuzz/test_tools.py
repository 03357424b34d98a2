"""What tools are given beside data: results to fuse and to export, images to predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from mmdet.registry import MODELS

from mmcell.coco.fuse import fuse_files
from mmcell.coco.schema import read_results
from mmcell.config import load_config
from mmcell.engine.inference import find_images
from mmcell.engine.predictor import load_model
from mmcell.errors import InputError
from mmcell.report.export import TARGETS, export_results
from tests.fuzz.test_documents import damage, results, truth

CONFIG = Path(__file__).resolve().parents[2] / 'configs/demo/mask_rcnn_synthetic.py'
#: The smallest model with all parts of the demo's.
SMALL = {
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': [8, 16, 32, 64],
    'model.neck.out_channels': 16,
    'model.rpn_head.in_channels': 16,
    'model.rpn_head.feat_channels': 16,
    'model.roi_head.bbox_roi_extractor.out_channels': 16,
    'model.roi_head.bbox_head.in_channels': 16,
    'model.roi_head.bbox_head.fc_out_channels': 32,
    'model.roi_head.mask_roi_extractor.out_channels': 16,
    'model.roi_head.mask_head.num_convs': 1,
    'model.roi_head.mask_head.in_channels': 16,
    'model.roi_head.mask_head.conv_out_channels': 16,
    'model.test_cfg.rcnn.max_per_img': 20,
}


def write(work: Path, **documents: str) -> None:
    for name, text in documents.items():
        (work / f'{name}.json').write_text(text)


@pytest.mark.slow
def test_fuse(fuzz):
    def case(rng: np.random.Generator, work: Path) -> None:
        texts = [json.dumps(results()), damage(results(), rng)]
        listing = damage(truth(), rng) if rng.random() < 0.3 else json.dumps(truth())
        write(work, a=texts[0], b=texts[1], images=listing)
        images = work / 'images.json' if rng.random() < 0.7 else None
        try:
            paths = fuse_files([work / 'a.json', work / 'b.json'], work / 'out', images_json=images)
        except InputError:
            assert not (work / 'out').exists()
            raise
        assert read_results(paths[0])

    fuzz('results, fused', 500, case)


@pytest.mark.slow
@pytest.mark.parametrize('target', TARGETS)
def test_export(fuzz, target):
    def case(rng: np.random.Generator, work: Path) -> None:
        first = rng.random() < 0.5
        write(work, results=damage(results(), rng) if first else json.dumps(results()))
        write(work, images=json.dumps(truth()) if first else damage(truth(), rng))
        try:
            paths = export_results(work / 'results.json', work / 'images.json', work / 'out', target)
        except InputError:
            assert not (work / 'out').exists()
            raise
        assert all(path.resolve().is_relative_to((work / 'out').resolve()) and path.is_file() for path in paths)

    fuzz(f'results and images, exported to {target}', 150, case)


@pytest.fixture(scope='module')
def config():
    return load_config(CONFIG, SMALL)


@pytest.fixture(scope='module')
def content(config) -> dict[str, Any]:
    """A checkpoint as training writes it."""
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    hub = {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}}
    meta = {'epoch': 1, 'iter': 7, 'dataset_meta': {'classes': ('one', 'two', 'three', 'four')}, 'score_thr': 0.5}
    meta |= {'cfg': "_run = dict(base=None, fold=None)\nmodel = dict(type='MaskRCNN')\n", 'seed': 0, 'time': 'today'}
    state = {'state_dict': model.state_dict(), 'meta': meta, 'message_hub': hub}
    return {**state, 'optimizer': optimizer.state_dict(), 'param_schedulers': [{'last_step': 7}]}


def sources(folder: Path) -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    tifffile.imwrite(folder / 'a.tif', pixels, photometric='rgb', compression='lzw', tile=(16, 16))
    jpeg, png = imagecodecs.jpeg8_encode(pixels), imagecodecs.png_encode(pixels)
    return {'a.tif': (folder / 'a.tif').read_bytes(), 'a.jpg': jpeg, 'a.png': png}


@pytest.mark.slow
def test_images_to_predict(fuzz, mutate, config, content, tmp_path):
    torch.save(content, tmp_path / 'a.pth')
    model, files = load_model(config, tmp_path / 'a.pth', 'cpu'), sources(tmp_path)

    def case(rng: np.random.Generator, work: Path) -> None:
        name = str(rng.choice(list(files)))
        (work / name).write_bytes(mutate(files[name], rng))
        (path,) = find_images([work], skip=work / 'out')
        size, found = model.predict_results(path)
        assert model.make_cells(size, found).size == size

    fuzz('images, predicted', 150, case)
