from __future__ import annotations

import numpy as np
import pytest
import tifffile


@pytest.fixture
def summary(class_tiff, tmp_path, tool):
    def summarise(*arguments: str) -> list[str]:
        outcome = tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'out', *arguments)
        assert outcome.status == 0
        return outcome.out.splitlines()

    return summarise


def tint(class_tiff, red: int, blue: int) -> None:
    for path in class_tiff.glob('train/*/image.tif'):
        image = np.full_like(tifffile.imread(path), 200)
        image[..., 0], image[..., 2] = red, blue
        tifffile.imwrite(path, image)


def test_counts(summary, class_tiff):
    tint(class_tiff, 90, 120)
    lines = summary('--val-ratio', '0.4')
    assert lines[0].split() == 'images 6 annotated (4 train, 2 val), 2 test'.split()
    assert lines[1].endswith('epithelial 12, lymphocyte 0, neutrophil 6, macrophage 0')
    assert lines[2].endswith('min 2, 25% 2, median 3, 75% 4, max 4')
    low, high = 10**0.5, 18**0.5  # both cells occur equally often
    sizes = f'min {low:.4g}, 25% {low:.4g}, median {(low + high) / 2:.4g}, 75% {high:.4g}, max {high:.4g}'
    assert lines[3].endswith(sizes)
    assert [line for line in lines if line.startswith('warning')] == [
        'warning: classes with under 10% of the cells of the most frequent one: lymphocyte (0), macrophage (0)'
    ]


@pytest.mark.parametrize(
    ('red', 'blue', 'order', 'warns'), [(90, 120, 'rgb', False), (120, 90, 'rgb', True), (120, 90, 'bgr', False)]
)
def test_swapped_colours(summary, class_tiff, red, blue, order, warns):
    tint(class_tiff, red, blue)
    assert any('look swapped' in line for line in summary('--channel-order', order)) == warns


def test_twelve_bits_in_sixteen(summary, class_tiff):
    path = class_tiff / 'train' / 'slide0_crop0' / 'image.tif'
    image = tifffile.imread(path).astype(np.uint16)
    for factor, warns in ((257, False), (16, True)):
        tifffile.imwrite(path, image * factor, photometric='rgb')
        assert any('1 images are nearly black' in line for line in summary('--overwrite')) == warns


def test_small_cells(summary, class_tiff):
    path = class_tiff / 'train' / 'slide0_crop0' / 'class1.tif'
    plane = tifffile.imread(path)
    plane[0, :9], plane[19, :10] = 30, 31
    tifffile.imwrite(path, plane)
    assert 'warning: 1 cells are smaller than 10 px' in summary()


def test_transparency(summary, class_tiff):
    for name, alpha in (('slide0_crop0', 255), ('slide0_crop1', 254)):
        path = class_tiff / 'train' / name / 'image.tif'
        image = tifffile.imread(path)
        tifffile.imwrite(
            path, np.dstack([image, np.full(image.shape[:2], alpha, np.uint8)]), extrasamples=['unassalpha']
        )
    assert any(line.startswith('warning: 1 images have an alpha') for line in summary())


def test_parts_without_cells(summary, class_tiff):
    """Cells in one image alone are in train or in val."""
    for path in sorted(class_tiff.glob('train/*/class*.tif'))[1:]:
        tifffile.imwrite(path, np.zeros_like(tifffile.imread(path)))
    (line,) = (line for line in summary('--val-ratio', '0.5') if ' holds no ' in line)
    assert line.startswith(('warning: train holds no cell:', 'warning: val holds no cell:')) and '--seed' in line
    for path in class_tiff.glob('train/*/class*.tif'):
        tifffile.imwrite(path, np.zeros_like(tifffile.imread(path)))
    assert 'warning: no image holds a cell: there is nothing to train on' in summary('--overwrite')


def test_a_class_in_one_part_alone(summary, class_tiff):
    for path in sorted(class_tiff.glob('train/*/class3.tif'))[1:]:
        path.unlink()
    lines = summary('--val-ratio', '0.5')
    assert any(' holds no cells of neutrophil: ' in line for line in lines)
