"""A small converted data set, and a config that reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from mmcell.config import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/demo/mask_rcnn_synthetic.py'


@pytest.fixture
def data(class_tiff, tmp_path, monkeypatch, tool) -> Path:
    assert tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    return tmp_path / 'data'


@pytest.fixture
def config(data, tmp_path) -> Config:
    config = load_config(CONFIG)
    config.work_dir = str(tmp_path / 'work')
    return config


@pytest.fixture
def edit() -> Callable[[Path, Callable[[dict[str, Any]], Any]], None]:
    """Change the content of a json file in place."""

    def change_file(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return change_file
