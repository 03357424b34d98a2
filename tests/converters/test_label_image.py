from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

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


def test_what_cellpose_writes(tmp_path, converted, same_cells):
    """Names of `save_masks` and of the GUI, old and new; a label map that was corrected by hand counts first."""
    source = tmp_path / 'source'
    for index, (image, mask) in enumerate(
        [('a.png', 'a_cp_masks.png'), ('b.tif', 'b_cp_masks.tif'), ('c_img.png', 'c_img_cp_masks.png')]
    ):
        write(source / image, RNG.integers(0, 256, (24, 25, 3), dtype=np.uint8))
        write(source / mask, plane(index))
    write(source / 'b_masks.png', plane(7))
    write(source / 'd.png', np.zeros((24, 25, 3), np.uint8))
    write(source / 'd_labels.png', plane(3))
    pictures = ['a_outlines.png', 'a_outlines_cp_masks.png', 'a_flows_cp_masks.tif', 'a_dP_cp_masks.tif', 'a_cp.png']
    pictures += ['a_cp_output_cp_masks.png', 'c_img_flows.tif']
    for name in pictures:
        write(source / name, np.full((24, 25), 9, np.uint8))
    others = ['a_cp_outlines.txt', 'a_rois.zip', 'a_seg.npy']
    for name in others:
        (source / name).write_bytes(b'-')
    result = converted('label_image', source)
    cells = result.cells()
    assert list(cells) == ['a.png', 'b.tif', 'c_img.png', 'd.png']
    for found, seed in zip(cells.values(), (0, 7, 2, 3)):
        assert same_cells(found, by_comparison(plane(seed)))
    assert '1 images have a second label map, which is not read: b_cp_masks.tif' in result.printed
    (line,) = (line for line in result.printed.splitlines() if 'by-products of Cellpose' in line)
    assert '10 by-products of Cellpose are not read' in line and all(name in line for name in pictures)


def test_cellpose_with_folders(tmp_path, converted, same_cells):
    source = tmp_path / 'source'
    for index, name in enumerate('ab'):
        write(source / f'{name}.png', RNG.integers(0, 256, (24, 25, 3), dtype=np.uint8))
        write(source / 'masks' / f'{name}_cp_masks.png', plane(index))
        write(source / 'outlines' / f'{name}_outlines_cp_masks.png', np.zeros((24, 25), np.uint8))
    result = converted('label_image', source)
    for index, found in enumerate(result.cells().values()):
        assert same_cells(found, by_comparison(plane(index)))
    assert '2 files of the source are not read: outlines/a_outlines' in result.printed


def test_an_image_may_be_called_like_a_by_product(tmp_path, converted):
    source = tmp_path / 'source'
    for name in ('cells_outlines', 'a_labels', 'a'):
        write(source / f'{name}.png', RNG.integers(0, 256, (24, 25, 3), dtype=np.uint8))
        write(source / f'{name}_masks.png', plane(0))
    assert converted('label_image', source).files() == ['a.png', 'a_labels.png', 'cells_outlines.png']


def test_only_a_pickle(cellpose, refused):
    (cellpose / 'a_masks.png').unlink()
    line = refused('label_image', cellpose)
    assert 'a_img.png: has no label map, and a_img_seg.npy is a pickle' in line and 'Save masks as PNG' in line


SUSPICIOUS = {
    '0 and 255': lambda labels: (labels > 0) * 255,
    '0 and 1': lambda labels: labels > 0,
    'classes': lambda labels: (labels > 0) * (1 + labels % 2),
    'eight bits are too few': lambda labels: labels % 3 + (labels > 0),
    'blurred': lambda labels: cv2.GaussianBlur(((labels > 0) * 255).astype(np.uint8), (0, 0), 1.5),
}


@pytest.mark.parametrize('change', SUSPICIOUS.values(), ids=SUSPICIOUS)
def test_masks_that_hold_no_ids(tmp_path, converted, change):
    labels = np.kron(np.arange(1, 13).reshape(3, 4), np.pad(np.ones((5, 5), int), 4))
    for index in range(2):
        write(tmp_path / f'source/{index}.png', RNG.integers(0, 256, (*labels.shape, 3), dtype=np.uint8))
        write(tmp_path / f'source/{index}_masks.png', change(labels).astype(np.uint8))
    printed = converted('label_image', tmp_path / 'source').printed
    assert 'cells are in several pieces, up to' in printed and 'label their connected components first' in printed


def test_a_single_cell_in_every_image(tmp_path, converted):
    """Cells that touch make one piece."""
    for index in range(3):
        write(tmp_path / f'source/{index}.png', RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        write(tmp_path / f'source/{index}_masks.png', np.pad(np.full((14, 14), 255, np.uint8), 3))
    printed = converted('label_image', tmp_path / 'source').printed
    assert 'each of 3 images holds a single cell; if masks hold foreground' in printed


def test_a_mask_that_lies_otherwise_than_its_image_is_shown(tmp_path, refused):
    exif = Image.Exif()
    exif[0x112] = 6
    (tmp_path / 'source').mkdir()
    Image.fromarray(RNG.integers(0, 256, (24, 25, 3), dtype=np.uint8)).save(tmp_path / 'source/a.jpg', exif=exif)
    write(tmp_path / 'source/a_masks.png', plane(1).astype(np.uint8))
    error = refused('label_image', tmp_path / 'source')
    assert 'a_masks.png: is 25 x 24, but a.jpg is 24 x 25, turned by a quarter as an EXIF orientation says' in error


@pytest.mark.parametrize('kind', ['jpg', 'jpeg', 'jpeg2000'])
def test_label_maps_are_no_jpeg(cellpose, refused, kind):
    path = cellpose / f'b_masks{".jpg" if kind == "jpg" else ".tif"}'
    (cellpose / 'b_masks.tif').unlink()
    if kind == 'jpg':
        assert cv2.imwrite(str(path), plane(1).astype(np.uint8))
    else:
        tifffile.imwrite(path, plane(1).astype(np.uint8), compression=kind, compressionargs={'level': 30})
    assert f'{path.name}: may be compressed with loss, which changes ids' in refused('label_image', cellpose)
