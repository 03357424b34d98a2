"""Tiles and test-time augmentation through the tools: one config, a valid submission."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmcell.coco.submission import validate_submission
from mmcell.config import load_config
from mmcell.synthetic import draw_tissue, write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'configs/demo/mask_rcnn_synthetic.py'
TILED = f"""
_base_ = '{DEMO}'
_base_.model.test_cfg.rcnn.max_per_img = 10
_views = dict(type='CellTTA', detector=_base_.model, mirror=(False,), turns=(0, 1))
model = dict(_delete_=True, type='TiledDetector', detector=_views, tile=48, overlap=24, scale=1.5)
_pipeline = [step for step in _base_.test_pipeline if step['type'] in ('LoadCellImage', 'PackDetInputs')]
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=_pipeline))
"""
#: Tiles of another scale.
OTHER = """
_base_ = './tiled.py'
model = dict(scale=1.0)
"""
#: Two folds, the second one's weights named in the config, each of another scale, tiled, from two views.
FUSED = """
_base_ = './tiled.py'
_other = dict(_base_.model, scale=1.0)
model = dict(
    _delete_=True, type='EnsembleDetector', detectors=[_base_.model, _other], checkpoints=[None, 'fold1.pth']
)
"""


@pytest.fixture
def work(tmp_path, monkeypatch, tool):
    """A folder with a converted data set, the weights of two folds of the plain detector, and the configs."""
    write_class_tiff(tmp_path / 'source', num_images=3, size=(64, 64), num_cells=6, num_test_images=2)
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    monkeypatch.chdir(tmp_path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        for fold in range(2):
            torch.manual_seed(fold)
            torch.save({'state_dict': MODELS.build(load_config(DEMO).model).state_dict()}, f'fold{fold}.pth')
    for name, content in (('tiled', TILED), ('other', OTHER), ('fused', FUSED)):
        Path(f'{name}.py').write_text(content)
    return tmp_path


def test_a_submission_of_tiles_views_and_folds(work, tool):
    results = {}
    for config, fold in (('tiled.py', 0), ('other.py', 1), ('fused.py', 0)):
        outcome = tool('test', config, f'fold{fold}.pth', '--format-only', '--out', config[:-3])
        assert outcome.status == 0, outcome.err
        for suffix in ('json', 'zip'):
            validate_submission(f'{config[:-3]}/test-results.{suffix}', 'data/annotations/test.json')
        results[config] = json.loads(Path(f'{config[:-3]}/test-results.json').read_text())
        assert len(results[config]) > 10
    # The tool that fuses files gives what the config gives.
    files = ('tiled/test-results.json', 'other/test-results.json')
    images = ('--images', 'data/annotations/test.json', '--format-only')
    assert tool('fuse', *files, *images, '--out', 'by_tool').status == 0
    by_tool, fused = json.loads(Path('by_tool/test-results.json').read_text()), results['fused.py']
    assert [each['segmentation'] for each in by_tool] == [each['segmentation'] for each in fused]
    np.testing.assert_allclose([each['score'] for each in by_tool], [each['score'] for each in fused], atol=1e-6)


def test_a_missing_fold_is_named(work, tool):
    Path('fold1.pth').unlink()
    outcome = tool('test', 'fused.py', 'fold0.pth', '--format-only', '--out', 'out')
    assert outcome.status == 2 and not Path('out/test-results.json').exists()
    assert outcome.err.splitlines()[-1].startswith('error: fold1.pth: is not a checkpoint file')


def test_windows_give_what_whole_images_give(work, tool):
    """tools/infer.py reads the windows of tiles from the file, tools/test.py the image as a whole."""
    assert tool('test', 'fused.py', 'fold0.pth', '--format-only', '--out', 'whole').status == 0
    outcome = tool('infer', 'fused.py', 'fold0.pth', 'source/test_release', '--out', 'windows')
    assert outcome.status == 0, outcome.err
    found = []
    for results, images in (('whole/test-results', 'data/annotations/test'), ('windows/results', 'windows/images')):
        listing = json.loads(Path(f'{images}.json').read_text())['images']
        assert all((image['height'], image['width']) == (64, 64) for image in listing)
        names = {image['id']: Path(image['file_name']).name for image in listing}
        cells = json.loads(Path(f'{results}.json').read_text())
        for cell in cells:
            cell.pop('probabilities', None)  # no submission has them
        found.append(sorted((names[cell.pop('image_id')], str(cell)) for cell in cells))
    assert found[0] == found[1] and len(found[0]) > 10
    assert len(list(Path('windows/overlays').glob('*.png'))) == 2


def test_a_slide_among_images(work, tool):
    """A pyramid goes its own way, at the resolution that the model learned at; images go theirs."""
    image = sorted(Path('source/test_release').glob('*.tif'))[0]
    pixels, options = tifffile.imread(image)[..., :3], dict(photometric='rgb', tile=(32, 32), metadata=None)
    Path('mixed').mkdir()
    (Path('mixed') / 'image.tif').write_bytes(image.read_bytes())
    with tifffile.TiffWriter('mixed/slide.svs') as file:
        file.write(pixels, **options, resolution=(20000, 20000), resolutionunit='CENTIMETER')
        file.write(np.ascontiguousarray(pixels[::2, ::2]), subfiletype=1, **options)
    arguments = ('tiled.py', 'fold0.pth', 'mixed', '--out', 'out', '--score-thr', '0.1', '--trained-mpp', '0.4')
    outcome = tool('infer', *arguments)
    assert outcome.status == 0, outcome.err
    assert 'slide.svs: 0.5 microns per pixel, resampled to the 0.4 of the training' in outcome.out
    assert 'warning: trained at 0.4 microns per pixel; 1 of 2 images, which do not say theirs' in outcome.out
    summary = json.loads(Path('out/slides/slide/summary.json').read_text())
    assert summary['total'] > 5 and summary['predicted at'] == 0.4
    assert len(json.loads(Path('out/slides/slide/cells.geojson').read_text())['features']) == summary['total']
    assert [image['file_name'] for image in json.loads(Path('out/images.json').read_text())['images']] == ['image.tif']
    again = tool('infer', *arguments)
    assert f'all {summary["total"]} cells are in out/slides/slide already' in again.out and 'nothing to do' in again.out


LARGE = f"""
_base_ = '{DEMO}'
_base_.model.test_cfg.rcnn.update(score_thr=0.2, max_per_img=200)
_base_.model.backbone.base_channels = 8
_base_.model.neck.in_channels = [8, 16, 32, 64]
model = dict(_delete_=True, type='TiledDetector', detector=_base_.model, tile=1024, overlap=64)
_pipeline = [step for step in _base_.test_pipeline if step['type'] in ('LoadCellImage', 'PackDetInputs')]
test_dataloader = dict(dataset=dict(pipeline=_pipeline))
"""
RUN = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize('compression', ['zlib', None])
def test_ten_thousand_by_ten_thousand_pixels_in_less_than_4_gb(tmp_path, compression):
    tissue = draw_tissue(np.random.default_rng(0), (500, 500), 250).image
    tifffile.imwrite(
        tmp_path / 'large.tif',
        np.tile(tissue, (20, 20, 1)),
        compression=compression,
        tile=(512, 512),
        photometric='rgb',
    )
    (tmp_path / 'large.py').write_text(LARGE)
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        torch.save(
            {'state_dict': MODELS.build(load_config(tmp_path / 'large.py').model).state_dict()}, tmp_path / 'w.pth'
        )
    arguments = ('large.py', 'w.pth', 'large.tif', '--out', 'out', '--score-thr', '0.2', '--device', 'cpu')
    command = [sys.executable, '-c', RUN, ROOT / 'tools/infer.py', *arguments]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    peak = int(run.stdout.split()[-1]) * 1024
    assert peak < 4e9, f'{peak / 1e9:.2f} GB'
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert len(results) > 1000 and all(cell['segmentation']['size'] == [10_000, 10_000] for cell in results)
    picture = cv2.imread(str(tmp_path / 'out/overlays/large.png'))
    assert 2048 < max(picture.shape) < 4400
