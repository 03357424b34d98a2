from __future__ import annotations

import cv2
import numpy as np
import pytest


def write(path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def source(tmp_path):
    """Two images; in the first, one cell lies across another and a third is in two pieces."""
    root = tmp_path / 'source'
    rng = np.random.default_rng(0)
    for name in ('a', 'b'):
        write(root / name / 'images' / f'{name}.png', rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
        (root / name / 'masks').mkdir()
    masks = np.zeros((3, 20, 30), np.uint8)
    masks[0, 2:9, 3:9] = masks[1, 5:12, 5:15] = masks[2, 0, 0] = masks[2, 15:18, 28:30] = 255
    for index, mask in enumerate(masks):
        write(root / 'a' / 'masks' / f'{index}.png', mask)
    return root


@pytest.mark.slow
def test_dsb2018_pixel_for_pixel(shared_data, converted, same_cells):
    source = shared_data / 'dsb2018'
    result = converted('instance_png', source)
    cells = result.cells()
    folders = sorted((source / 'stage1_train').iterdir())
    assert len(folders) == len(cells) == 60 and result.classes == ['nucleus']
    for folder in folders:
        expected = [(1, 0, cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == 255) for path in folder.glob('masks/*.png')]
        file_name = f'stage1_train/{folder.name}/images/{folder.name}.png'
        assert expected and same_cells(cells[file_name], expected)
        assert (result.out / 'images' / file_name).read_bytes() == next(folder.glob('images/*')).read_bytes()
    assert sum(map(len, cells.values())) == 2534


def test_overlapping_and_broken_cells(source, converted, same_cells):
    cells = converted('instance_png', source, '--classes', 'cell').cells()
    expected = [(1, 0, cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == 255) for path in source.glob('a/masks/*')]
    assert len(expected) == 3 and same_cells(cells['a/images/a.png'], expected)
    assert cells['b/images/b.png'] == []


@pytest.mark.parametrize(
    ('file', 'pixels', 'words'),
    [
        ('a/masks/1.png', np.zeros((20, 30), np.uint8), 'no cell'),
        ('a/masks/1.png', np.arange(600, dtype=np.uint8).reshape(20, 30) % 3, '2 values'),
        ('a/masks/1.png', np.full((20, 29), 255, np.uint8), '29 x 20, but a.png is 30 x 20'),
        ('a/masks/1.png', np.full((20, 30, 3), 255, np.uint8), 'one channel'),
        ('a/images/second.png', np.zeros((20, 30, 3), np.uint8), '2 images'),
    ],
)
def test_bad_files(source, refused, file, pixels, words):
    write(source / file, pixels)
    line = refused('instance_png', source)
    assert words in line and ('1.png' in line or 'images' in line)


def test_missing_folders(source, refused, tmp_path):
    (source / 'b' / 'masks').rmdir()
    assert 'b/masks: is missing' in refused('instance_png', source)
    (tmp_path / 'empty').mkdir()
    assert 'empty: holds no image folder' in refused('instance_png', tmp_path / 'empty')
