from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile

RNG = np.random.default_rng(0)


def plane(seed: int) -> np.ndarray:
    """Blocks with ids that have gaps and come in pieces."""
    blocks = np.random.default_rng(seed).choice([0, 1, 2, 7, 40_000], (6, 5)).astype(np.uint16)
    return np.kron(blocks, np.ones((4, 5), np.uint16))


def by_comparison(labels: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """The slow, obvious reference: compare the whole label map with every id."""
    return [(1, 0, labels == value) for value in np.unique(labels) if value]


def write(path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.png':
        assert cv2.imwrite(str(path), pixels)
    else:
        tifffile.imwrite(path, pixels)


@pytest.fixture
def cellpose(tmp_path):
    """Pairs with and without `_img`, label maps as PNG and TIFF, by-products of Cellpose between them."""
    root = tmp_path / 'source'
    for index, (image, mask) in enumerate(
        [('a_img.png', 'a_masks.png'), ('b.tif', 'b_masks.tif'), ('c_img.png', 'c_img_masks.tif')]
    ):
        write(root / image, RNG.integers(0, 256, (24, 25, 3), dtype=np.uint8))
        write(root / mask, plane(index))
    write(root / 'a_img_flows.tif', np.zeros((24, 25), np.uint8))
    (root / 'a_img_seg.npy').write_bytes(b'pickled')
    return root


def test_cellpose(cellpose, converted, same_cells):
    result = converted('label_image', cellpose)
    cells = result.cells()
    assert list(cells) == ['a_img.png', 'b.tif', 'c_img.png'] and result.classes == ['cell']
    for index, found in enumerate(cells.values()):
        assert same_cells(found, by_comparison(plane(index)))


def test_stardist(tmp_path, converted, same_cells):
    source = tmp_path / 'source'
    for index, name in enumerate(('x', 'y_masks')):
        write(source / 'images' / f'{name}.tif', RNG.integers(0, 2**16, (24, 25), dtype=np.uint16))
        write(source / 'masks' / f'{name}.tif', plane(index))
    cells = converted('label_image', source).cells()
    assert list(cells) == ['images/x.tif', 'images/y_masks.tif']
    for index, found in enumerate(cells.values()):
        assert same_cells(found, by_comparison(plane(index)))


@pytest.mark.parametrize(
    ('change', 'file', 'words'),
    [
        (lambda root: (root / 'b_masks.tif').unlink(), 'b.tif', 'no label map'),
        (lambda root: (root / 'b.tif').unlink(), 'b_masks.tif', 'no image'),
        (lambda root: write(root / 'b_masks.tif', plane(1)[:, :-1]), 'b_masks.tif', '24 x 24, but b.tif is 25 x 24'),
        (lambda root: write(root / 'b_masks.tif', plane(1) / 2), 'b_masks.tif', 'fractional'),
        (lambda root: write(root / 'b_masks.png', plane(1)), 'b_masks.tif', 'same name as b_masks.png'),
        (lambda root: write(root / 'a.png', np.zeros((4, 4), np.uint8)), 'a_img.png', 'second image called a'),
        (lambda root: [path.unlink() for path in root.glob('*')], 'source', 'holds no images'),
    ],
)
def test_bad_input(cellpose, refused, change, file, words):
    change(cellpose)
    line = refused('label_image', cellpose)
    assert file in line and words in line
