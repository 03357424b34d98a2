from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO


def load(out: Path, name: str) -> dict:
    return json.loads((out / 'annotations' / f'{name}.json').read_text())


def instances_by_comparison(folder: Path) -> list[tuple]:
    """The slow, obvious reference: compare the whole class file with every id, encode with pycocotools."""
    found = []
    for path in sorted(folder.glob('class*.tif')):
        plane = tifffile.imread(path)
        for value in np.unique(plane)[1:] if (plane == 0).any() else np.unique(plane):
            mask = plane == value
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x, y = int(columns[0]), int(rows[0])
            box = [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
            counts = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))['counts'].decode()
            found.append((int(path.stem[5:]), box, int(mask.sum()), counts))
    return found


def annotations_by_name(content: dict) -> dict[str, list[tuple]]:
    names = {image['id']: Path(image['file_name']).parent.name for image in content['images']}
    found = {name: [] for name in names.values()}
    for annotation in content['annotations']:
        row = (annotation['category_id'], annotation['bbox'], annotation['area'], annotation['segmentation']['counts'])
        found[names[annotation['image_id']]].append(row)
    return found


def test_every_instance_is_exact(class_tiff, tmp_path, tool):
    assert tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'out').status == 0
    found = annotations_by_name(load(tmp_path / 'out', 'trainval'))
    assert len(found) == 6
    for name, rows in found.items():
        assert rows == instances_by_comparison(class_tiff / 'train' / name)


def test_images_and_splits(class_tiff, tmp_path, tool):
    out = tmp_path / 'out'
    assert tool('convert', 'class_tiff', class_tiff, '--out', out, '--val-ratio', 0.4).status == 0
    train, val, both, test = (load(out, name) for name in ('train', 'val', 'trainval', 'test'))
    assert (len(train['images']), len(val['images'])) == (4, 2)
    by_id = {image['id']: image for image in both['images']}
    assert all(by_id[image['id']] == image for image in train['images'] + val['images'])
    assert (out / 'images').resolve() == class_tiff.resolve()
    for image in both['images'] + test['images']:
        assert tifffile.imread(out / 'images' / image['file_name']).shape[:2] == (image['height'], image['width'])
    assert [(image['id'], Path(image['file_name']).name) for image in test['images']] == [
        (1, 'zeta.tif'),
        (2, 'alpha.tif'),
    ]
    assert test['annotations'] == []
    COCO(out / 'annotations' / 'train.json')


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_mask_types(class_tiff, tmp_path, tool, dtype):
    path = class_tiff / 'train' / 'slide0_crop0' / 'class1.tif'
    tifffile.imwrite(path, tifffile.imread(path).astype(dtype))
    assert tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'out').status == 0
    found = annotations_by_name(load(tmp_path / 'out', 'trainval'))['slide0_crop0']
    assert found == instances_by_comparison(path.parent) and len(found) == 2


def test_image_without_cells_is_kept(class_tiff, tmp_path, tool):
    folder = class_tiff / 'train' / 'slide0_crop0'
    tifffile.imwrite(folder / 'class1.tif', np.zeros((20, 30), np.uint16))
    assert tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'out').status == 0
    assert annotations_by_name(load(tmp_path / 'out', 'trainval'))['slide0_crop0'] == []


def test_same_bytes_whatever_the_number_of_workers(class_tiff, tmp_path, tool):
    for workers in (1, 2, 3):
        tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / str(workers), '--workers', workers)
    for name in ('train', 'val', 'trainval', 'test'):
        contents = {(tmp_path / str(workers) / 'annotations' / f'{name}.json').read_bytes() for workers in (1, 2, 3)}
        assert len(contents) == 1


def test_overwrite_replaces(class_tiff, tmp_path, tool):
    out = tmp_path / 'out'
    tool('convert', 'class_tiff', class_tiff, '--out', out)
    shutil.rmtree(class_tiff / 'train' / 'slide0_crop0')
    refused = tool('convert', 'class_tiff', class_tiff, '--out', out)
    assert refused.status == 2 and '--overwrite' in refused.err and len(load(out, 'trainval')['images']) == 6
    assert tool('convert', 'class_tiff', class_tiff, '--out', out, '--overwrite').status == 0
    assert len(load(out, 'trainval')['images']) == 5
    assert sorted(path.name for path in out.iterdir()) == ['annotations', 'images']


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def put(path: Path, *values: float) -> None:
    plane = np.zeros((20, 30))
    plane[0, : len(values)] = values
    tifffile.imwrite(path, plane)


def relist(source: Path, change) -> None:
    path = source / 'test_image_name_to_ids.json'
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


FIRST = 'train/slide0_crop0'


