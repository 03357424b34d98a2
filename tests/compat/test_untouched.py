"""Another repository uses mmcell as a plugin: its process stays as it was, and what our classes promise holds there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmcell.structures.rle import encode_label_map

ROOT = Path(__file__).resolve().parents[2]
#: What another repository may have: MMDetection's own Mask R-CNN, with some parts of ours.
THEIRS = """
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
custom_imports = dict(imports=['mmcell'])
default_scope = 'mmdet'
model = dict(
    backbone=dict(type='CBAMResNet', depth=18, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512]),
    roi_head=dict(mask_head=dict(type='BoxedRLEMaskHead')),
)
default_hooks = dict(checkpoint=dict(type='SafeCheckpointHook', interval=1))
work_dir = 'work'
"""
#: Compares what mmengine, mmdet, mmcv, torch, logging, warnings and the import system hold before and after.
COMPARE = """
import builtins, logging, sys, warnings
import mmcv.ops, mmdet.apis, mmdet.datasets, mmdet.evaluation, mmdet.models, mmdet.visualization
import mmengine.fileio.backends.registry_utils as backends
import mmengine.hooks, mmengine.runner, mmengine.visualization, torch.utils.data, torch.distributed
from mmdet import registry
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope
from mmengine.runner import CheckpointLoader, Runner

HOSTS = ('mmengine', 'mmdet', 'mmcv', 'torch', 'logging', 'warnings', 'builtins', 'tifffile')

def look():
    found = {
        'meta_path': [id(each) for each in sys.meta_path],
        'path_hooks': [id(each) for each in sys.path_hooks],
        'excepthook': id(sys.excepthook),
        'warnings': list(warnings.filters),
        'backends': dict(backends.backends),
        'backends by prefix': dict(backends.prefix_to_backends),
        'loaders': dict(CheckpointLoader._schemes),
        'disabled': logging.root.manager.disable,
    }
    for name in ('tifffile', 'mmengine', 'mmdet', 'PIL', 'matplotlib'):
        logger = logging.getLogger(name)
        found[f'logger {name}'] = logger.level, list(logger.filters), list(logger.handlers)
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] not in HOSTS:
            continue
        for key, value in list(vars(module).items()):
            if callable(value):
                found[name, key] = id(value)
            if isinstance(value, type) and value.__module__ == name:
                found.update({(name, key, part): id(each) for part, each in vars(value).items() if callable(each)})
    return found

def compare():
    after = look()
    # Modules that came later are not the host's own; of one that was there, a new attribute is a change as well.
    modules = {key[0] for key in before if isinstance(key, tuple)}
    keys = [key for key in {**before, **after} if not isinstance(key, tuple) or key[0] in modules]
    print('changed:', [key for key in keys if before.get(key) != after.get(key)], flush=True)

before = look()
init_default_scope('mmdet')
"""
BUILD = """
import mmcell
theirs = Config.fromfile('theirs.py')
runner = Runner.from_cfg(theirs)
print('built:', type(runner.model.backbone).__name__, type(runner.model.roi_head.mask_head).__name__)

ARGUMENTS = dict(
    BoxedRLEMaskHead=dict(num_classes=4),
    CBAM=dict(channels=32),
    CBAMResNet=dict(depth=18),
    CellDataset=dict(ann_file='truth.json', lazy_init=True),
    CellMetric=dict(ann_file='truth.json'),
    CellTTA=dict(detector=theirs.model),
    ChainedResize=dict(scale=(64, 64)),
    CellVisualizer=dict(name='theirs'),
    DenseCocoMetric=dict(ann_file='truth.json'),
    EnsembleDetector=dict(detectors=[theirs.model]),
    LimitLongEdge=dict(max_size=64),
    TiledDetector=dict(detector=theirs.model, tile=64, overlap=32),
)
built, imported = set(), set()
for each in vars(registry).values():
    if not isinstance(each, Registry) or each.scope != 'mmdet':
        continue
    each.import_from_location()
    for name, kind in each.module_dict.items():
        if kind.__module__.startswith('mmcell.'):
            imported.add(name)
            try:
                each.build(dict(type=name, **ARGUMENTS.get(name, {})))
                built.add(name)
            except (TypeError, AssertionError):  # it needs arguments that only its own tests know
                pass
print('imported:', len(imported), 'built:', ' '.join(sorted(built)))
"""
TRAIN = """
import os, signal, torch
from mmengine.model import BaseModel
from torch.utils.data import DataLoader

class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode='loss'):
        return {'loss': (self.weight * inputs).sum()}

def train(hook, folder):
    Runner(
        Line(),
        work_dir=folder,
        train_dataloader=DataLoader([dict(inputs=torch.ones(1))], collate_fn=lambda batch: batch[0]),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
        default_hooks=dict(checkpoint=dict(type=hook, interval=1, max_keep_ckpts=1)),
        default_scope='mmdet',
        experiment_name=folder,
    ).train()

train('CheckpointHook', 'stock')  # torch changes itself when it first trains
before = look()
import mmcell

def kill_at_the_second_checkpoint(handle):
    if 'epoch_2' in os.readlink(f'/proc/self/fd/{handle}'):
        compare()
        os.kill(os.getpid(), signal.SIGKILL)

os.fsync = kill_at_the_second_checkpoint
train('SafeCheckpointHook', 'work')
"""


#: After COMPARE: runs the code of each folder in a fork, since the host's imports take seconds.
FORK = """
import os, traceback
from pathlib import Path

