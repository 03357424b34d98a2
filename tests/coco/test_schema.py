"""Every bad document through every door of the package: the same answer at each; every good one is let in."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmcell.coco.fuse import fuse_files
from mmcell.coco.schema import find_problems, read_results, result_problems
from mmcell.coco.submission import validate_submission, write_submission
from mmcell.converters import convert
from mmcell.converters.coco import Coco
from mmcell.datasets.cell_dataset import CellDataset
from mmcell.errors import InputError, InputErrors, raise_all, show
from mmcell.evaluation import confusion_matrix, evaluate_cells, evaluate_coco, load_truth
from mmcell.io.files import read_json
from mmcell.preflight import run as preflight
from mmcell.preflight.examine import examine_data
from mmcell.report.export import export_results
from mmcell.report.overlay import write_overlays
from mmcell.report.page import write_report

HUGE = 10**400


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture
def document(coco, annotation) -> dict[str, Any]:
    """Two images, two categories, four annotations, all fields."""
    content = coco([annotation(5, 5 + 9 * i, image_id=1 + i % 2, category_id=1 + i // 2) for i in range(4)], images=2)
    return {'info': {'channel_order': 'rgb'}, **content}


@pytest.fixture
def results(result) -> list[dict[str, Any]]:
    return [result(5, 5 + 9 * i, 0.9 - 0.2 * i, image_id=1 + i // 2, category_id=1 + i % 2) for i in range(4)]


@pytest.fixture
def root(tmp_path, document) -> Path:
    """A converted data set: the document and its images."""
    for image in document['images']:
        path = tmp_path / 'data/images' / image['file_name']
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((image['height'], image['width'], 3), 200, np.uint8))
    save(tmp_path / 'data/annotations/val.json', document)
    return tmp_path / 'data'


def save(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


# ---- doors for annotation files --------------------------------------------------------------------------------------


def check_before_a_run(root: Path) -> None:
    dataset = {
        'type': 'CellDataset',
        'data_root': str(root),
        'ann_file': 'annotations/val.json',
        'data_prefix': {'img': 'images/'},
    }
    report = preflight._Report()
    preflight._check_data(report, Config({'val_dataloader': {'dataset': dataset}}), ['val'], scored=None)
    raise_all(report.errors)


def convert_again(root: Path) -> None:
    convert(Coco(root), root.parent / 'converted', workers=1)


def json_of(root: Path) -> Path:
    return root / 'annotations/val.json'


DOORS: dict[str, Callable[[Path], Any]] = {
    'evaluate': lambda root: load_truth(json_of(root)),
    'dataset': lambda root: CellDataset(ann_file=str(json_of(root)), data_prefix={'img': str(root / 'images')}),
    'preflight': check_before_a_run,
    'doctor': lambda root: raise_all(examine_data(root)[1]),
    'converter': convert_again,
    'report': lambda root: write_report(
        [], root / 'r.html', truth=json_of(root), image_root=root / 'images', score_thr=0.3
    ),
    'overlay': lambda root: write_overlays([], json_of(root), root / 'images', root / 'pictures', score_thr=0.3),
    'export': lambda root: export_results([], json_of(root), root / 'out', 'csv', score_thr=0.3),
    'fuse': lambda root: fuse_files([save(root / 'r.json', [])], root / 'out', images_json=json_of(root)),
    'submit': lambda root: write_submission([], json_of(root), root / 'out'),
}


def first(key: str, **fields: Any) -> Callable[[dict], None]:
    return lambda document: document[key][0].update(fields)


def annotated(**fields: Any) -> Callable[[dict], None]:
    return first('annotations', **fields)


def masked(**fields: Any) -> Callable[[dict], None]:
    return lambda document: document['annotations'][0]['segmentation'].update(fields)


BAD: dict[str, tuple[Callable[[dict], Any], str]] = {
    'no images': (lambda d: d.update(images=[]), 'has no images or no categories'),
    'no categories': (lambda d: d.pop('categories'), 'has no images or no categories'),
    'images as object': (lambda d: d.update(images={'a': 1}), "images is not a list but {'a': 1}"),
    'images as text': (lambda d: d.update(images='images'), "images is not a list but 'images'"),
    'categories as number': (lambda d: d.update(categories=3), 'categories is not a list but 3'),
    'annotations as object': (lambda d: d.update(annotations={}), 'annotations is not a list but {}'),
    'annotations null': (lambda d: d.update(annotations=None), 'annotations is not a list but None'),
    'info as list': (lambda d: d.update(info=[1]), 'info is [1]'),
    'info null': (lambda d: d.update(info=None), 'info is None'),
    'channel order': (lambda d: d.update(info={'channel_order': 'x'}), "info has the channel_order 'x'"),
    'mpp': (lambda d: d.update(info={'mpp': '0.25'}), "info has the mpp '0.25'"),
    'mpp of an image': (lambda d: d['images'][0].update(mpp=-1), 'has the mpp -1'),
    'channel order as list': (lambda d: d.update(info={'channel_order': ['rgb']}), 'info has the channel_order'),
    'image null': (lambda d: d['images'].append(None), 'images[2] is not an object but None'),
    'image without id': (lambda d: d['images'][0].pop('id'), 'images[0] has the id None'),
    'image id true': (first('images', id=True), 'images[0] has the id True'),
    'image id 1.0': (first('images', id=1.0), 'images[0] has the id 1.0'),
    'image id -1': (first('images', id=-1), 'images[0] has the id -1'),
    'image id 2^63': (first('images', id=2**63), 'images[0] has the id 9223372'),
    'image id twice': (first('images', id=2), 'images[1] has the id 2 of another image'),
    'width of 400 digits': (first('images', width=HUGE), 'image 1 has the height 40 and the width 100000'),
    'width true': (first('images', width=True), 'image 1 has the height 40 and the width True'),
    'width 50.0': (first('images', width=50.0), 'image 1 has the height 40 and the width 50.0'),
    'height 0': (first('images', height=0), 'image 1 has the height 0'),
    'height beyond RLE': (first('images', height=2**31), 'image 1 has the height 2147483648'),
    'no width': (lambda d: d['images'][0].pop('width'), 'image 1 has the height 40 and the width None'),
    'file name upwards': (first('images', file_name='../a.png'), "image 1 has a bad file_name: '../a.png' leaves the"),
    'file name absolute': (first('images', file_name='/etc/passwd'), "image 1 has a bad file_name: '/etc/passwd'"),
    'file name upwards, backslashes': (first('images', file_name='a\\..\\..\\b'), 'image 1 has a bad file_name'),
    'file name as number': (first('images', file_name=3), 'image 1 has a bad file_name: 3 is not a path'),
    'file name that is none': (first('images', file_name='\ud800'), 'image 1 has a bad file_name'),
    'file name nested': (
        first('images', file_name=nested(500)),
        'image 1 has a bad file_name: [[[...]]] is not a path',
    ),
    'no file name': (lambda d: d['images'][0].pop('file_name'), 'image 1 has a bad file_name: None is not a path'),
    'category null': (lambda d: d['categories'].append(None), 'categories[2] is not an object but None'),
    'category 2^63': (first('categories', id=2**63), 'categories[0] has the id 9223372'),
    'category as text': (first('categories', id='1'), "categories[0] has the id '1'"),
    'category true': (first('categories', id=True), 'categories[0] has the id True'),
    'category id twice': (first('categories', id=2), 'categories[1] has the id 2 of another category'),
    'category name twice': (first('categories', name='b'), "category 2 has the name 'b' of another"),
    'no category name': (lambda d: d['categories'][0].pop('name'), 'category 1 has the name None'),
    'empty category name': (first('categories', name=' '), "category 1 has the name ' '"),
    'category name of two lines': (first('categories', name='a\nb'), "category 1 has the name 'a\\nb'"),
    'annotation null': (lambda d: d['annotations'].append(None), 'annotations[4] is not an object but None'),
    'annotation as list': (
        lambda d: d['annotations'].append(nested(500)),
        'annotations[4] is not an object but [[[...]]]',
    ),
    'no annotation id': (lambda d: d['annotations'][0].pop('id'), 'annotations[0] has the id None'),
    'annotation id of 400 digits': (annotated(id=HUGE), 'annotations[0] has the id 100000'),
    'annotation id twice': (annotated(id=2), 'annotations[1] has the id 2 of another annotation'),
    'unknown image': (annotated(image_id=9), 'annotation 1 has the unknown image_id 9'),
    'image true': (annotated(image_id=True), 'annotation 1 has the unknown image_id True'),
    'image as list': (annotated(image_id=[1]), 'annotation 1 has the unknown image_id [1]'),
    'unknown category': (annotated(category_id=9), 'annotation 1 has the unknown category_id 9'),
    'unknown category 2^63': (annotated(category_id=2**63), 'annotation 1 has the unknown category_id 9223372'),
    'category 1.0': (annotated(category_id=1.0), 'annotation 1 has the unknown category_id 1.0'),
    'iscrowd 2': (annotated(iscrowd=2), 'annotation 1 has the iscrowd 2'),
    'iscrowd true': (annotated(iscrowd=True), 'annotation 1 has the iscrowd True'),
    'iscrowd null': (annotated(iscrowd=None), 'annotation 1 has the iscrowd None'),
    'area as text': (annotated(area='big'), "annotation 1 has the area 'big'"),
    'area of 400 digits': (annotated(area=HUGE), 'annotation 1 has the area 100000'),
    'area NaN': (annotated(area=math.nan), 'annotation 1 has the area nan'),
    'area infinite': (annotated(area=math.inf), 'annotation 1 has the area inf'),
    'area -1': (annotated(area=-1), 'annotation 1 has the area -1'),
    'area true': (annotated(area=True), 'annotation 1 has the area True'),
    'box of 1e300': (annotated(bbox=[0, 0, 1e300, 1]), 'annotation 1 has the bbox [0, 0, 1e+300, 1]'),
    'box of 400 digits': (annotated(bbox=[HUGE, 0, 1, 1]), 'annotation 1 has the bbox [100000'),
    'box NaN': (annotated(bbox=[0, math.nan, 1, 1]), 'annotation 1 has the bbox [0, nan, 1, 1]'),
    'box true': (annotated(bbox=[0, 0, True, 1]), 'annotation 1 has the bbox [0, 0, True, 1]'),
    'box of three': (annotated(bbox=[0, 0, 1]), 'annotation 1 has the bbox [0, 0, 1]'),
    'box negative': (annotated(bbox=[0, 0, -1, 1]), 'annotation 1 has the bbox [0, 0, -1, 1]'),
    'box as text': (annotated(bbox='box'), "annotation 1 has the bbox 'box'"),
    'box nested': (annotated(bbox=nested(500)), 'annotation 1 has the bbox [[[...]]]'),
    'mask null': (annotated(segmentation=None), 'annotation 1 has a broken mask of image 1 (neither polygons nor RLE)'),
    'mask empty': (annotated(segmentation={}), 'annotation 1 has a broken mask of image 1 (the size is None'),
    'mask of another size': (masked(size=[50, 40]), '(the size is [50, 40], not [40, 50])'),
    'mask of size in floats': (masked(size=[40.0, 50]), '(the size is [40.0, 50], not [40, 50])'),
    'mask cut': (masked(counts='1'), '(it has counts for 1 pixels, the image has 2000)'),
    'mask of nonsense': (masked(counts='~'), '(the counts are not a COCO run-length string)'),
    'mask without counts': (lambda d: d['annotations'][0]['segmentation'].pop('counts'), '(it has no counts)'),
    'counts of 400 digits': (masked(counts=[HUGE]), '(the counts are not whole numbers of pixels)'),
    'counts nested': (masked(counts=nested(500)), 'annotation 1 has a broken mask'),
    'polygon of two points': (annotated(segmentation=[[1, 2, 3, 4]]), '(a polygon is not a list of three or more'),
    'polygon far away': (annotated(segmentation=[[1e9, 1, 2, 3, 4, 5]]), '(a polygon has coordinates out of range)'),
    'polygon of 400 digits': (annotated(segmentation=[[HUGE, 1, 2, 3, 4, 5]]), '(a polygon is not a list of three'),
    'polygon nested': (annotated(segmentation=nested(500)), 'annotation 1 has a broken mask'),
}

WHOLE: dict[str, tuple[str, str]] = {
    'a list': ('[]', 'has no images or no categories'),
    'null': ('null', 'has no images or no categories'),
    'a number of 5000 digits': ('{"images": 1' + '0' * 5000 + '}', 'is not valid JSON'),
    'endless nesting': ('[' * 10**5 + ']' * 10**5, 'is not valid JSON'),
    'half a file': ('{"images": [', 'is not valid JSON'),
}


def refusal(door: Callable[[Any], Any], argument: Any) -> InputError:
    with pytest.raises((InputError, InputErrors)) as caught:
        door(argument)
    error = caught.value
    if isinstance(error, InputErrors):
        error = error.errors[0]
    assert '\n' not in str(error) and len(str(error)) <= 300 + len(error.where)
    return error


@pytest.mark.parametrize('case', BAD)
def test_bad_annotations(root, document, case):
    damage, words = BAD[case]
    damage(document)
    path = save(json_of(root), document)
    expected = next(find_problems(read_json(path))).as_error(path)
    assert words in expected.problem
    for name, door in DOORS.items():
        # A small data set may have no images for val: to look at that is fine. The converter leaves stray points out.
        if (name, case) in (('doctor', 'no images'), ('converter', 'polygon of two points')):
            continue
        error = refusal(door, root)
        # What is wrong many times over is said once before a run.
        problem = error.problem.partition(' (and ')[0] if name in ('preflight', 'doctor') else error.problem
        assert (name, error.where, problem, error.cure) == (name, str(path), expected.problem, expected.cure)
    assert not (root / 'out').exists()
    assert case == 'polygon of two points' or not (root.parent / 'converted').exists()


@pytest.mark.parametrize('case', WHOLE)
def test_bad_files(root, case):
    text, words = WHOLE[case]
    json_of(root).write_text(text)
    for door in DOORS.values():
        error = refusal(door, root)
        assert words in error.problem and error.where == str(json_of(root))


def polygons(document: dict) -> None:
    for annotation in document['annotations']:
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]


def uncompressed(document: dict) -> None:
    document['annotations'] = document['annotations'][:1]
    counts = [5 * 40 + 5, *[10, 30] * 9, 10, 2000 - 205 - 10 * 40 + 30]
    document['annotations'][0]['segmentation'] = {'size': [40, 50], 'counts': counts}


GOOD: dict[str, Callable[[dict], Any]] = {
    'as it is': lambda d: None,
    'no annotations': lambda d: d.pop('annotations'),
    'empty annotations': lambda d: d.update(annotations=[]),
    'no info': lambda d: d.pop('info'),
    'other info': lambda d: d.update(info={'year': 2026, 'channel_order': 'bgr'}),
    'polygons': polygons,
    'uncompressed': uncompressed,
    'id 0': lambda d: d['annotations'][0].update(id=0),
    'ids of 2^53': lambda d: (
        first('categories', id=2**53)(d),
        [one.update(id=2**53 - i, category_id=2**53) for i, one in enumerate(d['annotations'])],
    ),
    'no iscrowd, no area': lambda d: [d['annotations'][0].pop(key) for key in ('iscrowd', 'area')],
    'a crowd': annotated(iscrowd=1),
    'numbers with fractions': annotated(bbox=[5.25, 5.0, 9.5, 10.0], area=99.5),
    'other fields': lambda d: (d.update(licenses=None), annotated(keypoints=[HUGE], score='x')(d)),
}


@pytest.mark.parametrize('case', GOOD)
@pytest.mark.parametrize('door', DOORS)
def test_good_annotations(root, document, case, door):
    GOOD[case](document)
    path = save(json_of(root), document)
    if 'annotations' in document and case == 'ids of 2^53':
        for annotation in document['annotations'][1:]:
            annotation['category_id'] = 2
        save(path, document)
    assert list(find_problems(read_json(path), needs=('bbox', 'segmentation'))) == []
    DOORS[door](root)


# ---- what training alone asks for ------------------------------------------------------------------------------------

TRAINING = {
    'file name twice': (first('images', file_name='1.png'), "image 2 has the file_name '1.png' of another image"),
    'no box': (lambda d: d['annotations'][0].pop('bbox'), 'annotation 1 has no bbox'),
    'no mask': (lambda d: d['annotations'][0].pop('segmentation'), 'annotation 1 has no segmentation'),
    'empty mask': (annotated(segmentation=[]), 'annotation 1 has no segmentation'),
    'flat box': (annotated(bbox=[5, 5, 0, 10]), 'annotation 1 has the bbox [5, 5, 0, 10], which has no area'),
    'box outside': (annotated(bbox=[45, 5, 6, 10]), 'bbox [45, 5, 6, 10], which leaves its image of 50 x 40'),
}


@pytest.mark.parametrize('case', TRAINING)
def test_what_cannot_be_trained_on_can_be_scored(root, document, case):
    damage, words = TRAINING[case]
    damage(document)
    save(json_of(root), document)
    for name in ('dataset', 'preflight', 'doctor'):
        assert words in refusal(DOORS[name], root).problem
    DOORS['evaluate'](root)


# ---- doors for results -----------------------------------------------------------------------------------------------


def loaded(evaluate: Callable[..., Any], *arguments: Any) -> Callable[[Path], Any]:
    return lambda root: evaluate(json_of(root), read_json(root / 'r.json'), *arguments)


RESULT_DOORS: dict[str, Callable[[Path], Any]] = {
    'evaluate': loaded(evaluate_coco),
    'evaluate boxes': loaded(evaluate_coco, 'bbox'),
    'evaluate cells': loaded(evaluate_cells, 0.3),
    'confusion': loaded(confusion_matrix, 0.3),
    'fuse': lambda root: fuse_files([root / 'r.json'], root / 'out', images_json=json_of(root)),
    'submit': lambda root: write_submission(read_json(root / 'r.json'), json_of(root), root / 'out'),
    'validate': lambda root: validate_submission(root / 'r.json', json_of(root)),
    'report': lambda root: write_report(
        root / 'r.json', root / 'out/r.html', truth=json_of(root), image_root=root / 'images', score_thr=0.3
    ),
    'export': lambda root: export_results(root / 'r.json', json_of(root), root / 'out', 'csv', score_thr=0.3),
    'overlay': lambda root: write_overlays(
        read_json(root / 'r.json'), json_of(root), root / 'images', root / 'out', 0.3, truth=json_of(root)
    ),
}


def put(**fields: Any) -> Callable[[list], None]:
    return lambda results: results[1].update(fields)


def put_mask(**fields: Any) -> Callable[[list], None]:
    return lambda results: results[1]['segmentation'].update(fields)


BAD_RESULTS: dict[str, tuple[Callable[[list], Any], str]] = {
    'null': (lambda r: r.append(None), 'result 4 is not an object but None'),
    'nested': (lambda r: r.append(nested(500)), 'result 4 is not an object but [[[...]]]'),
    'unknown image': (put(image_id=9), 'result 1 has the unknown image_id 9'),
    'image true': (put(image_id=True), 'result 1 has the unknown image_id True'),
    'image as list': (put(image_id=[1]), 'result 1 has the unknown image_id [1]'),
    'unknown category': (put(category_id=9), 'result 1 has the unknown category_id 9'),
    'category 2^63': (put(category_id=2**63), 'result 1 has the unknown category_id 9223372'),
    'no category': (lambda r: r[1].pop('category_id'), 'result 1 has the unknown category_id None'),
    'score 1.5': (put(score=1.5), 'result 1 has the score 1.5'),
    'score -1': (put(score=-1), 'result 1 has the score -1'),
    'score NaN': (put(score=math.nan), 'result 1 has the score nan'),
    'score infinite': (put(score=math.inf), 'result 1 has the score inf'),
    'score of 400 digits': (put(score=HUGE), 'result 1 has the score 100000'),
    'score true': (put(score=True), 'result 1 has the score True'),
    'score as text': (put(score='0.5'), "result 1 has the score '0.5'"),
    'no score': (lambda r: r[1].pop('score'), 'result 1 has the score None'),
    'box of 1e300': (put(bbox=[0, 0, 1e300, 1]), 'result 1 has the bbox [0, 0, 1e+300, 1]'),
    'box of 400 digits': (put(bbox=[HUGE, 0, 1, 1]), 'result 1 has the bbox [100000'),
    'box NaN': (put(bbox=[0, 0, math.nan, 1]), 'result 1 has the bbox [0, 0, nan, 1]'),
    'box infinite': (put(bbox=[0, 0, math.inf, 1]), 'result 1 has the bbox [0, 0, inf, 1]'),
    'box negative': (put(bbox=[0, 0, -1, 1]), 'result 1 has the bbox [0, 0, -1, 1]'),
    'box null': (put(bbox=None), 'result 1 has the bbox None'),
    'mask null': (put(segmentation=None), 'result 1 has the mask None, which is neither polygons nor RLE'),
    'polygons': (put(segmentation=[[1, 1, 5, 1, 5, 5]]), 'result 1 has polygons for a mask'),
    'mask of another size': (put_mask(size=[50, 40]), '(the size is [50, 40], not [40, 50])'),
    'mask of no size': (put_mask(size=[0, 0]), 'result 1 has a mask of size [0, 0]'),
    'mask of size nested': (put_mask(size=nested(500)), 'result 1 has a mask of size [[[...]]]'),
    'mask of size true': (put_mask(size=[True, 50]), 'result 1 has a mask of size [True, 50]'),
    'mask of 400 digits': (put_mask(size=[HUGE, 50]), 'result 1 has a mask of size [100000'),
    'mask cut': (put_mask(counts='1'), '(it has counts for 1 pixels, the image has 2000)'),
    'mask of nonsense': (put_mask(counts='\x00é'), '(the counts are not a COCO run-length string)'),
    'counts null': (put_mask(counts=None), '(it has no counts)'),
    'counts of 400 digits': (put_mask(counts=[HUGE]), '(the counts are not whole numbers of pixels)'),
}


@pytest.mark.parametrize('case', BAD_RESULTS)
def test_bad_results(root, document, results, case):
    damage, words = BAD_RESULTS[case]
    damage(results)
    path = save(root / 'r.json', results)
    expected = next(result_problems(read_json(path), document['images'], document['categories']))
    assert words in f'{expected.at} {expected.problem}'
    for name, door in RESULT_DOORS.items():
        error = refusal(door, root)
        assert (name, error.problem, error.cure) == (name, f'{expected.at} {expected.problem}', expected.cure)
        if name in ('fuse', 'validate', 'report', 'export'):  # the others are given a list
            assert error.where == str(path)
    assert not (root / 'out').exists()


@pytest.mark.parametrize('content', [{'images': []}, None, 3, 'text'])
def test_results_that_are_no_list(root, content):
    save(root / 'r.json', content)
    for door in RESULT_DOORS.values():
        assert refusal(door, root).problem == 'is not a list of results'


def test_without_the_images_all_but_their_names_is_checked(tmp_path, results):
    """Fusion need not know the images."""
    foreign = [{**result, 'image_id': 77, 'category_id': 2**53} for result in results]
    assert fuse_files([save(tmp_path / 'r.json', foreign)], tmp_path / 'out')
    shutil.rmtree(tmp_path / 'out')
    for case, (damage, words) in BAD_RESULTS.items():
        damaged = copy.deepcopy(results)
        damage(damaged)
        path = save(tmp_path / f'{case}.json', damaged)
        if case not in ('unknown image', 'unknown category'):
            assert words in refusal(lambda path: fuse_files([path], tmp_path / 'out'), path).problem
    assert not (tmp_path / 'out').exists()


GOOD_RESULTS: dict[str, Callable[[list], Any]] = {
    'as they are': lambda r: None,
    'none': list.clear,
    'scores 0 and 1': lambda r: (r[0].update(score=1), r[1].update(score=0)),
    'a box outside': put(bbox=[45.5, 30, 100, 0]),
    'an empty mask': put_mask(counts=[2000]),
    'other fields': put(keypoints=[HUGE]),
}


@pytest.mark.parametrize('case', GOOD_RESULTS)
@pytest.mark.parametrize('door', RESULT_DOORS)
def test_good_results(root, results, case, door):
    GOOD_RESULTS[case](results)
    save(root / 'r.json', results)
    if door in ('submit', 'validate') and case in ('an empty mask', 'other fields'):
        # A submission has just its fields, and text as counts.
        assert refusal(RESULT_DOORS[door], root).problem.startswith('result 1 ')
    else:
        RESULT_DOORS[door](root)


@pytest.mark.parametrize('field', ['bbox', 'segmentation'])
def test_what_a_door_needs(root, results, field):
    del results[1][field]
    path = save(root / 'r.json', results)
    assert len(read_results(path)) == 4
    for name in ('fuse', 'submit', 'validate') + (('report', 'export', 'overlay') if field == 'segmentation' else ()):
        assert refusal(RESULT_DOORS[name], root).problem == f'result 1 has no {field}'


# ---- the rest --------------------------------------------------------------------------------------------------------


def test_all_problems_in_order(document):
    for case in ('info as list', 'width true', 'category name twice', 'iscrowd 2', 'file name upwards'):
        BAD[case][0](document)
    document['annotations'][2]['segmentation']['counts'] = '~'
    document['annotations'][3].update(area='big')
    assert [problem.at for problem in find_problems(document)] == [
        *('info', 'image 1', 'image 1', 'category 2', 'annotation 1', 'annotation 4')
    ]  # the mask of annotation 3 is of image 1, which has no size
    assert [problem.at for problem in find_problems(document, training=True)][4:] == ['annotation 1', 'annotation 4']


def test_nothing_is_changed(document, results):
    before = copy.deepcopy((document, results))
    list(find_problems(document, training=True)), list(result_problems(results))
    assert (document, results) == before


def test_values_are_shown_short():
    for value in (HUGE, 10**5000, 'x' * 10**6, nested(900), [10**5000], {'a': {'b': [HUGE] * 9}}, math.nan):
        assert 0 < len(show(value)) <= 80


@pytest.mark.parametrize('value', ['1.5', '-0.1', 'nan', 'inf', 'high', ''])
@pytest.mark.parametrize(
    'arguments',
    [
        ('export', 'r.json', '--to', 'csv', '--images', 'i.json', '--out', 'o', '--score-thr'),
        ('fuse', 'r.json', '--out', 'o', '--score-thr'),
        ('report', 'r.json', '--truth', 't.json', '--out', 'o', '--score-thr'),
        ('infer', 'c.py', 'c.pth', 'i.png', '--out', 'o', '--score-thr'),
        ('test', 'c.py', 'c.pth', '--score-thr'),
    ],
)
def test_thresholds_are_scores(tool, arguments, value):
    outcome = tool(*arguments[:-1], f'{arguments[-1]}={value}')
    assert outcome.status == 2 and outcome.out == ''
    assert outcome.err.startswith(f'error: argument {arguments[-1]}: {value!r} is not a number from 0 to 1; see ')
    assert outcome.err.count('\n') == 1
