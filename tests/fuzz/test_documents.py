"""JSON and RLE from outside: annotations, results, submissions, lists of images, logs."""

from __future__ import annotations

import base64
import copy
import io
import json
import math
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmcell.coco.submission import RESULTS_NAME, validate_submission
from mmcell.converters import convert
from mmcell.converters.class_tiff import ClassTiff
from mmcell.converters.coco import Coco
from mmcell.converters.geojson import Geojson
from mmcell.converters.labelme import Labelme
from mmcell.errors import InputError
from mmcell.io.files import read_json, relative_name
from mmcell.structures.rle import decode, encode_label_map

SIZE = (24, 31)
PLANE = np.zeros(SIZE, dtype=np.int32)
PLANE[2:9, 3:12], PLANE[12:20, 4:10], PLANE[5:22, 15:28], PLANE[0:2, 29:31] = 1, 2, 3, 4
CELLS = encode_label_map(PLANE)


def truth() -> dict[str, Any]:
    """Two images with cells as RLE, polygons and uncompressed RLE, and a crowd."""
    images = [{'id': n, 'file_name': f'sub/{n}.png', 'height': SIZE[0], 'width': SIZE[1]} for n in (1, 2)]
    annotations = []
    for index, (box, area, rle) in enumerate(zip(CELLS.boxes.tolist(), CELLS.areas.tolist(), CELLS.rles)):
        for image in (1, 2):
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image,
                    'category_id': 1 + index % 2,
                    'bbox': box,
                    'area': area,
                    'iscrowd': int(index == 3),
                    'segmentation': dict(rle),
                }
            )
    annotations[0]['segmentation'] = [[3.0, 2.0, 12.0, 2.0, 12.0, 9.0, 3.0, 9.0]]
    annotations[1]['segmentation'] = {'size': list(SIZE), 'counts': [100, 30, SIZE[0] * SIZE[1] - 130]}
    categories = [{'id': 1, 'name': 'one'}, {'id': 2, 'name': 'two'}]
    return {'info': {'channel_order': 'rgb'}, 'images': images, 'categories': categories, 'annotations': annotations}


def results() -> list[dict[str, Any]]:
    found = []
    for image in (1, 2):
        for index, (box, rle) in enumerate(zip(CELLS.boxes.tolist(), CELLS.rles)):
            score = 0.9 - 0.1 * index
            found.append(
                {
                    'image_id': image,
                    'bbox': box,
                    'score': score,
                    'category_id': 1 + index % 2,
                    'segmentation': dict(rle),
                }
            )
    return found


LISTING = [{'file_name': f'{name}.png', 'id': n, 'height': SIZE[0], 'width': SIZE[1]} for n, name in enumerate('ab', 1)]

DEEP = '[' * 100_000


class Raw:
    """Text that goes into the JSON as it is."""

    def __init__(self, text: str) -> None:
        self.text = text


