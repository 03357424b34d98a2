from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest
from scipy.io import savemat

SIZE = (24, 30)
#: The paper's merging, written out.
CATEGORY = {1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 4, 7: 4}


def nuclei(seed: int) -> tuple[np.ndarray, dict[int, int]]:
    """A map of blocks with ids 1, 2, …, and the type of each id; every type occurs."""
    rng = np.random.default_rng(seed)
    blocks = np.arange(1, 31).reshape(6, 5) * rng.choice([0, 1, 1], (6, 5))
    inst_map = np.kron(np.unique(blocks, return_inverse=True)[1].reshape(6, 5), np.ones((4, 6))).astype(float)
    return inst_map, {int(number): 1 + int(number) % 7 for number in np.unique(inst_map)[1:]}


def contents(seed: int) -> dict[str, np.ndarray]:
    """What README.txt of the data set describes."""
    inst_map, types = nuclei(seed)
    type_map = np.vectorize(lambda number: types.get(int(number), 0))(inst_map).astype(float)
    centres = np.array([np.argwhere(inst_map == number).mean(0)[::-1] for number in types])
    inst_type = np.array([[kind] for kind in types.values()], dtype=float)
    return {'inst_map': inst_map, 'type_map': type_map, 'inst_type': inst_type, 'inst_centroid': centres}


def expected(seed: int) -> list[tuple[int, int, np.ndarray]]:
    inst_map, types = nuclei(seed)
    return [(CATEGORY[kind], 0, inst_map == number) for number, kind in types.items()]


@pytest.fixture
def source(tmp_path):
    root = tmp_path / 'CoNSeP'
    rng = np.random.default_rng(0)
    for part, count in (('Train', 3), ('Test', 2)):
        for folder in ('Images', 'Labels', 'Overlay'):
            (root / part / folder).mkdir(parents=True)
        for number in range(1, count + 1):
            name = f'{part.lower()}_{number}'
            cv2.imwrite(str(root / part / 'Images' / f'{name}.png'), rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
            savemat(root / part / 'Labels' / f'{name}.mat', contents(number), do_compression=number == 2)
    return root


def test_release(source, converted, same_cells):
    result = converted('consep_mat', source)
    assert result.classes == ['other', 'inflammatory', 'epithelial', 'spindle-shaped']
    cells = result.cells()
    assert len(cells) == 3
    for number in (1, 2, 3):
        assert same_cells(cells[f'Train/Images/train_{number}.png'], expected(number))
    test = result.load('test')
    assert [(image['id'], image['file_name']) for image in test['images']] == [
        (1, 'Test/Images/test_1.png'),
        (2, 'Test/Images/test_2.png'),
    ]


def test_one_part_with_annotations(source, converted, same_cells):
    result = converted('consep_mat', source / 'Test', '--val-ratio', 0)
    assert same_cells(result.cells()['Images/test_1.png'], expected(1)) and 'no test list' in result.printed


def test_without_type_map(source, converted, same_cells):
    content = contents(1)
    del content['type_map']
    savemat(source / 'Train/Labels/train_1.mat', content)
    assert same_cells(converted('consep_mat', source).cells()['Train/Images/train_1.png'], expected(1))


def test_most_pixels_decide(source, converted, same_cells):
    content = contents(1)
    inst_map, types = nuclei(1)
    for number, kind in types.items():
        rows, columns = np.nonzero(inst_map == number)
        content['type_map'][rows[:11], columns[:11]] = 1 + kind % 7  # 11 of 24
    savemat(source / 'Train/Labels/train_1.mat', content)
    assert same_cells(converted('consep_mat', source).cells()['Train/Images/train_1.png'], expected(1))


def test_no_nuclei(source, converted):
    content = {'inst_map': np.zeros(SIZE), 'type_map': np.zeros(SIZE), 'inst_type': np.zeros((0, 1))}
    savemat(source / 'Train/Labels/train_1.mat', content)
    assert converted('consep_mat', source).cells()['Train/Images/train_1.png'] == []


def bomb() -> bytes:
    """A MATLAB 5 file of 2 kB whose compressed element claims to be a plane of 2 GB."""
    dims = np.array([5, 8, 16_384, 16_384], '<i4').tobytes()
    flags = np.array([6, 8, 6, 0], '<u4').tobytes()
    name = np.array([1, 8], '<i4').tobytes() + b'inst_map'
    size = 16_384 * 16_384 * 8
    body = flags + dims + name + np.array([9, size], '<u4').tobytes() + bytes(1_000_000)
    packed = zlib.compress(np.array([14, 48 + size], '<u4').tobytes() + body)
    header = b'MATLAB 5.0 MAT-file'.ljust(124) + b'\x00\x01IM'
    return header + np.array([15, len(packed)], '<i4').tobytes() + packed


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'inst_map': None}, 'no inst_map'),
        ({'inst_map': np.ones((24, 29))}, '29 x 24, but train_1.png is 30 x 24'),
        ({'type_map': np.ones((24, 29))}, '29 x 24, but train_1.png is 30 x 24'),
        ({'inst_map': np.full(SIZE, 1.5)}, 'whole numbers'),
        ({'inst_map': np.full(SIZE, np.nan)}, 'whole numbers'),
        ({'inst_map': np.full(SIZE, -1.0)}, 'whole numbers'),
        ({'inst_map': np.full(SIZE, 2.0**31)}, 'whole numbers'),
        ({'inst_map': np.full(SIZE, 'a', dtype=object)}, 'where ids are expected'),
        ({'type_map': np.full(SIZE, 8)}, 'nucleus 1 no type from 1 to 7'),
        ({'type_map': np.zeros(SIZE)}, 'nucleus 1 no type from 1 to 7'),
        ({'type_map': None, 'inst_type': np.ones((2, 1))}, '2 types in inst_type'),
        ({'type_map': None, 'inst_type': None}, '0 types in inst_type'),
    ],
)
def test_bad_contents(source, refused, change, words):
    content = {key: value for key, value in (contents(1) | change).items() if value is not None}
    savemat(source / 'Train/Labels/train_1.mat', content)
    line = refused('consep_mat', source)
    assert 'train_1.mat' in line and words in line


@pytest.mark.parametrize('share', [0, 0.01, 0.2, 0.5])  # at the end are the centroids, which nobody reads
def test_cut_files(source, refused, share):
    path = source / 'Train/Labels/train_2.mat'
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert 'train_2.mat: cannot be read as MATLAB file' in refused('consep_mat', source)


def test_missing_and_hostile_files(source, refused):
    path = source / 'Train/Labels/train_1.mat'
    path.write_bytes(bomb())
    assert '16384 x 16384, but train_1.png is 30 x 24' in refused('consep_mat', source)
    path.write_bytes(b'\x89HDF\r\n\x1a\n'.ljust(600, b'\0'))
    assert 'train_1.mat: cannot be read' in refused('consep_mat', source)
    path.unlink()
    assert 'train_1.mat: cannot be read' in refused('consep_mat', source)
    for image in (source / 'Train/Images').iterdir():
        image.unlink()
    assert 'Train/Images: holds no image' in refused('consep_mat', source)
