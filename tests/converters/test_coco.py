from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmcell.converters.coco import Coco
from mmcell.errors import InputError

SIZE = (24, 30)
IMAGES = ('a.tif', 'deep/b.tif', 'c.tif', 'd.tif')


def rle(mask: np.ndarray, compressed: bool) -> dict:
    """A mask as COCO's two kinds of RLE, the uncompressed counted by hand."""
    if compressed:
        found = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        return {'size': list(mask.shape), 'counts': found['counts'].decode()}
    counts, value = [0], 0
    for pixel in mask.ravel(order='F').astype(int):
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {'size': list(mask.shape), 'counts': counts}


def annotate(number: int, image: int, category: int, segmentation: object, **others: object) -> dict:
    # Boxes and areas of other people's files are often rounded, or those of the polygon; here they are just wrong.
    given = {'id': number, 'image_id': image, 'category_id': category, 'bbox': [0, 0, 1, 1], 'area': 7.5, 'iscrowd': 0}
    return given | {'segmentation': segmentation} | others


def content() -> dict:
    """All kinds of masks, overlapping, one in two pieces, one crowd; category ids with a gap, not in order."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[3:9, 4:20] = mask[15:20, 0:3] = True
    square = [5.0, 5, 15, 5, 15, 14.5, 5, 14.5]
    return {
        'categories': [{'id': 9, 'name': 'stroma'}, {'id': 2, 'name': 'tumour', 'supercategory': 'cell'}],
        'images': [
            {'id': number, 'file_name': name, 'height': SIZE[0], 'width': SIZE[1]}
            for number, name in zip((30, 4, 0, 17), IMAGES)
        ],
        'annotations': [
            annotate(1, 30, 2, [square]),
            annotate(2, 30, 2, [square, [20, 0, 40, 0, 40, 10]]),
            annotate(3, 30, 9, rle(mask, compressed=True)),
            annotate(4, 30, 2, rle(mask, compressed=False)),
            annotate(5, 30, 9, rle(~mask, compressed=False), iscrowd=1),
            annotate(6, 4, 9, [square]),
        ],
    }


@pytest.fixture
def source(tmp_path) -> Path:
    root = tmp_path / 'source'
    rng = np.random.default_rng(0)
    for name in IMAGES:
        (root / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / 'images' / name, rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    return root


def save(source: Path, **contents: dict) -> None:
    (source / 'annotations').mkdir(exist_ok=True)
    for name, value in contents.items():
        (source / 'annotations' / f'{name}.json').write_text(json.dumps(value))


def part(numbers: set[int]) -> dict:
    """The part of the content that belongs to some images."""
    whole = content()
    images = [image for image in whole['images'] if image['id'] in numbers]
    annotations = [annotation for annotation in whole['annotations'] if annotation['image_id'] in numbers]
    return whole | {'images': images, 'annotations': annotations}


def by_pycocotools(path: Path) -> dict[str, list[tuple[int, int, np.ndarray]]]:
    """The slow, obvious reference: pycocotools' own reading of the file."""
    coco = COCO(path)
    numbers = {category: number for number, category in enumerate(sorted(coco.cats), start=1)}
    return {
        f'images/{image["file_name"]}': [
            (numbers[annotation['category_id']], annotation['iscrowd'], coco.annToMask(annotation).astype(bool))
            for annotation in coco.imgToAnns[image['id']]
        ]
        for image in coco.imgs.values()
    }


def test_every_kind_of_mask(source, converted, same_cells):
    save(source, mine=content())
    result = converted('coco', source)
    cells, expected = result.cells(), by_pycocotools(source / 'annotations' / 'mine.json')
    assert cells.keys() == expected.keys() and all(same_cells(cells[name], expected[name]) for name in cells)
    assert result.classes == ['tumour', 'stroma'] and 'tumour 3, stroma 2' in result.printed
    assert 'crowd regions     1' in result.printed
    assert len({cell.mask.tobytes() for cell in cells['images/a.tif']}) == 4


