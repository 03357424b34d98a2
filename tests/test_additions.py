"""A backbone, a transform, a metric and a layout more: one file each, and nothing else is touched.

Once as files in our own packages, of a copy of them, and once as a package of another repository.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mmcell.io.files import read_json

ROOT = Path(__file__).resolve().parents[1]
BACKBONE = """
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import nn

@MODELS.register_module()
class Patches(BaseModule):
    def __init__(self, channels):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, channels, 2**level, 2**level) for level in (2, 3, 4, 5))

    @classmethod
    def check_pretrained(cls, backbone, neck=None):
        print('pretrained:', backbone['channels'], neck['in_channels'][0])

    def forward(self, x):
        return tuple(layer(x) for layer in self.layers)
"""
TRANSFORM = """
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

@TRANSFORMS.register_module()
class Negative(BaseTransform):
    def transform(self, results):
        return {**results, 'img': 255 - results['img']}
"""
METRIC = """
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

@METRICS.register_module()
class CountError(BaseMetric):
    default_prefix = 'count'

    def process(self, data_batch, data_samples):
        self.results += [abs(sample['found'] - sample['true']) for sample in data_samples]

    def compute_metrics(self, results):
        return {'error': sum(results) / len(results)}
"""
LAYOUT = """
import numpy as np
from mmcell.converters.base import LAYOUTS, Layout
from mmcell.structures.rle import encode_label_map

@LAYOUTS.register_module('npy_pairs')
class NpyPairs(Layout):
    default_class_names = ('cell',)

    def names(self):
        return sorted(path.stem for path in self.source.glob('*.npy'))

    def read(self, name):
        labels = np.load(self.source / f'{name}.npy')
        return self._record(name, self.source / f'{name}.tif', {1: encode_label_map(labels)}, labels > 0)
"""
CONFIG = """
_base_ = '{root}/configs/demo/mask_rcnn_synthetic.py'
custom_imports = dict(imports={imports})
model = dict(
    backbone=dict(_delete_=True, type='Patches', channels=8),
    neck=dict(in_channels=[8, 8, 8, 8]),
)
train_pipeline = [*_base_.train_pipeline[:-1], dict(type='Negative'), _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = [*_base_.val_evaluator, dict(type='CountError')]
"""
USE = """
import numpy as np, torch
from mmdet.registry import METRICS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmcell.preflight.pretrained import check_pretrained

config = Config.fromfile('config.py')
init_default_scope(config.default_scope)
check_pretrained(config)
model = MODELS.build(config.model)
print('features:', *(tuple(each.shape[1:]) for each in model.backbone(torch.zeros(1, 3, 64, 64))))
step = TRANSFORMS.build(config.train_dataloader.dataset.pipeline[-2])
print('negative:', step(dict(img=np.zeros((1, 1, 3), np.uint8)))['img'].ravel().tolist())
metric = METRICS.build(config.val_evaluator[-1])
metric.process(None, [dict(found=3, true=5), dict(found=4, true=4)])
print('metric:', metric.evaluate(2))
"""
#: Where each file goes: in our packages, and in another repository's.
FILES = {
    'models/patches.py': BACKBONE,
    'datasets/transforms/negative.py': TRANSFORM,
    'evaluation/count_error.py': METRIC,
    'converters/npy_pairs.py': LAYOUT,
}


@pytest.fixture
def inside(tmp_path) -> tuple[list[str], str]:
    """A copy of our package with the files in it."""
    shutil.copytree(ROOT / 'mmcell', tmp_path / 'mmcell', ignore=shutil.ignore_patterns('.mim', '__pycache__'))
    for name, text in FILES.items():
        (tmp_path / 'mmcell' / name).write_text(text)
    return ['mmcell'], 'npy_pairs'


@pytest.fixture
def outside(tmp_path) -> tuple[list[str], str]:
    """Another package."""
    (tmp_path / 'theirs').mkdir()
    for name, text in FILES.items():
        (tmp_path / 'theirs' / Path(name).name).write_text(text)
    modules = [f'theirs.{Path(name).stem}' for name in FILES if 'converters' not in name]
    return ['mmcell', *modules], 'theirs.npy_pairs.NpyPairs'


@pytest.mark.parametrize('where', ['inside', 'outside'])
def test_one_of_each(where, request, tmp_path):
    imports, layout = request.getfixturevalue(where)
    source = tmp_path / 'source'
    source.mkdir()
    for name in 'abcde':
        labels = np.zeros((32, 32), np.int32)
        labels[4:9, 6:12] = 1
        np.save(source / f'{name}.npy', labels)
        tifffile.imwrite(source / f'{name}.tif', np.full((32, 32, 3), 200, np.uint8))

    def python(*arguments: object) -> str:
        environment = os.environ | {'PYTHONPATH': os.pathsep.join(map(str, (tmp_path, ROOT)))}
        command = [sys.executable, *map(str, arguments)]
        outcome = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    python(ROOT / 'tools/convert.py', layout, source, '--out', tmp_path / 'data', '--workers', 1)
    converted = read_json(tmp_path / 'data/annotations/trainval.json')
    assert [annotation['bbox'] for annotation in converted['annotations']] == [[6, 4, 6, 5]] * 5

    (tmp_path / 'config.py').write_text(CONFIG.format(root=ROOT, imports=imports))
    printed = python('-c', USE).splitlines()
    assert {
        'pretrained: 8 8',
        'features: (8, 16, 16) (8, 8, 8) (8, 4, 4) (8, 2, 2)',
        'negative: [255, 255, 255]',
        "metric: {'count/error': 1.0}",
    } <= set(printed), printed


def test_a_layout_that_is_none(tool, tmp_path):
    for name, problem in (
        ('nonsense', 'choose from class_tiff, coco'),
        ('nowhere.at.All', 'cannot be imported'),
        ('pathlib.Path', 'is not a layout'),
    ):
        outcome = tool('convert', name, tmp_path, '--out', tmp_path / 'out')
        assert outcome.status == 2 and outcome.err.count('\n') == 1 and problem in outcome.err