def test_folds(class_tiff, tmp_path, tool):
    arguments = ('class_tiff', class_tiff, '--out', tmp_path / 'out', '--group-by', r'slide\d')
    outcome = tool('convert', *arguments, '--folds', 3)
    assert outcome.status == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines() if line.startswith('fold')]
    assert lines[2] == 'fold 2 2 val images: epithelial 4, lymphocyte 0, neutrophil 2, macrophage 0'.split()
    found = annotations_by_name(load(tmp_path / 'out', 'trainval'))
    ids = {image['file_name']: image['id'] for image in load(tmp_path / 'out', 'trainval')['images']}
    validated = []
    for fold in range(3):
        train, val = (load(tmp_path / 'out', f'fold{fold}_{side}') for side in ('train', 'val'))
        assert annotations_by_name(train) | annotations_by_name(val) == found
        assert len(train['images']) == 4 and len({image['file_name'][:12] for image in val['images']}) == 1
        assert all(ids[image['file_name']] == image['id'] for image in train['images'] + val['images'])
        validated += annotations_by_name(val)
    assert sorted(validated) == sorted(found)
    # Without folds the earlier ones go, and the other files are the same.
    before = {path.name: path.read_bytes() for path in (tmp_path / 'out/annotations').iterdir()}
    assert tool('convert', *arguments, '--overwrite').status == 0
    after = {path.name: path.read_bytes() for path in (tmp_path / 'out/annotations').iterdir()}
    assert after == {name: content for name, content in before.items() if not name.startswith('fold')}


SPELLINGS = {'class3.tif': 'class3.tiff', 'class1.tif': 'Class1.TIF', 'image.tif': 'IMAGE.TIFF'}


@pytest.mark.parametrize('old', SPELLINGS)
def test_names_that_other_programs_give(class_tiff, tmp_path, tool, old):
    """A class under another name is read, and not left out."""
    assert tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'out').status == 0
    before = annotations_by_name(load(tmp_path / 'out', 'trainval'))
    for path in class_tiff.glob(f'train/*/{old}'):
        path.rename(path.with_name(SPELLINGS[old]))
    outcome = tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'out', '--overwrite')
    assert outcome.status == 0 and 'not read' not in outcome.out
    assert list(annotations_by_name(load(tmp_path / 'out', 'trainval')).values()) == list(before.values())


ERRORS = {
    'truncated image': (lambda s: cut(s / FIRST / 'image.tif'), 'image.tif', 'truncated'),
    'truncated mask': (lambda s: cut(s / FIRST / 'class1.tif'), 'class1.tif', 'truncated'),
    'empty image file': (lambda s: (s / FIRST / 'image.tif').write_bytes(b''), 'image.tif', 'not a TIFF'),
    'image is text': (lambda s: (s / FIRST / 'image.tif').write_text('hello' * 9), 'image.tif', 'not a TIFF'),
    'image missing': (lambda s: (s / FIRST / 'image.tif').unlink(), 'image.tif', 'missing'),
    'mask of another size': (
        lambda s: tifffile.imwrite(s / FIRST / 'class1.tif', np.ones((4, 4))),
        'class1.tif',
        '4 x 4',
    ),
    'negative id': (lambda s: put(s / FIRST / 'class1.tif', -3), 'class1.tif', '-3'),
    'NaN id': (lambda s: put(s / FIRST / 'class1.tif', np.nan), 'class1.tif', 'NaN'),
    'infinite id': (lambda s: put(s / FIRST / 'class1.tif', np.inf), 'class1.tif', 'infinite'),
    'fractional id': (lambda s: put(s / FIRST / 'class1.tif', 1, 2.5), 'class1.tif', '2.5'),
    'id of 2^31': (lambda s: put(s / FIRST / 'class1.tif', 2.0**31), 'class1.tif', '2.14748e+09'),
    'colour mask': (
        lambda s: tifffile.imwrite(s / FIRST / 'class1.tif', np.ones((20, 30, 3), np.uint8)),
        'class1.tif',
        'shape',
    ),
    'no class file': (lambda s: (s / FIRST / 'class1.tif').unlink(), 'slide0_crop0', 'no class file'),
    'unknown class': (lambda s: put(s / FIRST / 'class5.tif', 1), 'class5.tif', '--classes'),
    'a class under another name': (lambda s: put(s / FIRST / 'class_3.tif', 1), 'class_3.tif', 'is not one of class1'),
    'a class with a blank': (lambda s: put(s / FIRST / 'Class 3.TIFF', 1), 'Class 3.TIFF', 'is not one of class1'),
    'a class by its name': (lambda s: put(s / FIRST / 'lymphocyte.tif', 1), 'lymphocyte.tif', 'is not one of class1'),
    'a class that is no picture': (lambda s: (s / FIRST / 'class3.npy').write_text('?'), 'class3.npy', 'is not one of'),
    'class 0': (lambda s: put(s / FIRST / 'class0.tif', 1), 'class0.tif', 'is not one of class1'),
    'two files of a class': (
        lambda s: put(s / FIRST / 'class01.tif', 1),
        'class1.tif',
        'is of class 1, as class01.tif',
    ),
    'a class twice': (lambda s: put(s / FIRST / 'CLASS1.tiff', 1), 'class1.tif', 'is of class 1, as CLASS1.tiff'),
    'two images': (
        lambda s: shutil.copy(s / FIRST / 'image.tif', s / FIRST / 'Image.tiff'),
        'slide0_crop0',
        'holds the images Image.tiff and image.tif',
    ),
    'test file missing': (lambda s: (s / 'test_release/zeta.tif').unlink(), 'zeta.tif', 'missing'),
    'test file not listed': (lambda s: relist(s, lambda e: e.pop()), 'alpha.tif', 'not listed'),
    'test size lies': (lambda s: relist(s, lambda e: e[0].update(height=17)), 'zeta.tif', '12 x 17'),
    'test id twice': (lambda s: relist(s, lambda e: e[0].update(id=2)), 'test_image_name_to_ids.json', 'twice'),
    'test entry without id': (lambda s: relist(s, lambda e: e[0].pop('id')), 'test_image_name_to_ids.json', 'entry'),
    'test name with a folder': (
        lambda s: relist(s, lambda e: e[0].update(file_name='../x.tif')),
        'test_image_name_to_ids.json',
        '../x.tif',
    ),
    'test list missing': (
        lambda s: (s / 'test_image_name_to_ids.json').unlink(),
        'test_image_name_to_ids.json',
        'cannot',
    ),
    'test list broken': (lambda s: cut(s / 'test_image_name_to_ids.json'), 'test_image_name_to_ids.json', 'JSON'),
    'no images at all': (lambda s: shutil.rmtree(s / 'train'), 'train', 'no image folder'),
    'no source': (lambda s: shutil.rmtree(s), 'source', 'not a folder'),
}


