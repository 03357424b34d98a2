"""tools/fuse.py on real files: a submission, one line for each mistake."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmcell.coco.submission import validate_submission

SIZES = {1: (16, 12), 2: (20, 30), 7: (9, 9)}


def draw_results(seed: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    results = []
    for image_id in (1, 2, 2, 1, 2):  # image 7 has none
        height, width = SIZES[image_id]
        mask = np.zeros((height, width), dtype=np.uint8, order='F')
        x, y = rng.integers(0, 4, 2)
        mask[y : y + 6, x : x + 6] = 1
        rle = coco_mask.encode(mask)
        results.append(
            {
                'image_id': image_id,
                'bbox': [float(x), float(y), 6.25, 6.5],
                'score': float(rng.random()),
                'category_id': int(rng.integers(1, 3)),
                'segmentation': {'size': [height, width], 'counts': rle['counts'].decode()},
            }
        )
    return sorted(results, key=lambda result: (result['image_id'], -result['score']))


@pytest.fixture
def write(tmp_path):
    def write_json(name, content):
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path / name

    return write_json


@pytest.fixture
def images(write):
    return write(
        'test.json',
        {
            'images': [{'id': i, 'file_name': f'{i}.tif', 'height': h, 'width': w} for i, (h, w) in SIZES.items()],
            'categories': [{'id': i, 'name': f'class{i}'} for i in (1, 2)],
        },
    )


@pytest.fixture
def files(write):
    return [write(f'{seed}.json', draw_results(seed)) for seed in range(3)]


def test_one_file_comes_out_as_it_went_in(files, tmp_path, tool):
    outcome = tool('fuse', files[0], '--out', tmp_path / 'out')
    assert outcome.status == 0 and outcome.out == f'wrote {tmp_path / "out/results.json"}\n', outcome.err
    assert json.loads((tmp_path / 'out/results.json').read_text()) == json.loads(files[0].read_text())


def test_a_submission(files, images, tmp_path, tool):
    out = tmp_path / 'out'
    arguments = '--images', images, '--format-only', '--out', out
    outcome = tool('fuse', *files, *arguments)
    assert outcome.status == 0 and len(outcome.out.splitlines()) == 2, outcome.err
    written = json.loads((out / 'test-results.json').read_text())
    count = validate_submission(out / 'test-results.zip', images)
    assert count == validate_submission(out / 'test-results.json', images) == len(written)
    assert 5 <= count < 15
    # What only one of three files has scores a third.
    given = [result['score'] for path in files for result in json.loads(path.read_text())]
    assert max(result['score'] for result in written) < max(given)
    assert {round(result['score'] * 3, 9) for result in written} & {round(score, 9) for score in given}
    first = (out / 'test-results.zip').read_bytes()
    assert tool('fuse', *files[::-1], *arguments).status == 0
    again = json.loads((out / 'test-results.json').read_text())
    for ours, expected in zip(again, written):
        assert ours['segmentation'] == expected['segmentation']
        assert ours['score'] == pytest.approx(expected['score'], abs=1e-12)
    assert tool('fuse', *files, *arguments).status == 0
    assert (out / 'test-results.zip').read_bytes() == first


def test_limits(files, tmp_path, tool):
    out = tmp_path / 'out'
    assert tool('fuse', *files, '--out', out, '--weights', 1, 2, 1, '--iou-thr', 0.5).status == 0
    fused = json.loads((out / 'results.json').read_text())
    threshold = sorted(result['score'] for result in fused)[2]
    assert (
        tool(
            'fuse',
            *files,
            '--out',
            out,
            '--weights',
            1,
            2,
            1,
            '--iou-thr',
            0.5,
            '--score-thr',
            threshold,
            '--max-per-img',
            2,
        ).status
        == 0
    )
    expected = []
    for image_id in (1, 2):
        expected += [each for each in fused if each['image_id'] == image_id and each['score'] >= threshold][:2]
    assert json.loads((out / 'results.json').read_text()) == expected
    assert tool('fuse', *files, '--out', out, '--method', 'nms').status == 0
    given = [each for path in files for each in json.loads(path.read_text())]
    kept = json.loads((out / 'results.json').read_text())
    assert 0 < len(kept) < len(given) and all(each in given for each in kept)


def test_nothing_found(write, files, images, tmp_path, tool):
    empty = write('empty.json', [])
    out = tmp_path / 'out'
    assert tool('fuse', empty, empty, '--images', images, '--format-only', '--out', out).status == 0
    assert validate_submission(out / 'test-results.zip', images) == 0
    # A model that found nothing anywhere still has its say.
    assert tool('fuse', files[0], empty, '--out', out).status == 0
    assert len(json.loads((out / 'results.json').read_text())) == 5


def damaged(index: int, **changes: object) -> list[dict]:
    results = copy.deepcopy(draw_results(1))
    results[index].update(changes)
    return results


OTHER_SIZE = {'size': [12, 16], 'counts': [12 * 16]}
BAD = {
    'no json': ('nonsense', 'is not valid JSON'),
    'no list': ({'images': []}, 'is not a list of results'),
    'no result': ([1], 'result 0 is not an object'),
    'no mask': (
        [{key: value for key, value in draw_results(1)[0].items() if key != 'segmentation'}],
        'has no segmentation',
    ),
    'polygon': (damaged(1, segmentation=[[0, 0, 5, 0, 5, 5]]), 'result 1 has polygons for a mask'),
    'score': (damaged(1, score=1.5), 'result 1 has the score 1.5'),
    'box': (damaged(1, bbox=[0, 0, -1, 2]), 'result 1 has the bbox'),
    'category': (damaged(1, category_id='cell'), 'unknown category_id'),
    'size in one file': (damaged(1, segmentation=OTHER_SIZE), 'the size is [12, 16], not [16, 12]'),
    'counts': (damaged(0, segmentation={'size': [16, 12], 'counts': '1'}), 'it has counts for 1 pixels'),
    'other images': ([{**each, 'image_id': each['image_id'] + 10} for each in draw_results(1)], 'no image in common'),
    'other sizes': (
        [{**each, 'segmentation': OTHER_SIZE} for each in draw_results(1) if each['image_id'] == 1],
        'has masks of size [12, 16] for image 1, but',
    ),
}


@pytest.mark.parametrize('case', BAD)
def test_bad_files(files, write, tmp_path, tool, case):
    content, message = BAD[case]
    bad = write('bad.json', content)
    if case == 'no json':
        bad.write_text(content)
    outcome = tool('fuse', files[0], bad, '--out', tmp_path / 'out')
    assert outcome.status == 2 and outcome.err.count('\n') == 1, outcome
    assert outcome.err.startswith(f'error: {bad}: ') and message in outcome.err and '; ' in outcome.err
    assert not (tmp_path / 'out').exists()


def test_results_of_other_images_than_listed(files, images, write, tmp_path, tool):
    listing = json.loads(images.read_text())
    listing['images'] = listing['images'][1:]
    outcome = tool('fuse', *files, '--images', write('other.json', listing), '--out', tmp_path / 'out')
    assert (
        outcome.status == 2 and outcome.err.count('\n') == 1 and 'result 0 has the unknown image_id 1; ' in outcome.err
    )
    outcome = tool('fuse', *files, '--images', write('none.json', []), '--out', tmp_path / 'out')
    assert outcome.status == 2 and outcome.err.count('\n') == 1 and 'none.json: has no images' in outcome.err


@pytest.mark.parametrize(
    'arguments',
    [
        ('--format-only',),
        ('--iou-thr', '0'),
        ('--weights', '1', '2'),
        ('--weights', '1', '2', '0'),
        ('--max-per-img', '0'),
    ],
)
def test_bad_arguments(files, tmp_path, tool, arguments):
    outcome = tool('fuse', *files, '--out', tmp_path / 'out', *arguments)
    assert outcome.status == 2 and outcome.err.count('\n') == 1 and arguments[0] in outcome.err
    assert not (tmp_path / 'out').exists()
