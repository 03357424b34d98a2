"""What `pip install .` brings: the package, its configs and tools where MMEngine and mim look, nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: As another repository would write it. It touches a base variable, a wrapped part and a list.
THEIRS = """
_base_ = 'mmcell::cell/mask_rcnn_cbam.py'
train_pipeline = [*_base_.train_pipeline[:-1], dict(type='RandomFlip', prob=0.5), _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(backbone=dict(init_cfg=None))
"""
#: Builds by way of the registries that MMEngine's runner uses.
USE_THEIRS = """
import mmcell
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import HOOKS, MODELS, PARAM_SCHEDULERS, TRANSFORMS, DefaultScope

theirs = Config.fromfile('theirs.py')
DefaultScope.get_instance('test', scope_name=theirs.default_scope)
model = MODELS.build(theirs.model)
for name, built in (
    ('package', mmcell.__file__),
    ('model', type(model).__module__),
    ('backbone', type(model.backbone).__name__),
    ('mask head', type(model.roi_head.mask_head).__module__),
    ('data', theirs.train_dataloader.dataset.data_root),
    ('pipeline', ' '.join(type(TRANSFORMS.build(step)).__name__ for step in theirs.train_pipeline)),
    ('hooks', len([HOOKS.build(hook) for hook in theirs.default_hooks.values()])),
    ('hub', get_config('mmcell::cell/mask_rcnn_cbam.py').model.backbone.type),
    ('hub by name', get_config('mmcell::small/mask_rcnn_aug.py').model.backbone.depth),
):
    print(f'{name}: {built}')
"""


@pytest.fixture(scope='module')
def distributions(tmp_path_factory) -> Path:
    """A folder with a wheel and an sdist, built from a copy: building leaves files in the tree."""
    folder = tmp_path_factory.mktemp('packaging')
    tree = folder / 'tree'
    hidden = shutil.ignore_patterns('.git', '.venv', 'build', 'work_dirs', '__pycache__', '*.egg-info', 'docs', 'data')
    shutil.copytree(ROOT, tree, symlinks=True, ignore=hidden)
    for build in ('build_sdist', 'build_wheel'):
        script = f'import sys; from setuptools import build_meta; build_meta.{build}(sys.argv[1])'
        subprocess.run([sys.executable, '-c', script, folder], cwd=tree, check=True, capture_output=True)
    return folder


@pytest.fixture(scope='module')
def installed(distributions) -> Path:
    """The wheel, installed into a folder of its own."""
    (wheel,) = distributions.glob('*.whl')
    command = ('-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', distributions / 'site', wheel)
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return distributions / 'site'


def run_python(site: Path, folder: Path, *arguments: object) -> str:
    environment = os.environ | {'PYTHONPATH': str(site), 'MMCELL_DATA': 'elsewhere/'}
    process = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert 'Failed to' not in process.stdout + process.stderr
    return process.stdout


def shipped() -> set[str]:
    """What there is to ship, by its name in a wheel."""
    patterns = ('mmcell/**/*.py', 'mmcell/py.typed', 'mmcell/report/templates/*', 'mmcell/weights/*')
    files = {path for pattern in patterns for path in ROOT.glob(pattern)}
    names = {str(path.relative_to(ROOT)) for path in files if '.mim' not in path.parts}
    for pattern in ('model-index.yml', 'configs/**/*.py', 'configs/*/metafile.yml', 'tools/*.py'):
        names |= {f'mmcell/.mim/{path.relative_to(ROOT)}' for path in ROOT.glob(pattern)}
    return names - {'mmcell/.mim/tools/benchmark.py'}  # benchmarks/, which it needs, is not shipped


def test_wheel_holds_the_package_and_its_configs(distributions):
    (wheel,) = distributions.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
    assert names == shipped()


def test_sdist_holds_the_same_and_no_links(distributions):
    (sdist,) = distributions.glob('*.tar.gz')
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
    assert all(member.isfile() for member in members)
    names = {member.name.partition('/')[2] for member in members}
    assert names >= shipped() | {'pyproject.toml', 'requirements.txt', 'requirements-nodeps.txt', 'LICENSE'}
    assert not [name for name in names if name.startswith('tests/')]


def test_another_repository_inherits_and_builds(installed, tmp_path):
    (tmp_path / 'theirs.py').write_text(THEIRS)
    lines = run_python(installed, tmp_path, '-c', USE_THEIRS).splitlines()
    found = dict(line.split(': ', 1) for line in lines if ': ' in line)
    expected = {
        'package': str(installed / 'mmcell' / '__init__.py'),
        'model': 'mmdet.models.detectors.mask_rcnn',
        'backbone': 'CBAMResNet',
        'mask head': 'mmcell.models.boxed_mask_head',
        'data': 'elsewhere/',
        'pipeline': 'LoadCellImage LoadCellAnnotations LimitLongEdge ChainedResize RandomFlip PackDetInputs',
        'hooks': '8',
        'hub': 'CBAMResNet',
        'hub by name': '18',
    }
    assert {name: found.get(name) for name in expected} == expected


def test_installed_tools_see_only_what_another_repository_changed(installed, tmp_path):
    """`mmcell diff` and `mim run mmcell diff` run the same file."""
    (tmp_path / 'theirs.py').write_text(
        "_base_ = 'mmcell::cell/mask_rcnn.py'\nmodel = dict(backbone=dict(depth=101))\n"
    )
    config = installed / 'mmcell' / '.mim' / 'configs' / 'cell' / 'mask_rcnn.py'
    changes = run_python(installed, tmp_path, installed / 'bin' / 'mmcell', 'diff', config, 'theirs.py')
    assert changes == 'model.backbone.depth: 50 -> 101\n'