NASTY: list[Any] = [
    None, True, False, 0, 1, 2, -1, -(2**31), 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 10**400,
    0.5, -0.5, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf,
    '', 'x', '1', '\0', '\ud800', 'ä\n\u2028', '../..', '../../../../etc/passwd', '/etc/passwd', 'C:\\x', '.', '..',
    'x' * 5000, '</script><script>alert(1)</script>', '%s%n{0}', ';o0000', 'PPYo0', 'o' * 200, 'ooooooO' * 50,
    [], {}, [[]], [[[]]], [None], [1], [1, 2], [0, 0, 0, 0], [1e308] * 4, [math.nan] * 4, [-1, -1, -1, -1], [[0] * 6],
    [[1e9, 0, 1e9, 1e9, 0, 1e9]], [[math.nan] * 6], [['a'] * 6], [[0, 0, 5, 5]], [[2**63] * 6], [[0] * 7],
    {'size': [24, 31], 'counts': ''}, {'size': [24, 31], 'counts': [744]}, {'size': [24, 31], 'counts': [2**32, 1]},
    {'size': [24, 31], 'counts': [-1, 745]}, {'size': [2**31, 2**31], 'counts': [2**62]}, {'size': [24, 31]},
    {'size': [24.0, 31.0], 'counts': [744]}, {'size': None, 'counts': None}, {'size': [24, 31], 'counts': [[1]]},
    {'counts': 'x'}, Raw('1' * 5000), Raw('[' * 5000 + ']' * 5000), Raw('1e999'), Raw('-0'), Raw('NaN'),
    Raw('{"a":1,"a":2}'),
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys."""
    found = []
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found += [(value, key), *places(value[key])]
    return found


def damage(value: Any, rng: np.random.Generator) -> str:
    """The document as JSON, with a few of its parts replaced, removed, doubled or swapped."""
    value = {'': json.loads(json.dumps(value))}
    raws = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        spots = places(value)
        container, key = spots[int(rng.integers(len(spots)))]
        match int(rng.integers(6)):
            case 0 if len(container) > 1:
                del container[key]
            case 1 if isinstance(container, list):
                container.append(container[key])
            case 2:
                other, name = spots[int(rng.integers(len(spots)))]
                container[key] = json.loads(json.dumps(other[name]))
            case _:
                nasty = copy.deepcopy(NASTY[int(rng.integers(len(NASTY)))])
                if isinstance(nasty, Raw):
                    raws.append(nasty.text)
                    nasty = f'RAW{len(raws) - 1}'
                container[key] = nasty
    text = json.dumps(value.get('', {}))
    for index, raw in enumerate(raws):
        text = text.replace(f'"RAW{index}"', raw)
    return text


def write_images(folder: Path) -> None:
    (folder / 'images/sub').mkdir(parents=True)
    for name in ('sub/1', 'sub/2', 'a', 'b'):
        (folder / 'images' / f'{name}.png').write_bytes(imagecodecs.png_encode(np.full((*SIZE, 3), 200, np.uint8)))


# ---- what is done with each kind of document, and what must hold if it is accepted ----------------------------------


def check_scores(numbers: dict[str, float]) -> None:
    # Alone the bias of counts has a sign, and no upper bound.
    ratios = [value for name, value in numbers.items() if name != 'count_bias']
    assert ratios and all(math.isnan(value) or 0 <= value <= 1 for value in ratios)


def evaluate(truth_json: Path, results_json: Path) -> None:
    from mmcell.evaluation import confusion_matrix, evaluate_cells, evaluate_coco

    predicted = read_json(results_json)
    check_scores(evaluate_coco(truth_json, predicted).as_dict())
    check_scores(evaluate_coco(truth_json, predicted, 'bbox', backend='pycocotools').as_dict())
    check_scores(evaluate_cells(truth_json, predicted, 'auto').as_dict())
    assert (confusion_matrix(truth_json, predicted, 0.3) >= 0).all()


def submit(images_json: Path, results_json: Path) -> None:
    assert validate_submission(results_json, images_json) == len(json.loads(results_json.read_bytes()))


def report(truth_json: Path, results_json: Path) -> None:
    from mmcell.report.export import TARGETS, export_results
    from mmcell.report.page import write_report

    write_images(truth_json.parent)
    work = truth_json.parent
    predicted = read_json(results_json)
    for target in TARGETS:
        for path in export_results(predicted, truth_json, work / target, target):
            assert path.resolve().is_relative_to((work / target).resolve()) and path.is_file()
    html = write_report(predicted, work / 'x.html', truth=truth_json, image_root=work / 'images').read_text()
    assert '<script>alert' not in html and html.count('<script') == html.count('</script>')


def train(truth_json: Path, results_json: Path) -> None:
    from mmcell.datasets.cell_dataset import CellDataset
    from mmcell.datasets.loading_masks import LoadCellAnnotations

    dataset = CellDataset(
        ann_file=str(truth_json), data_prefix=dict(img=str(truth_json.parent / 'images')), pipeline=[]
    )
    load = LoadCellAnnotations(with_bbox=True, with_mask=True)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert Path(info['img_path']).resolve().is_relative_to(truth_json.parent / 'images')
        loaded = load.transform({**info, 'ori_shape': SIZE})
        cells = len(loaded['gt_bboxes_labels'])
        assert len(loaded['gt_masks']) == len(loaded['gt_bboxes']) == len(loaded['gt_ignore_flags']) == cells
        assert loaded['gt_bboxes'].tensor.isfinite().all()


def convert_coco(truth_json: Path, results_json: Path) -> None:
    source, out = truth_json.parent / 'source', truth_json.parent / 'out'
    write_images(source)
    truth_json.rename(source / 'all.json')
    check_conversion(Coco, source, out)


def convert_listing(listing: Path, _: Path) -> None:
    source = listing.parent / 'source'
    write_images(source)
    (source / 'images').rename(source / 'test_release')
    (source / 'test_release/sub/1.png').unlink()
    (source / 'test_release/sub/2.png').unlink()
    (source / 'test_release/sub').rmdir()
    folder = source / 'train/one'
    folder.mkdir(parents=True)
    png = imagecodecs.png_encode(PLANE.astype(np.uint8))
    (folder / 'image.tif').write_bytes(png)
    (folder / 'class1.tif').write_bytes(png)
    listing.rename(source / 'test_image_name_to_ids.json')
    check_conversion(ClassTiff, source, listing.parent / 'out')


def geojson() -> dict[str, Any]:
    """What QuPath writes: an annotation with a hole and a part, a cell with a nucleus, a class derived from another."""
    parts = [[[[3, 2], [12.5, 2], [12, 9], [3, 2]], [[5, 4], [8, 4], [8, 6], [5, 4]]], [[[20, 1], [25, 1], [25, 9]]]]
    classification = {'name': 'Positive', 'parentClass': {'name': 'Tumor', 'colorRGB': -1}, 'colorRGB': -2}
    annotation = {
        'type': 'Feature',
        'id': 'b6',
        'geometry': {'type': 'MultiPolygon', 'coordinates': parts, 'plane': {'c': -1, 'z': 0, 't': 0}},
        'properties': {'objectType': 'annotation', 'classification': classification, 'childObjects': []},
    }
    cell = {
        'type': 'Feature',
        'geometry': {'type': 'Polygon', 'coordinates': [[[3, 12], [12, 12], [12, 19]]]},
        'nucleusGeometry': {'type': 'Polygon', 'coordinates': [[[5, 13], [8, 13], [8, 15]]]},
        'properties': {'objectType': 'cell', 'classification': {'names': ['Tumor', 'Positive'], 'color': [1, 2, 3]}},
    }
    return {'type': 'FeatureCollection', 'features': [annotation, cell, annotation | {'id': 'c7'}]}


def labelme() -> dict[str, Any]:
    """Shapes of every kind."""
    mask = base64.b64encode(imagecodecs.png_encode((PLANE[:9, :12] > 0).astype(np.uint8))).decode()
    shapes = [
        {'label': 'a', 'points': [[3, 2], [12.5, 2], [12, 9]], 'shape_type': 'polygon', 'group_id': 1, 'flags': {}},
        {'label': 'a', 'points': [[15, 3], [20, 8]], 'shape_type': 'rectangle', 'group_id': 1},
        {'label': 'b', 'points': [[15, 13], [20, 18]], 'shape_type': 'circle', 'group_id': None},
        {'label': 'b', 'points': [[0, 2], [12, 11]], 'shape_type': 'mask', 'mask': mask},
        {'label': 'b', 'points': [[0, 2]], 'shape_type': 'point'},
    ]
    return {'shapes': shapes, 'imagePath': 'a.png', 'imageHeight': SIZE[0], 'imageWidth': SIZE[1], 'imageData': None}


def convert_drawn(layout: type, name: str, document: Path, _: Path) -> None:
    source = document.parent / 'source'
    write_images(source)
    document.rename(source / 'images' / name)
    try:
        check_conversion(layout, source / 'images', document.parent / 'out')
    except InputError as error:
        assert len(f'{error.problem}; {error.cure}') <= 250
        raise


def check_conversion(layout: type, source: Path, out: Path) -> None:
    """All or nothing is written, every mask is its image's, every box its mask's, every image in the source."""
    try:
        convert(layout(source), out, workers=1)
    except Exception:
        assert not out.exists()
        raise
    for path in (out / 'annotations').iterdir():
        content = json.loads(path.read_bytes())
        sizes = {image['id']: [image['height'], image['width']] for image in content['images']}
        assert len(sizes) == len(content['images'])
        for image in content['images']:
            assert (out / 'images' / image['file_name']).resolve().is_relative_to(source.resolve())
        for cell in content['annotations']:
            assert cell['segmentation']['size'] == sizes[cell['image_id']]
            assert coco_mask.toBbox(cell['segmentation']).tolist() == cell['bbox']
            assert coco_mask.area(cell['segmentation']) == cell['area'] > 0


#: What is damaged, and what reads it.
READERS: dict[str, tuple[Callable[[], Any], Callable[[Path, Path], None], int]] = {
    'truth, evaluated': (truth, evaluate, 300),
    'results, evaluated': (results, evaluate, 300),
    'results, submitted': (results, submit, 400),
    'list of images, submitted to': (truth, submit, 300),
    'results, in a report': (results, report, 150),
    'truth, in a report': (truth, report, 200),
    'truth, to train on': (truth, train, 300),
    'truth, converted': (truth, convert_coco, 300),
    'GeoJSON, converted': (geojson, partial(convert_drawn, Geojson, 'a.geojson'), 400),
    'labelme json, converted': (labelme, partial(convert_drawn, Labelme, 'a.json'), 400),
    'list of test images': (lambda: LISTING, convert_listing, 250),
}


def read(kind: str, text: bytes, work: Path) -> None:
    make, reader, _ = READERS[kind]
    good = {'truth.json': json.dumps(truth()).encode(), 'results.json': json.dumps(results()).encode()}
    good['results.json' if make is results else 'truth.json'] = text
    for name, content in good.items():
        (work / name).write_bytes(content)
    reader(work / 'truth.json', work / 'results.json')


@pytest.fixture(scope='module', autouse=True)
def imports(tmp_path_factory):
    """What is imported late is imported before any process forks, and not in each."""
    for make, reader in {(make, reader) for make, reader, _ in READERS.values()}:
        work = tmp_path_factory.mktemp('documents')
        name = 'results.json' if make is results else 'truth.json'
        for each, content in (('truth.json', truth()), ('results.json', results()), (name, make())):
            (work / each).write_text(json.dumps(content))
        reader(work / 'truth.json', work / 'results.json')


def test_the_whole_documents_are_correct(fuzz):
    for kind, (make, _, _) in READERS.items():
        assert fuzz('documents', 1, lambda rng, work, k=kind, m=make: read(k, json.dumps(m()).encode(), work)) == {
            'correct': 1
        }, kind


@pytest.mark.slow
@pytest.mark.parametrize('kind', READERS)
def test_damaged_documents(fuzz, kind):
    make, _, cases = READERS[kind]
    fuzz(kind, cases, lambda rng, work: read(kind, damage(make(), rng).encode(), work))


@pytest.mark.slow
@pytest.mark.parametrize('kind', READERS)
def test_broken_bytes_of_documents(fuzz, mutate, kind):
    make, _, cases = READERS[kind]
    data = json.dumps(make()).encode()
    fuzz(f'{kind}, broken bytes', cases // 2, lambda rng, work: read(kind, mutate(data, rng), work))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(['images', 'categories', 'annotations', 'id', 'image_id', 'segmentation', 'size', 'counts']),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('kind', READERS)
def test_documents_of_any_shape(fuzz, kind):
    tally = fuzz.given(
        'documents of any shape', 60, JSON, lambda value, work: read(kind, json.dumps(value).encode(), work)
    )
    assert tally['refused'] > 20


HOSTILE = {
    'nested a hundred thousand times': b'[' * 100_000,
    'nested and closed': b'[' * 100_000 + b']' * 100_000,
    'objects in objects': b'{"a":' * 100_000,
    'a number of a million digits': b'1' * 1_000_000,
    'a fraction of a million digits': b'0.' + b'1' * 1_000_000,
    'nothing': b'',
    'zeros': bytes(100),
    'bytes that are no text': b'\xff\xfe\xfa',
}


@pytest.mark.parametrize('name', HOSTILE)
@pytest.mark.parametrize('kind', ['truth, evaluated', 'results, submitted', 'truth, converted'])
def test_hostile_json(fuzz, kind, name):
    assert fuzz('hostile JSON', 1, lambda rng, work: read(kind, HOSTILE[name], work)) == {'refused': 1}


def test_too_large_json(fuzz):
    def case(rng: np.random.Generator, work: Path) -> None:
        with (work / 'x.json').open('wb') as file:
            file.truncate(2**40)  # takes no space on the disk
        read_json(work / 'x.json')

    assert fuzz('hostile JSON', 1, case) == {'refused': 1}


# ---- RLE ------------------------------------------------------------------------------------------------------------

COUNTS = [rle['counts'] for rle in CELLS.rles]


def check_rle(counts: Any, size: tuple[int, int] = SIZE) -> None:
    """What we accept must be what pycocotools decodes."""
    rle = {'size': list(size), 'counts': counts}
    try:
        runs = decode([rle], size)
    except ValueError as error:
        raise InputError('rle', str(error), 'mend it') from None
    bitmap = np.zeros(size[::-1], dtype=np.uint8)
    bitmap.reshape(-1)[runs.pixels] = 1
    if isinstance(counts, list):
        rle = coco_mask.frPyObjects(rle, *size)
    assert np.array_equal(coco_mask.decode(rle), bitmap.T)


@pytest.mark.slow
def test_broken_rle(fuzz, mutate):
    def case(rng: np.random.Generator, work: Path) -> None:
        counts = mutate(COUNTS[int(rng.integers(len(COUNTS)))].encode(), rng)
        check_rle(counts if rng.random() < 0.5 else counts.decode('latin-1'))

    fuzz('RLE, broken bytes', 1500, case)


@pytest.mark.slow
def test_any_rle(fuzz):
    codes = st.lists(st.integers(48, 111), max_size=30).map(bytes)
    numbers = st.lists(st.integers(-2, 800) | st.sampled_from([2**31, 2**32, 2**63, 2**64, 10**30]), max_size=6)
    # Half of the lists cover the image.
    pieces = st.lists(st.integers(0, 60), max_size=10)
    numbers |= pieces.map(lambda counts: [*counts, SIZE[0] * SIZE[1] - sum(counts)])
    either = st.binary(max_size=12) | codes | numbers | st.text(max_size=8) | st.lists(JSON, max_size=3)
    fuzz.given('RLE of any kind', 1000, either, lambda value, work: check_rle(value))


def test_counts_that_wrap_around(fuzz):
    """Each fits into 64 bits; their sum is the size of the image but for a multiple of 2^64."""

    def case(rng: np.random.Generator, work: Path) -> None:
        most = 2**34 - 1
        text, total, counts = [], 0, [0, 0, 0]
        while total < 2**64:
            counts.append(counts[-2] + most)
            total += counts[-1]
        total -= counts.pop()
        counts += [0, 0, 0]
        counts[-1] = 2**64 + SIZE[0] * SIZE[1] - total
        for index, count in enumerate(counts):
            number = count - (counts[index - 2] if index > 2 else 0)
            more = True
            while more and len(text) < 10**7:
                digit, number = number & 31, number >> 5
                more = number != (-1 if digit & 16 else 0)
                text.append(48 + digit + 32 * more)
        check_rle(bytes(text))

    assert fuzz('hostile RLE', 1, case) == {'refused': 1}


# ---- submissions ----------------------------------------------------------------------------------------------------


def zipped(content: bytes, name: str = RESULTS_NAME, **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED, **options) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def check_zip(data: bytes, work: Path) -> None:
    (work / 'truth.json').write_text(json.dumps(truth()))
    (work / 'x.zip').write_bytes(data)
    assert validate_submission(work / 'x.zip', work / 'truth.json') == len(results())


@pytest.mark.slow
def test_broken_zips(fuzz, mutate):
    data = zipped(json.dumps(results()).encode())
    fuzz('submission zip, broken bytes', 500, lambda rng, work: check_zip(mutate(data, rng), work))


def bomb() -> bytes:
    """A zip of 800 MB of blanks in 4 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(RESULTS_NAME, 'w') as entry:
            for _ in range(50):
                entry.write(b' ' * 2**24)
    return file.getvalue()


@pytest.mark.slow
def test_zip_bombs(fuzz):
    honest = bomb()
    lying = bytearray(honest)
    at = lying.rfind(b'PK\1\2')
    lying[at + 24 : at + 28] = struct.pack('<I', 100)  # says that it holds 100 bytes
    for data in (honest, bytes(lying)):
        assert fuzz('hostile zips', 1, lambda rng, work, data=data: check_zip(data, work)) == {'refused': 1}


GOOD = json.dumps(results()).encode()
ZIPS = {
    'upwards': zipped(GOOD, '../test-results.json'),
    'absolute': zipped(GOOD, '/test-results.json'),
    'in a folder': zipped(GOOD, 'x/test-results.json'),
    'a name of 60000 letters': zipped(GOOD, 'x' * 60000),
    'nested JSON': zipped(b'[' * 10**6),
    'nothing in it': b'PK\5\6' + bytes(18),
    'no zip': b'PK',
}


@pytest.mark.parametrize('name', ZIPS)
def test_hostile_zips(fuzz, name):
    assert fuzz('hostile zips', 1, lambda rng, work: check_zip(ZIPS[name], work)) == {'refused': 1}


# ---- logs and paths -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_broken_logs(fuzz, mutate):
    from mmcell.report.figures import draw_charts
    from mmcell.report.scalars import read_run

    lines = [{'step': n, 'loss': 1 / n, 'time': 0.1} for n in range(1, 9)] + [{'step': 1, 'segm/mAP_1000': 0.4}]

    def case(rng: np.random.Generator, work: Path) -> None:
        path = work / '1/vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        if rng.random() < 0.5:
            path.write_bytes(mutate('\n'.join(map(json.dumps, lines)).encode(), rng))
        else:
            path.write_bytes('\n'.join(damage(line, rng) for line in lines).encode())
        for chart in draw_charts([read_run(work)]):
            assert chart.startswith('<svg') and 'nan' not in chart and 'inf' not in chart

    fuzz('training logs', 500, case)


@pytest.mark.parametrize(
    'name', ['../x', 'a/../../x', '/etc/passwd', '\\x', '..\\x', '', '.', '..', 'a\0b', '\ud800', None, 3, ['x']]
)
def test_names_that_leave_the_folder(name):
    with pytest.raises(ValueError):
        relative_name(name)


@pytest.mark.parametrize('name', ['x', 'a/b.png', 'a\\b.png', '...', 'a..b', 'ä b'])
def test_names_that_stay_in_the_folder(name):
    assert not relative_name(name).is_absolute()
