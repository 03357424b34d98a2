"""Which images are predicted: those of files and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmcell.engine.inference import find_images
from mmcell.errors import InputErrors


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
