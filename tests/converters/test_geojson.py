"""GeoJSON as QuPath writes it, and our own export back again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from scipy import ndimage

from mmcell.converters import convert
from mmcell.converters.geojson import Geojson
from mmcell.io.output_names import unique_stems
from mmcell.structures.rle import encode_label_map

SIZE = (40, 50)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]


def box(x1: float, y1: float, x2: float, y2: float) -> list[list[float]]:
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]


def mask(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    return (COLUMNS + 0.5 >= x1) & (COLUMNS + 0.5 < x2) & (ROWS + 0.5 >= y1) & (ROWS + 0.5 < y2)


def feature(*rings: list, of: object = 'Tumor', kind: str = 'annotation', **properties: object) -> dict:
    geometry = {'type': 'Polygon', 'coordinates': list(rings)}
    classification = {'name': of, 'color': [200, 0, 0]} if isinstance(of, str) else of
    properties = {'objectType': kind, 'isLocked': True, 'measurements': {'Area': 1.5}, **properties}
    if classification is not None:
        properties['classification'] = classification
    return {'type': 'Feature', 'id': 'f9b6', 'geometry': geometry, 'properties': properties}


def collection(*features: dict) -> dict:
    return {'type': 'FeatureCollection', 'features': list(features)}


def png(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.full((*size, 3), 200, np.uint8)))


@pytest.fixture
def source(tmp_path) -> Path:
    png(tmp_path / 'source/a.png')
    return tmp_path / 'source'


@pytest.fixture
def write(source):
    def write(document: object, name: str = 'a.geojson') -> None:
        (source / name).write_text(json.dumps(document))

    return write


# ---- what comes back ------------------------------------------------------------------------------------------------


def random_plane(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Cells that touch, in parts and with holes, down to single pixels: blobs of noise with noise cut out."""
    smooth = ndimage.gaussian_filter(rng.normal(size=size), 2)
    cells, _ = ndimage.label(smooth > np.quantile(smooth, 0.6))
    cells[rng.random(size) < 0.1] = 0
    return np.where(cells > 0, 1 + cells % 23, 0).astype(np.int32)


@pytest.mark.parametrize('seed', range(4))
def test_our_export_comes_back_pixel_for_pixel(seed, tmp_path, tool, converted, same_cells):
    """Results -> export -> convert: the same masks and classes, images in folders and all."""
    rng = np.random.default_rng(seed)
    names = {1: 'train/1/image.png', 2: 'plain.png', 3: 'dots.in.name.png'}
    classes = ('b', 'a', 'c')
    images, results, expected = [], [], {}
    for number, name in names.items():
        size = tuple(rng.integers(30, 60, 2).tolist())
        png(tmp_path / 'source/images' / name, size)
        images.append({'id': number, 'file_name': name, 'height': size[0], 'width': size[1]})
        plane = random_plane(rng, size)
        instances = encode_label_map(plane)
        labels = rng.integers(1, 4, len(instances.ids)).tolist()
        expected[f'images/{name}'] = [(label, 0, plane == i) for i, label in zip(instances.ids, labels)]
        results += [
            {'image_id': number, 'category_id': label, 'score': 0.9, 'bbox': bounds, 'segmentation': rle}
            for label, bounds, rle in zip(labels, instances.boxes.tolist(), instances.rles)
        ]
    categories = [{'id': number, 'name': name} for number, name in enumerate(classes, start=1)]
    (tmp_path / 'images.json').write_text(json.dumps({'images': images, 'categories': categories}))
    (tmp_path / 'results.json').write_text(json.dumps(results))
    arguments = ('--to', 'geojson', '--images', tmp_path / 'images.json', '--out', tmp_path / 'source/geojson')
    assert tool('export', tmp_path / 'results.json', *arguments).status == 0
    result = converted('geojson', tmp_path / 'source', '--classes', *classes)
    cells = result.cells()
    assert cells.keys() == expected.keys() and result.classes == list(classes)
    for name in expected:
        assert same_cells(cells[name], expected[name])


