"""What all tests share: real data, tools run in this process, a small data set."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import hypothesis
import numpy as np
import pytest
import tifffile

from mmcell.cli.command import run

pytest_plugins = ['tests.coco_cases', 'tests.small_dataset']

ROOT = Path(__file__).resolve().parents[1]
# How busy a machine is tells nothing about what is tested.
hypothesis.settings.register_profile('any', deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile('any')


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over all that is imported: MMEngine calls it for every data set that it builds."""
    gc.freeze()


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """The folder of real data, which never belongs to the repository."""
    folder = Path(os.environ.get('MMCELL_SHARED_DATA', ROOT.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real data in {folder}; set MMCELL_SHARED_DATA')
    return folder


def forget_run() -> None:
    """Drop what mmengine keeps for the life of a process: loggers on closed streams, the last run's visualizer."""
    for name, kind in (
        ('mmengine.logging', 'MMLogger'),
        ('mmengine.logging', 'MessageHub'),
        ('mmcell.visualization.visualizer', 'CellVisualizer'),
    ):
        if name in sys.modules:
            getattr(sys.modules[name], kind)._instance_dict.clear()


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def tool(capfd: pytest.CaptureFixture) -> Callable[..., Outcome]:
    """Run `tools/<name>.py` with arguments, in this process: importing torch anew takes longer than most tests."""

    def run_tool(name: str, *arguments: object) -> Outcome:
        spec = importlib.util.spec_from_file_location(f'tools_{name}', ROOT / 'tools' / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            run(module.main, [str(argument) for argument in arguments])
        forget_run()
        return Outcome(stop.value.code, *capfd.readouterr())

    return run_tool


@pytest.fixture
def class_tiff(tmp_path: Path) -> Path:
    """A valid source in the reference's layout: six images with a handful of cells, two test images."""
    source = tmp_path / 'source'
    rng = np.random.default_rng(0)
    for index in range(6):
        folder = source / 'train' / f'slide{index // 2}_crop{index % 2}'
        folder.mkdir(parents=True)
        height, width = 20 + index, 30 - index
        tifffile.imwrite(folder / 'image.tif', rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        plane = np.zeros((height, width))
        plane[2:5, 3:9], plane[10:14, 4:6], plane[12:13, 20:22] = 1, 7, 7  # the second cell is in two pieces
        tifffile.imwrite(folder / 'class1.tif', plane)
        if index % 2:
            tifffile.imwrite(folder / 'class3.tif', (np.roll(plane, 6, axis=0) * 100).astype(np.uint16))
    (source / 'test_release').mkdir()
    listing = []
    for index, name in enumerate(('zeta.tif', 'alpha.tif'), start=1):
        tifffile.imwrite(source / 'test_release' / name, rng.integers(0, 256, (16, 12, 3), dtype=np.uint8))
        listing.append(f'{{"file_name": "{name}", "id": {index}, "height": 16, "width": 12}}')
    (source / 'test_image_name_to_ids.json').write_text(f'[{", ".join(listing)}]')
    return source


@pytest.fixture(scope='session')
def resnet50_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-50 checkpoint with torchvision's names (mmdet's backbone has the same, plus no classifier)."""
    import torch
    from mmdet.models.backbones import ResNet

    torch.manual_seed(0)
    state = ResNet(50).state_dict()
    state |= {'fc.weight': torch.zeros(1000, 2048), 'fc.bias': torch.zeros(1000)}
    path = tmp_path_factory.mktemp('weights') / 'resnet50.pth'
    torch.save(state, path)
    return path