for place in Path().iterdir():
    if child := os.fork():
        (place / 'status').write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
        continue
    os.chdir(place)
    for stream in (1, 2):
        os.dup2(os.open(f'stream{stream}', os.O_CREAT | os.O_WRONLY), stream)
    status = 1
    try:
        exec(Path('code.py').read_text())
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)
"""
TRAP = """
class Trap:
    def __reduce__(self):
        return os.mkdir, ('sprung',)
torch.save({'state_dict': {'weight': torch.zeros(1)}, 'meta': Trap()}, 'trap.pth')

import mmcell
from mmdet.registry import MODELS
from mmcell.errors import InputError
theirs = Config.fromfile('theirs.py')
try:
    MODELS.build(dict(type='EnsembleDetector', detectors=[theirs.model] * 2, checkpoints=[None, 'trap.pth']))
except InputError as error:
    print('error:', error)
"""
PIECES = {
    'build': BUILD + '\ncompare()',
    'install': 'import mmcell.compat; mmcell.compat.install(); mmcell.compat.install(); compare()',
    'train': TRAIN,
    'trap': TRAP,
}


def run(folder: Path, code: str, *paths: Path) -> subprocess.CompletedProcess:
    """Run code in a fresh process as another repository would: nothing of our tools is imported."""
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(map(str, (*paths, ROOT)))}
    return subprocess.run([sys.executable, '-c', code], cwd=folder, env=environment, capture_output=True, text=True)


def stand_in(folder: Path) -> Path:
    """A torchvision that loads: mmengine's runner logs its version, and PyPI's does not load beside a CPU's torch."""
    package = folder / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text("__version__ = '0.0'\n")
    return folder


@pytest.fixture(scope='module')
def places(tmp_path_factory) -> Path:
    """For each piece of code the folder that it was run in, with an annotation file and their config."""
    label_map = np.zeros((16, 16), np.int32)
    label_map[2:6, 3:9] = 1
    cell = encode_label_map(label_map).rles[0]
    cell = {'size': cell['size'], 'counts': cell['counts']}
    annotation = {'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [3, 2, 6, 4], 'area': 24, 'iscrowd': 0}
    document = {
        'images': [{'id': 1, 'file_name': 'a.png', 'height': 16, 'width': 16}],
        'annotations': [{**annotation, 'segmentation': cell}],
        'categories': [{'id': 1, 'name': 'cell'}],
    }
    folder = tmp_path_factory.mktemp('hosts')
    for name, code in PIECES.items():
        (folder / name).mkdir()
        for file, text in (('truth.json', json.dumps(document)), ('theirs.py', THEIRS), ('code.py', code)):
            (folder / name / file).write_text(text)
    outcome = run(folder, COMPARE + FORK, stand_in(tmp_path_factory.mktemp('stand_in')))
    assert outcome.returncode == 0, outcome.stderr
    return folder


def outcome_of(place: Path) -> subprocess.CompletedProcess:
    out, err = ((place / f'stream{stream}').read_text() for stream in (1, 2))
    return subprocess.CompletedProcess(place.name, int((place / 'status').read_text()), out, err)


def values(outcome: subprocess.CompletedProcess, name: str) -> list[str]:
    return [line.removeprefix(f'{name}: ') for line in outcome.stdout.splitlines() if line.startswith(f'{name}: ')]


def test_a_host_stays_as_it_was(places):
    outcome = outcome_of(places / 'build')
    assert outcome.returncode == 0, outcome.stderr
    assert values(outcome, 'built') == ['CBAMResNet BoxedRLEMaskHead']
    assert {'EnsembleDetector', 'SafeCheckpointHook', 'CellDataset', 'CellMetric', 'CellVisualizer'} <= set(
        outcome.stdout.split('imported: ')[1].split()
    )
    assert values(outcome, 'changed') == ['[]']


def test_the_comparison_sees_what_install_changes(places):
    (changed,) = values(outcome_of(places / 'install'), 'changed')
    for part in ("'MMLogger', 'handle'", "'loaders'", "'meta_path'", "'warnings'", "'logger tifffile'"):
        assert part in changed


def test_checkpoints_are_whole_without_install(places):
    outcome = outcome_of(places / 'train')
    assert outcome.returncode == -9, outcome.stderr
    assert values(outcome, 'changed') == ['[]']
    assert sorted(path.name for path in (places / 'train/work').glob('[!.]*.pth')) == ['epoch_1.pth']


def test_an_ensemble_reads_weights_safely_without_install(places):
    (error,) = values(outcome_of(places / 'trap'), 'error')
    assert 'trap.pth' in error and 'could run any program' in error and not (places / 'trap/sprung').exists()


TIMM = """
import mmcell
from mmdet.registry import MODELS
from mmcell.errors import InputError
for _ in range(2):
    try:
        MODELS.build(dict(type='TimmBackbone', name='resnet18'))
    except InputError as error:
        print('error:', error)
"""


def test_a_torchvision_that_does_not_load_is_one_line(tmp_path):
    package = tmp_path / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    outcome = run(tmp_path, TIMM, tmp_path)
    first, second = values(outcome, 'error')
    assert first == second and 'nms does not exist' in first and 'belongs to your torch' in first


@pytest.mark.slow
def test_a_torchvision_for_another_torch_does_for_timm(tmp_path):
    """The one that is installed, whichever that is, where nobody called `mmcell.compat.install`."""
    assert values(run(tmp_path, TIMM), 'error') == []