def test_polygons_at_fractions_of_pixels(write, source, converted, same_cells):
    """By the centers of pixels; holes and parts; what leaves the image is cut off and counted."""
    parts = {'type': 'MultiPolygon', 'coordinates': [[box(30.5, 30.2, 33, 33)], [box(40, 35, 60.7, 80)]]}
    features = [
        feature(box(2.49, 3.51, 12.5, 20), box(5, 6, 8.7, 9.2), kind='detection'),
        {**feature(of='Stroma'), 'geometry': parts},
        feature(box(60, 60, 70, 70)),
        feature(box(20.6, 20.6, 21.4, 21.4)),
    ]
    write(collection(*features))
    result = converted('geojson', source)
    expected = [
        (2, 0, mask(2.49, 3.51, 12.5, 20) & ~mask(5, 6, 8.7, 9.2)),
        (1, 0, mask(30.5, 30.2, 33, 33) | mask(40, 35, 60.7, 80)),
    ]
    assert result.classes == ['Stroma', 'Tumor'] and same_cells(result.cells()['a.png'], expected)
    assert '1 outlines reach beyond their image' in result.printed
    assert '2 annotations hold no pixel' in result.printed


@pytest.mark.parametrize(
    'form',
    [
        lambda features: {'type': 'FeatureCollection', 'features': features, 'crs': None},
        lambda features: features,
        lambda features: [feature['geometry'] for feature in features],
        lambda features: {'type': 'GeometryCollection', 'geometries': [one['geometry'] for one in features]},
        lambda features: features[0] | {'properties': {'childObjects': features[1:]}},
    ],
)
def test_every_form_of_document(form, write, source, converted):
    write(form([feature(box(1, 1, 5, 5), of=None), feature(box(7, 7, 9, 9), of=None)]))
    cells = converted('geojson', source).cells()['a.png']
    assert np.array_equal(np.any([cell.mask for cell in cells], axis=0), mask(1, 1, 5, 5) | mask(7, 7, 9, 9))


def test_one_feature_and_none(write, source, converted, same_cells):
    png(source / 'b.png')
    write(feature(box(1, 1, 5, 5)))
    write(collection(), 'b.geojson')
    result = converted('geojson', source)
    assert same_cells(result.cells()['a.png'], [(1, 0, mask(1, 1, 5, 5))]) and result.cells()['b.png'] == []


@pytest.mark.parametrize(
    ('classification', 'name'),
    [
        ('Tumor: Positive', 'Tumor: Positive'),
        ('Tumor:Positive', 'Tumor: Positive'),
        ({'name': 'Tumor: Positive', 'color': [1, 2, 3]}, 'Tumor: Positive'),
        ({'names': ['Tumor', 'Positive'], 'color': [1, 2, 3]}, 'Tumor: Positive'),
        ({'name': 'Positive', 'parentClass': {'name': 'Tumor', 'colorRGB': -1}, 'colorRGB': -2}, 'Tumor: Positive'),
        ({'name': 'Immune cells', 'colorRGB': -6895466}, 'Immune cells'),
    ],
)
def test_every_way_to_write_a_class(classification, name, write, source, converted):
    write(collection(feature(box(1, 1, 5, 5), of=classification)))
    assert converted('geojson', source).classes == [name]


def test_derived_classes_count_as_the_nearest_that_is_named(write, source, converted):
    names = ['Tumor: Positive: 3+', 'Tumor: Negative', 'Tumor', 'Stroma']
    write(collection(*(feature(box(x, 1, x + 4, 5), of=name) for x, name in zip(range(0, 50, 6), names))))
    result = converted('geojson', source, '--classes', 'Stroma', 'Tumor', 'Tumor: Positive')
    assert sorted(cell.category for cell in result.cells()['a.png']) == [1, 2, 2, 3]
    assert "1 cells of the class 'Tumor: Negative' count as 'Tumor'" in result.printed
    assert "1 cells of the class 'Tumor: Positive: 3+' count as 'Tumor: Positive'" in result.printed


def test_objects_without_a_class(write, source, converted, refused):
    write(collection(feature(box(1, 1, 5, 5), of=None), feature(box(9, 9, 15, 15), of={})))
    assert converted('geojson', source, out='none').classes == ['cell']
    assert converted('geojson', source, '--classes', 'nucleus', out='named').classes == ['nucleus']
    assert 'a.geojson: has object 1 without a class' in refused('geojson', source, '--classes', 'a', 'b')
    write(collection(feature(box(1, 1, 5, 5)), feature(box(9, 9, 15, 15), of=None)))
    assert 'a.geojson: has object 2 without a class' in refused('geojson', source)
    assert len(converted('geojson', source, '--classes', 'Tumor', out='all').cells()['a.png']) == 2
    assert "object 1 of the class 'Tumor'" in refused('geojson', source, '--classes', 'Stroma')


