from __future__ import annotations

import cv2
import numpy as np
import pytest

CLASSES = ['neoplastic', 'inflammatory', 'connective', 'dead', 'epithelial']
TISSUES = np.array(['Breast', 'Bile-duct', 'HeadNeck', '../../x'])
PATCH = 256


def masks(fold: int) -> np.ndarray:
    """Six channels a patch as float64: label maps with ids of their own, blocks that overlap across channels."""
    rng = np.random.default_rng(fold)
    blocks = rng.choice([0, 0, 0, 3, 4, 17], (len(TISSUES), 8, 8, 5))
    planes = np.kron(blocks, np.ones((1, PATCH // 8, PATCH // 8, 1)))
    background = (planes == 0).all(axis=3, keepdims=True)
    return np.concatenate([planes, background], axis=3).astype(np.float64)


def images(fold: int) -> np.ndarray:
    return np.random.default_rng(100 + fold).integers(0, 256, (len(TISSUES), PATCH, PATCH, 3)).astype(np.float64)


def by_comparison(planes: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """The slow, obvious reference: compare each channel with each of its ids."""
    return [
        (channel + 1, 0, planes[..., channel] == value)
        for channel in range(5)
        for value in np.unique(planes[..., channel])
        if value
    ]


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


@pytest.fixture
def source(tmp_path):
    """Two folds as unpacking the published archives lays them out."""
    root = tmp_path / 'PanNuke'
    for fold in (1, 2):
        folder = root / f'Fold {fold}'
        save(folder / 'images' / f'fold{fold}' / 'images.npy', images(fold))
        save(folder / 'images' / f'fold{fold}' / 'types.npy', TISSUES)
        save(folder / 'masks' / f'fold{fold}' / 'masks.npy', masks(fold))
    return root


NAMES = ['00000_Breast', '00001_Bile-duct', '00002_HeadNeck', '00003_x']


def test_release(source, converted, same_cells):
    result = converted('pannuke_npy', source, '--group-by', r'fold\d', '--val-ratio', 0.5)
    cells = result.cells()
    assert result.classes == CLASSES
    assert list(cells) == [f'fold{fold}/{name}.png' for fold in (1, 2) for name in NAMES]
    assert len({file.split('/')[0] for file in result.files('val')}) == 1 and len(result.files('val')) == 4
    for fold in (1, 2):
        for planes, pixels, name in zip(masks(fold), images(fold), NAMES):
            assert same_cells(cells[f'fold{fold}/{name}.png'], by_comparison(planes))
            written = cv2.imread(str(result.out / 'images' / f'fold{fold}' / f'{name}.png'), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(written[..., ::-1], pixels)
    assert sorted(path.name for path in result.out.iterdir()) == ['annotations', 'images', 'pixels']


def test_three_files_in_one_folder(tmp_path, converted, same_cells):
    source = tmp_path / 'mine'
    save(source / 'images.npy', images(1).astype(np.uint8))
    save(source / 'masks.npy', masks(1).astype(np.uint16))
    cells = converted('pannuke_npy', source).cells()
    assert list(cells) == [f'mine/0000{index}.png' for index in range(4)]
    assert same_cells(cells['mine/00003.png'], by_comparison(masks(1)[3]))


def test_same_bytes_and_overwriting(source, converted, class_tiff, tool):
    def written(result):
        return {path.relative_to(result.out): path.read_bytes() for path in result.out.rglob('*.*') if path.is_file()}

    first, second = (written(converted('pannuke_npy', source, '--workers', n, out=f'out{n}')) for n in (1, 3))
    assert first == second and len(first) == 8 + 3
    result = converted('pannuke_npy', source)
    refusal = tool('convert', 'pannuke_npy', source, '--out', result.out)
    assert refusal.status == 2 and '--overwrite' in refusal.err
    (result.out / 'pixels' / 'stale.png').write_bytes(b'')
    assert written(converted('pannuke_npy', source, '--overwrite')) == first
    result = converted('class_tiff', class_tiff, '--overwrite')
    assert sorted(path.name for path in result.out.iterdir()) == ['annotations', 'images']
    assert (result.out / 'images').resolve() == class_tiff.resolve()


def test_a_folder_that_is_not_ours_stays(source, tool, tmp_path):
    (tmp_path / 'out' / 'pixels').mkdir(parents=True)
    outcome = tool('convert', 'pannuke_npy', source, '--out', tmp_path / 'out', '--overwrite')
    assert outcome.status == 2 and 'pixels: is not a folder that mmcell wrote' in outcome.err
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['pixels']


def change(array: np.ndarray, index: tuple, value: float) -> np.ndarray:
    array[index] = value
    return array


@pytest.mark.parametrize(
    ('file', 'array', 'words'),
    [
        ('masks/fold1/masks.npy', masks(1)[:3], 'has the shape'),
        ('masks/fold1/masks.npy', masks(1)[..., :5], 'not N images of 6 channels'),
        ('masks/fold1/masks.npy', change(masks(1), (2, 5, 5, 1), 0.5), '(image 2): holds ids'),
        ('masks/fold1/masks.npy', change(masks(1), (2, 5, 5, 1), -1), '(image 2): holds ids'),
        ('masks/fold1/masks.npy', np.array([{}]), 'Python objects'),
        ('images/fold1/images.npy', change(images(1), (1, 0, 0, 0), 256), 'colors in image 1'),
        ('images/fold1/images.npy', change(images(1), (1, 0, 0, 0), np.nan), 'colors in image 1'),
        ('images/fold1/images.npy', images(1)[..., 0], 'not N images of 3 channels'),
        ('images/fold1/types.npy', TISSUES[:2], 'not a text for each of 4 images'),
        ('images/fold1/types.npy', np.arange(4), 'not a text for each of 4 images'),
    ],
)
def test_bad_arrays(source, refused, file, array, words):
    np.save(source / 'Fold 1' / file, array)
    line = refused('pannuke_npy', source)
    assert file in line and words in line


def test_bad_files(source, refused, tmp_path):
    path = source / 'Fold 1/masks/fold1/masks.npy'
    whole = path.read_bytes()
    for data in (whole[:-8], whole[:60], b'', b'PK\x03\x04', b'\x80\x04K\x01.'):
        path.write_bytes(data)
        assert 'masks.npy: is not a numpy array' in refused('pannuke_npy', source)
    path.unlink()
    assert 'masks.npy: cannot be read' in refused('pannuke_npy', source)
    (tmp_path / 'empty').mkdir()
    assert 'empty: holds no images.npy' in refused('pannuke_npy', tmp_path / 'empty')


@pytest.mark.parametrize(
    'change', [np.asfortranarray, lambda array: array.astype('>f8'), lambda array: array.astype('i2')]
)
def test_numbers_in_other_orders_and_types(source, converted, same_cells, change):
    expected = converted('pannuke_npy', source, '--workers', 1)
    for path in source.rglob('*s.npy'):
        if path.name != 'types.npy':
            np.save(path, change(np.load(path)))
    result = converted('pannuke_npy', source, '--workers', 1, out='changed')
    assert result.load() == expected.load()
    for file in result.files():
        assert (result.out / 'images' / file).read_bytes() == (expected.out / 'images' / file).read_bytes()
