from __future__ import annotations

import copy
import json
import zipfile

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmcell.coco.submission import validate_submission, write_submission
from mmcell.errors import InputError

SIZES = {1: (16, 12), 2: (20, 30), 7: (9, 9)}


def rle(mask: np.ndarray) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {'size': encoded['size'], 'counts': encoded['counts'].decode()}


@pytest.fixture
def images(tmp_path):
    path = tmp_path / 'test.json'
    content = {
        'images': [{'id': i, 'file_name': f'{i}.tif', 'height': h, 'width': w} for i, (h, w) in SIZES.items()],
        'categories': [{'id': i, 'name': f'class{i}'} for i in (1, 2, 3, 4)],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def results():
    rng = np.random.default_rng(0)
    return [
        {
            'image_id': image_id,
            'bbox': [1.5, 2.0, 3.25, 4.0],
            'score': float(rng.random()),
            'category_id': int(rng.integers(1, 5)),
            'segmentation': rle(rng.random(SIZES[image_id]) < 0.3),
        }
        for image_id in (2, 1, 2, 1, 2)  # image 7 has none
    ]


def test_written_sorted_and_zipped_alone(images, results, tmp_path):
    json_path, zip_path = write_submission(results, images, tmp_path / 'out')
    written = json.loads(json_path.read_text())
    assert [r['image_id'] for r in written] == [1, 1, 2, 2, 2]
    assert sorted(written, key=lambda r: r['score']) == sorted(results, key=lambda r: r['score'])
    assert list(written[0]) == ['image_id', 'bbox', 'score', 'category_id', 'segmentation']
    with zipfile.ZipFile(zip_path) as archive:
        assert archive.namelist() == ['test-results.json']
        assert archive.read('test-results.json') == json_path.read_bytes()
    assert validate_submission(json_path, images) == validate_submission(zip_path, images) == 5
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['test-results.json', 'test-results.zip']


def test_same_results_same_bytes(images, results, tmp_path):
    first = write_submission(results, images, tmp_path / 'a')
    second = write_submission(copy.deepcopy(results), images, tmp_path / 'b')
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_no_detections_at_all(images, tmp_path):
    assert validate_submission(write_submission([], images, tmp_path / 'out')[1], images) == 0


DAMAGE = {
    'unknown image': lambda r: r.update(image_id=3),
    'image id as float': lambda r: r.update(image_id=1.0),
    'category 0': lambda r: r.update(category_id=0),
    'category 5': lambda r: r.update(category_id=5),
    'score above 1': lambda r: r.update(score=1.01),
    'NaN score': lambda r: r.update(score=float('nan')),
    'score as text': lambda r: r.update(score='0.5'),
    'infinite box': lambda r: r.update(bbox=[0, 0, float('inf'), 1]),
    'negative box': lambda r: r.update(bbox=[0, 0, -1, 1]),
    'three numbers': lambda r: r.update(bbox=[0, 0, 1]),
    'extra field': lambda r: r.update(area=3),
    'no segmentation': lambda r: r.pop('segmentation'),
    'polygon': lambda r: r.update(segmentation=[[0, 0, 1, 1, 1, 0]]),
    'size swapped': lambda r: r['segmentation'].update(size=r['segmentation']['size'][::-1]),
    'uncompressed counts': lambda r: r['segmentation'].update(counts=[5, 3]),
    'counts too short': lambda r: r['segmentation'].update(counts='1'),
    'counts cut': lambda r: r['segmentation'].update(counts=r['segmentation']['counts'][:-1]),
    'counts of nonsense': lambda r: r['segmentation'].update(counts='\x00é'),
    'empty counts': lambda r: r['segmentation'].update(counts=''),
}


@pytest.mark.parametrize('case', DAMAGE)
def test_malformed_results(images, results, tmp_path, case):
    """Neither written nor accepted when somebody else wrote it."""
    path = write_submission(results, images, tmp_path / 'out')[0]
    written = json.loads(path.read_text())
    DAMAGE[case](written[1])
    path.write_text(json.dumps(written))
    with pytest.raises(InputError, match='result 1'):
        validate_submission(path, images)
    with pytest.raises(InputError, match='result 1'):
        DAMAGE[case](results[1])
        write_submission(results, images, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_out_of_order(images, results, tmp_path):
    path = write_submission(results, images, tmp_path / 'out')[0]
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    with pytest.raises(InputError, match='out of order'):
        validate_submission(path, images)


@pytest.mark.parametrize(
    'names', [[], ['results.json'], ['out/test-results.json'], ['test-results.json', 'readme.txt']]
)
def test_zip_with_other_files(images, results, tmp_path, names):
    content = write_submission(results, images, tmp_path)[0].read_text()
    with zipfile.ZipFile(tmp_path / 'other.zip', 'w') as archive:
        for name in names:
            archive.writestr(name, content)
    with pytest.raises(InputError, match='alone at its root'):
        validate_submission(tmp_path / 'other.zip', images)


def test_no_zip(images, tmp_path):
    (tmp_path / 'broken.zip').write_bytes(b'PK nothing')
    with pytest.raises(InputError, match='cannot be read'):
        validate_submission(tmp_path / 'broken.zip', images)