def test_nuclei_of_cells(write, source, tmp_path, converted, same_cells):
    nucleus = {'nucleusGeometry': {'type': 'Polygon', 'coordinates': [box(3, 3, 6, 6)]}}
    write(collection(feature(box(1, 1, 9, 9), kind='cell') | nucleus, feature(box(20, 20, 29, 29), kind='cell')))
    result = converted('geojson', source)
    assert same_cells(result.cells()['a.png'], [(1, 0, mask(3, 3, 6, 6)), (1, 0, mask(20, 20, 29, 29))])
    assert '1 cells have a nucleus: its outline is used' in result.printed
    conversion = convert(Geojson(source, nuclei=False), tmp_path / 'whole', workers=1)
    assert conversion.records['a.png'].instances[1].areas.tolist() == [64, 81]


def test_what_is_left_out_is_counted(write, source, converted, same_cells):
    point = feature() | {'geometry': {'type': 'Point', 'coordinates': [3, 4]}}
    line = feature() | {'geometry': {'type': 'LineString', 'coordinates': [[3, 4], [5, 6]]}}
    deep = feature(box(1, 1, 5, 5))
    deep['geometry']['plane'] = {'c': -1, 'z': 3, 't': 0}
    flat = feature(box(1, 30, 5, 35))
    flat['geometry']['plane'] = {'c': 2, 'z': 0, 't': 0}
    left_out = [
        point,
        line,
        deep,
        feature() | {'geometry': None},
        feature(box(0, 0, 8, 8), kind='tile'),
        feature(box(0, 0, 40, 40), kind='tmaCore'),
        feature(box(30, 30, 38, 38), of='Ignore*'),
        feature(box(1, 30, 5, 35)),
    ]
    write(collection(flat, *left_out))
    result = converted('geojson', source)
    assert same_cells(result.cells()['a.png'], [(1, 0, mask(1, 30, 5, 35))])
    for line in (
        '2 objects are points or lines',
        '1 objects lie on another plane',
        '1 objects have no outline',
        '2 objects are tiles or TMA cores',
        '1 objects are of a class that QuPath ignores',
        '1 cells appear twice',
    ):
        assert f'warning: {line}' in result.printed


def test_regions_in_which_cells_were_looked_for(write, source, converted):
    """A rectangle round cells is none; a cell that overlaps another, or holds one of its own kind, is one."""
    cells = [feature(box(x, 5, x + 5, 10), kind='detection') for x in (3, 10, 17)]
    regions = [feature(box(1, 1, 30, 20)), feature(box(2, 4, 9, 11), of=None)]
    others = [feature(box(20, 8, 28, 12), of='Stroma'), feature(box(9, 4, 16, 11), of='Stroma')]
    write(collection(*regions, *cells, *others))
    result = converted('geojson', source)
    assert sorted(cell.category for cell in result.cells()['a.png']) == [1, 1, 2, 2, 2]
    assert '2 annotations contain other objects' in result.printed


# ---- which belongs to which -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('image', 'document'),
    [
        ('a.png', 'a.geojson'),
        ('a.png', 'a.png.geojson'),
        ('a.png', 'a.json'),
        ('a.png', 'a.geojson.gz'),
        ('a.ome.png', 'a.geojson'),
        ('x/y/a.png', 'x/y/a.geojson'),
        ('x/y/a.png', 'x_y_a.geojson'),
        ('images/y/a.png', 'out/y_a.geojson'),
        ('images/a b.png', 'out/a b.geojson'),
    ],
)
def test_pairs(image, document, tmp_path, converted):
    source = tmp_path / 'pairs'
    png(source / image)
    data = json.dumps(collection(feature(box(1, 1, 5, 5)))).encode()
    (source / document).parent.mkdir(parents=True, exist_ok=True)
    (source / document).write_bytes(gzip.compress(data) if document.endswith('.gz') else data)
    for leftover in ('._a.geojson', '__MACOSX/a.geojson', '.ipynb_checkpoints/a.geojson'):
        (source / leftover).parent.mkdir(exist_ok=True)
        (source / leftover).write_text('no json')
    assert len(converted('geojson', source).cells()[image]) == 1