def test_other_names_of_classes(source, converted, refused):
    save(source, mine=content())
    assert 'names 1 class for the 2 of the data; give a name for each, in their order: tumour, stroma' in refused(
        'coco', source, '--classes', 'one'
    )
    assert converted('coco', source, '--classes', 'x', 'y').classes == ['x', 'y']


def test_the_split_is_kept(source, converted):
    test = part({17}) | {'annotations': []}
    save(source, instances_train2017=part({30, 0}), instances_val2017=part({4}), test=test, trainval=content())
    result = converted('coco', source, '--val-ratio', 0.9)
    assert result.files('train') == ['images/a.tif', 'images/c.tif']
    assert result.files('val') == ['images/deep/b.tif']
    images = [(image['id'], image['file_name']) for image in result.load('test')['images']]
    assert images == [(17, 'images/d.tif')]


def test_folders_called_after_the_json(source, converted):
    for name, folder in (('a.tif', 'train2017'), ('c.tif', 'train2017'), ('deep/b.tif', 'images/val2017')):
        (source / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (source / 'images' / name).rename(source / folder / name)
    save(source, instances_train2017=part({30, 0}), instances_val2017=part({4}))
    result = converted('coco', source)
    assert result.files() == ['images/val2017/deep/b.tif', 'train2017/a.tif', 'train2017/c.tif']


def test_jsons_beside_the_images(source, converted):
    for path in (source / 'images').iterdir():
        path.rename(source / path.name)
    (source / 'mine.json').write_text(json.dumps(content()))
    assert converted('coco', source).files() == sorted(IMAGES)


def test_our_own_output_goes_round(class_tiff, converted):
    first = converted('class_tiff', class_tiff)
    second = converted('coco', first.out, out='second')
    for name in ('train', 'val', 'trainval', 'test'):
        there, back = first.load(name), second.load(name)
        assert back['annotations'] == there['annotations'] and back['categories'] == there['categories']
        assert [image['file_name'] for image in back['images']] == [
            f'images/{image["file_name"]}' for image in there['images']
        ]


def test_masks_without_pixels_are_counted(source, converted):
    value = content()
    value['annotations'] += [
        annotate(7, 4, 2, [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]),
        annotate(8, 4, 2, [[90, 90, 95, 90, 95, 95]]),
        annotate(9, 4, 2, rle(np.zeros(SIZE, dtype=bool), compressed=True)),
    ]
    save(source, mine=value)
    result = converted('coco', source)
    assert len(result.cells()['images/deep/b.tif']) == 1 and 'warning: 3 annotations hold no pixel' in result.printed


def put(**keys: object):
    return lambda value: value['annotations'][0].update(keys)


def polygon(*numbers: object):
    return put(segmentation=[list(numbers)])


def runs(counts: object, size: object = SIZE):
    return put(segmentation={'size': list(size), 'counts': counts})


BROKEN = {
    'odd numbers': (polygon(1, 2, 3, 4, 5, 6, 7), 'three or more pairs'),
    'text': (polygon('1', '2', '3', '4', '5', '6'), 'three or more pairs'),
    'nested': (polygon([1, 2], [3, 4], [5]), 'three or more pairs'),
    'null': (polygon(None, 1, 2, 3, 4, 5), 'three or more pairs'),
    'NaN': (polygon(float('nan'), 1, 2, 3, 4, 5), 'coordinates out of range'),
    'huge number': (polygon(10**400, 1, 2, 3, 4, 5), 'three or more pairs'),
    'far away': (polygon(1e9, 1, 2, 3, 4, 5), 'coordinates out of range'),
    'long way': (polygon(*[0, 0, 4e5, 4e5] * 20), 'coordinates out of range'),
    'empty list': (put(segmentation=[]), 'annotation 1 has a box only, no outline'),
    'no mask': (lambda value: value['annotations'][0].pop('segmentation'), 'annotation 1 has a box only, no outline'),
    'other size': (runs('', (30, 24)), 'the size is [30, 24], not [24, 30]'),
    'counts too short': (runs([5, 4]), 'counts for 9 pixels, the image has 720'),
    'counts too long': (runs([720, 1]), 'counts for 721 pixels'),
    'negative counts': (runs([-5, 725]), 'whole numbers of pixels'),
    'fractional counts': (runs([0.5, 719.5]), 'whole numbers of pixels'),
    'counts of 2^40': (runs([2**40]), 'whole numbers of pixels'),
    'counts of 2^80': (runs([2**80]), 'whole numbers of pixels'),
    'no counts': (runs([]), 'whole numbers of pixels'),
    'counts null': (runs(None), 'no counts'),
    'garbage string': (runs('\x00~~'), 'run-length string'),
    'string beyond ASCII': (runs('ééé'), 'run-length string'),
    'cut string': (runs('PP'), 'run-length string'),
    'unknown image': (put(image_id=5), 'image_id 5; add that image'),
    'image as text': (put(image_id='30'), "image_id '30'"),
    'unknown category': (put(category_id=3), 'category_id 3; add that category'),
    'crowd': (put(iscrowd=2), 'iscrowd'),
    'annotation is text': (lambda value: value['annotations'].append('x'), "is not an object but 'x'"),
    'size lies': (
        lambda value: value['images'][1].update(height=25),
        'says that images/deep/b.tif is 30 x 25, but it is 30 x 24',
    ),
    'size is text': (lambda value: value['images'][0].update(height='24'), 'whole numbers'),
    'image without size': (lambda value: value['images'][0].pop('width'), 'height 24 and the width None'),
    'image is missing': (lambda value: value['images'][0].update(file_name='x.tif'), 'lists x.tif, which is missing'),
    'parent folder': (lambda value: value['images'][0].update(file_name='../images/a.tif'), 'stay in the folder'),
    'hidden parent': (lambda value: value['images'][0].update(file_name='deep\\..\\..\\a.tif'), 'stay in the folder'),
    'absolute path': (lambda value: value['images'][0].update(file_name='/etc/passwd'), 'stay in the folder'),
    'NUL': (lambda value: value['images'][0].update(file_name='a\0.tif'), 'is not a path'),
    'lone surrogate': (lambda value: value['images'][0].update(file_name='\ud800'), 'is not a path'),
    'endless name': (lambda value: value['images'][0].update(file_name='a' * 5000), 'missing'),
    'a folder': (lambda value: value['images'][0].update(file_name='deep'), 'missing'),
    'id twice': (lambda value: value['images'][0].update(id=4), 'the id 4 of another image'),
    'image twice': (
        lambda value: value['images'][2].update(file_name='a.tif'),
        'images/a.tif, as mine.json does',
    ),
    'no images': (lambda value: value.update(images=[], annotations=[]), 'has no images'),
    'no list': (lambda value: value.update(annotations={}), 'is not a list'),
    'no categories': (lambda value: value.update(categories=[]), 'no categories'),
    'category twice': (lambda value: value['categories'][0].update(id=2), 'the id 2 of another category'),
    'category as text': (lambda value: value['categories'][0].update(id='2'), "the id '2'"),
    'category that cannot be printed': (lambda value: value['categories'][0].update(name='\ud800'), 'the name'),
    'category without name': (lambda value: value['categories'][0].pop('name'), 'the name None'),
}


@pytest.mark.parametrize('case', BROKEN)
def test_broken_json(source, refused, case):
    damage, words = BROKEN[case]
    value = content()
    damage(value)
    save(source, mine=value)
    line = refused('coco', source)
    assert 'mine.json' in line and words in line


def test_broken_sets_of_files(source, refused):
    assert 'source: holds no json file' in refused('coco', source)
    save(source, one=content(), two=content())
    assert 'annotations: holds 2 json files' in refused('coco', source)
    shutil.rmtree(source / 'annotations')
    save(source, train=part({30, 0}), val=part({4}), train2=part({0}))
    assert 'annotations: holds 2 json files for train' in refused('coco', source)
    shutil.rmtree(source / 'annotations')
    save(source, train=part({30, 0}), val=part({4, 0}))
    assert 'val.json: lists images/c.tif, as train.json does' in refused('coco', source)
    other = copy.deepcopy(part({4}))
    other['categories'][0]['name'] = 'muscle'
    save(source, val=other)
    assert 'val.json: has other categories than annotations/train.json' in refused('coco', source)


numbers = st.one_of(st.integers(-(2**33), 2**33), st.floats(), st.integers(0, 60), st.none(), st.text(max_size=3))
coordinates = st.integers(-40, 70) | st.floats(-40, 70)
counts = st.lists(numbers, max_size=9) | st.text(max_size=12) | st.text('0123:PQoO`', max_size=12)
masks = st.one_of(
    st.lists(st.lists(coordinates, min_size=6, max_size=6), min_size=1, max_size=3),
    st.lists(st.lists(numbers, max_size=9), max_size=3),
    st.fixed_dictionaries({'size': st.just(list(SIZE)) | st.lists(numbers, max_size=3), 'counts': counts}),
    numbers,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mask=masks)
def test_any_mask_is_read_as_pycocotools_does_or_refused(source, mask):
    value = part({4})
    value['annotations'] = [annotate(1, 4, 2, mask)]
    save(source, mine=value)
    try:
        record = Coco(source).read('images/deep/b.tif')
    except InputError as error:
        assert 'mine.json' in str(error)
        return
    found = [coco_mask.decode(mask).astype(bool) for mask in record.instances[1].rles] if record.instances else []
    if isinstance(mask, list):  # pycocotools takes two points for a box, and fails at one.
        value['annotations'][0]['segmentation'] = outlines = [outline for outline in mask if len(outline) > 5]
        if not outlines:
            assert not found and record.empty == 1
            return
        assert sum(record.notes.values()) == len(mask) - len(outlines)
        save(source, mine=value)
    expected = by_pycocotools(source / 'annotations' / 'mine.json')['images/deep/b.tif'][0][2]
    assert np.array_equal(found[0], expected) if found else not expected.any()


@pytest.mark.parametrize(
    ('layout', 'content'), [('labelme', {'shapes': []}), ('geojson', {'type': 'FeatureCollection'})]
)
def test_json_of_other_tools_is_told_by_name(layout, content, tmp_path, refused):
    for name in 'ab':
        (tmp_path / 'source').mkdir(exist_ok=True)
        (tmp_path / f'source/{name}.json').write_text(json.dumps(content))
    line = refused('coco', tmp_path / 'source')
    assert f'a.json: is not COCO json, but {layout}; give the layout {layout}' in line


def test_stray_points_are_left_out_and_counted(source, converted, same_cells):
    """What clicks by mistake leave: outlines without three points, alone and beside a good one, or none at all."""
    value = content()
    square = value['annotations'][5]['segmentation'][0]
    value['annotations'] += [
        annotate(7, 4, 2, [[5, 5, 6, 6]]),
        annotate(8, 4, 2, [[5, 5]], bbox=[5, 5, 0, 0]),
        annotate(9, 4, 2, [], bbox=[0, 0, 0, 0]),
        annotate(10, 4, 2, [[]], bbox=[0, 0, 0, 0]),
        annotate(11, 4, 2, None, bbox=[3, 3, 0, 8]),
        annotate(12, 0, 2, [square, [5, 5], [1, 1, 2, 2]]),
    ]
    del value['annotations'][10]['segmentation']
    save(source, mine=value)
    result = converted('coco', source)
    assert 'warning: 5 annotations hold no pixel' in result.printed
    assert 'warning: 2 parts of outlines have fewer than three points and are left out' in result.printed
    cells = result.cells()
    assert len(cells['images/deep/b.tif']) == 1
    assert same_cells(cells['images/c.tif'], [(1, 0, cells['images/deep/b.tif'][0].mask)])


def test_boxes_without_outlines_are_refused(source, refused):
    value = content()
    value['annotations'] += [annotate(number, 4, 2, [], bbox=[2, 2, 9, 9]) for number in (7, 8)]
    save(source, mine=value)
    assert 'mine.json: annotation 7 (and 1 more) has a box only, no outline' in refused('coco', source)


def test_crowds(source, converted, refused):
    """CVAT marks what is drawn with a brush as crowds, which are not learned."""
    value = content()
    for annotation in value['annotations']:
        annotation['iscrowd'] = 1
    save(source, mine=value)
    line = refused('coco', source)
    assert 'mine.json: marks all 6 annotations as crowds (iscrowd 1), as CVAT' in line
    cure = line.partition('single cells: ')[2]
    assert cure.startswith('sed -i ') and cure.endswith(' mine.json')
    subprocess.run(cure, shell=True, check=True, cwd=source / 'annotations')
    assert 'tumour 3, stroma 3' in converted('coco', source).printed
    value['annotations'][0]['iscrowd'] = 0
    save(source, mine=value)
    result = converted('coco', source, out='mixed')
    assert 'warning: 5 of 6 annotations of mine.json are crowds (iscrowd 1), as CVAT' in result.printed


def roboflow(root: Path, project: str = 'cells', **parts: dict) -> None:
    """Folders as Roboflow exports them: a json of one name between the images of each part."""
    for index, (part, value) in enumerate(parts.items()):
        (root / part).mkdir(parents=True)
        for image in value['images']:
            image['file_name'] = f'{image["id"]}_tif.rf.{index}.tif'
            tifffile.imwrite(root / part / image['file_name'], np.full((*SIZE, 3), index, np.uint8))
        parent = {'id': 0, 'name': project, 'supercategory': 'none'}
        children = [{**category, 'supercategory': project} for category in value['categories']]
        (root / part / '_annotations.coco.json').write_text(json.dumps({**value, 'categories': [parent, *children]}))


@pytest.mark.parametrize(
    'names', [('train', 'valid', 'test'), ('Train', 'Validation', 'Test'), ('training', 'val', 'testing')]
)
def test_a_folder_for_each_part(tmp_path, converted, names):
    root = tmp_path / 'source'
    roboflow(root, **dict(zip(names, (part({30, 0}), part({4}), part({17})))))
    result = converted('coco', root)
    assert result.files('train') == [f'{names[0]}/0_tif.rf.0.tif', f'{names[0]}/30_tif.rf.0.tif']
    assert result.files('val') == [f'{names[1]}/4_tif.rf.1.tif']
    assert result.files('test') == [f'{names[2]}/17_tif.rf.2.tif']
    assert result.classes == ['tumour', 'stroma']
    assert "the category 'cells' has no cells and is the supercategory of others: it is left out" in result.printed


def test_a_project_that_is_called_like_its_class(tmp_path, converted):
    roboflow(tmp_path / 'source', project='tumour', train=part({30, 4}))
    assert converted('coco', tmp_path / 'source').classes == ['tumour', 'stroma']


def test_a_part_of_its_own(tmp_path, converted):
    roboflow(tmp_path / 'source', train=part({30, 4}))
    assert converted('coco', tmp_path / 'source' / 'train').classes == ['tumour', 'stroma']
    renamed = converted('coco', tmp_path / 'source', '--classes', 'a', 'b', out='renamed')
    assert (renamed.files(), renamed.classes) == (['train/30_tif.rf.0.tif', 'train/4_tif.rf.0.tif'], ['a', 'b'])


def test_a_parent_with_cells_is_a_class(source, converted):
    value = content()
    value['categories'][0]['supercategory'] = 'tumour'
    save(source, mine=value)
    assert converted('coco', source).classes == ['tumour', 'stroma']


def test_json_files_and_images_that_are_not_read_are_named(source, converted):
    save(source, train=part({30, 0}), val=part({4}), extra=content())
    printed = converted('coco', source).printed
    assert 'warning: 2 files of the source are not read: annotations/extra.json, images/d.tif' in printed