@pytest.mark.parametrize('case', ERRORS)
def test_bad_input(class_tiff, tmp_path, tool, case):
    damage, file, words = ERRORS[case]
    damage(class_tiff)
    outcome = tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'out')
    lines = [line for line in outcome.err.splitlines() if not line.startswith('reading')]
    assert (outcome.status, outcome.out, len(lines)) == (2, '', 1), outcome
    assert file in lines[0] and words in lines[0] and '; ' in lines[0]
    assert not (tmp_path / 'out').exists()


def test_all_bad_images_are_named(class_tiff, tmp_path, tool):
    for name in ('slide0_crop0', 'slide2_crop1'):
        cut(class_tiff / 'train' / name / 'image.tif')
    outcome = tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'out')
    assert outcome.status == 2 and 'slide0_crop0' in outcome.err and 'slide2_crop1' in outcome.err


@pytest.mark.parametrize(
    'arguments',
    [
        ('--val-ratio', '1.5'),
        ('--val-ratio', 'nan'),
        ('--group-by', '('),
        ('--group-by', 'nothing'),
        ('--workers', '0'),
        ('--folds', '7'),
        ('--folds', '1'),
    ],
)
def test_bad_arguments(class_tiff, tmp_path, tool, arguments):
    outcome = tool('convert', 'class_tiff', class_tiff, '--out', tmp_path / 'out', *arguments)
    assert outcome.status == 2 and outcome.err.count('\n') == 1 and arguments[0] in outcome.err
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_consep(shared_data, tmp_path, tool):
    source = shared_data / 'consep'
    outcome = tool('convert', 'class_tiff', source, '--out', tmp_path / 'out')
    assert outcome.status == 0 and 'swapped' not in outcome.out
    content = load(tmp_path / 'out', 'trainval')
    counts = [sum(a['category_id'] == category for a in content['annotations']) for category in (1, 2, 3, 4)]
    assert counts == [386, 4005, 5744, 5835] and len(content['images']) == 105
    pixels = sum(np.count_nonzero(tifffile.imread(path)) for path in (source / 'train').glob('*/class*.tif'))
    assert sum(annotation['area'] for annotation in content['annotations']) == pixels
    assert len(load(tmp_path / 'out', 'test')['images']) == 14
    found = annotations_by_name(content)
    name = 'tile14_crop0' if 'tile14_crop0' in found else min(found)
    assert found[name] == instances_by_comparison(source / 'train' / name)


def test_hw3_sample_warns_of_swapped_colours(shared_data, tmp_path, tool):
    source = shared_data / 'hw3_sample'
    outcome = tool('convert', 'class_tiff', source, '--out', tmp_path / 'out')
    assert outcome.status == 0 and 'red and blue look swapped' in outcome.out
    assert 'epithelial 2, lymphocyte 159, neutrophil 0, macrophage 0' in outcome.out
    outcome = tool('convert', 'class_tiff', source, '--out', tmp_path / 'out', '--overwrite', '--channel-order', 'bgr')
    assert 'swapped' not in outcome.out
    assert load(tmp_path / 'out', 'train')['info']['channel_order'] == 'bgr'