def test_names_of_our_exports(tmp_path, converted):
    """Of images whose names clash, in folders, too long, or not fit for every file system."""
    names = ['a/b.png', 'a_b.png', 'c.png', 'c.tif', 'C.png', f'{"long" * 40}.png', 'what?.png', 'x/y/z.png']
    paths = [f'images/{name}' for name in names]
    for stem, name, number in zip(unique_stems(names), names, range(len(names))):
        png(tmp_path / 'source/images' / name)
        document = collection(feature(box(1, 1, 5 + number, 5)))
        (tmp_path / f'source/{stem}.geojson').write_text(json.dumps(document))
    cells = converted('geojson', tmp_path / 'source').cells()
    assert cells.keys() == set(paths)
    assert [cells[path][0].mask.sum() for path in paths] == [4 * (4 + number) for number in range(len(names))]


def test_two_images_of_one_name(write, source, converted, refused):
    (source / 'a.jpg').write_bytes(imagecodecs.jpeg8_encode(np.full((*SIZE, 3), 99, np.uint8)))
    write(collection(feature(box(1, 1, 5, 5))))
    assert 'a.geojson: may belong to a.jpg, a.png' in refused('geojson', source)
    (source / 'a.geojson').rename(source / 'a.jpg.geojson')
    assert converted('geojson', source).files() == ['a.jpg']


def test_what_has_no_partner_is_named(write, source, converted, refused):
    png(source / 'b.png')
    write({'not': 'ours'}, 'notes.json')
    write(collection(feature(box(1, 1, 5, 5))))
    result = converted('geojson', source, out='first')
    assert result.files() == ['a.png']
    assert 'warning: 1 images have no annotations and are left out: b.png' in result.printed
    assert 'warning: 1 json files are not named after an image and are skipped: notes.json' in result.printed
    write(collection(), 'c.geojson')
    assert 'c.geojson: has no image' in refused('geojson', source)
    (source / 'c.geojson').unlink()
    write(collection(), 'a.png.geojson')
    assert 'belongs to a.png, as does a.geojson' in refused('geojson', source)


def test_no_geojson(source, refused):
    assert 'holds no image with a GeoJSON' in refused('geojson', source)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('document', 'words'),
    [
        ({'shapes': []}, 'is not GeoJSON'),
        ('text', 'is not GeoJSON'),
        ({'type': 'FeatureCollection'}, 'is not GeoJSON'),
        (collection({'type': 'Sphere'}), 'is not GeoJSON'),
        (collection(feature(box(1, 1, float('nan'), 5))), 'object 1 with a coordinate that is not a pixel'),
        (collection(feature(box(1, 1, 1e300, 5))), 'object 1 with a coordinate that is not a pixel'),
        (collection(feature(box(1, 1, 10**400, 5))), 'object 1 with an outline that is not a list of points'),
        (collection(feature([['1', '2'], ['3', '4']])), 'object 1 with an outline that is not a list of points'),
        (collection(feature([[1, 2], [3]])), 'object 1 with an outline that is not a list of points'),
        (collection(feature(box(1, 1, 5, 5)), feature(3)), 'object 2 with an outline that is not a list of points'),
        (collection(feature() | {'geometry': {'type': 'Polygon'}}), 'object 1 with the geometry'),
        (collection(feature() | {'geometry': {'type': 'Cube', 'coordinates': []}}), 'object 1 with the geometry'),
        (collection(feature(box(1, 1, 5, 5), of=5)), 'object 1 with the classification 5'),
        (collection(feature(box(1, 1, 5, 5), of={'names': [None]})), 'object 1 with the classification'),
        (collection(feature(box(1, 1, 5, 5), of='a\nb')), 'object 1 with the classification'),
        (collection({**feature(), 'properties': 'x' * 1000}), 'object 1 with the properties'),
        (collection(feature(box(1, 1, 5, 5), childObjects=7)), 'the child objects 7'),
    ],
)
def test_broken_documents(document, words, write, source, refused):
    write(document)
    line = refused('geojson', source)
    assert 'a.geojson: ' in line and words in line and len(line) <= 300 + len(str(source))


@pytest.mark.parametrize('data', [b'', b'x', gzip.compress(b'[]')[:-6], gzip.compress(b'no json')])
def test_broken_gzip(data, source, refused):
    (source / 'a.geojson.gz').write_bytes(data)
    assert 'a.geojson.gz: ' in refused('geojson', source)
