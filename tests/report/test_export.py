import csv
import json
import uuid

import numpy as np
import pytest
import shapely
import tifffile

from mmcell.errors import InputError
from mmcell.report.export import COLUMNS, TARGETS, export_results
from mmcell.visualization.palette import class_colour

# Of the results of `dataset`, in their order: all but the last, which scores 0.2.
KEPT = 7


@pytest.fixture
def expected(dataset):
    """(image's file name, class, score, bitmap) of each result above the threshold."""
    names = {image['id']: image['file_name'] for image in dataset.images}
    return [
        (names[result['image_id']], dataset.classes[result['category_id'] - 1], result['score'], bitmap)
        for result, bitmap in list(zip(dataset.results, dataset.bitmaps))
        if result['score'] >= 0.3
    ]


def test_geojson_reads_back_equal(dataset, expected, tmp_path):
    paths = export_results(dataset.results, dataset.truth, tmp_path / 'out', 'geojson')
    assert [path.name for path in paths] == [f'train_{number}_image.geojson' for number in (1, 2, 3)]
    found = []
    for path, image in zip(paths, dataset.images):
        collection = json.loads(path.read_text())
        assert collection['type'] == 'FeatureCollection'
        rows, columns = np.mgrid[: image['height'], : image['width']]
        for feature in collection['features']:
            properties = feature['properties']
            assert properties['objectType'] == 'detection'
            uuid.UUID(feature['id'])
            shape = shapely.from_geojson(json.dumps(feature['geometry']))
            assert shape.is_valid
            classification = properties['classification']
            assert classification['color'] == list(class_colour(dataset.classes.index(classification['name'])))
            bitmap = shapely.contains_xy(shape, columns + 0.5, rows + 0.5)
            assert properties['measurements']['area'] == bitmap.sum()
            found.append((image['file_name'], classification['name'], properties['measurements']['score'], bitmap))
    assert len(found) == KEPT
    assert_same(found, expected)


def assert_same(found, expected):
    def key(cell):
        return cell[:3]

    for one, other in zip(sorted(found, key=key), sorted(expected, key=key), strict=True):
        assert key(one) == key(other)
        assert np.array_equal(one[3], other[3])


def test_geojson_keeps_holes_and_pieces(dataset, tmp_path):
    path = export_results(dataset.results, dataset.truth, tmp_path, 'geojson')[0]
    ring, pieces = (feature['geometry'] for feature in json.loads(path.read_text())['features'][:2])
    assert (ring['type'], len(ring['coordinates'])) == ('Polygon', 2)
    assert (pieces['type'], len(pieces['coordinates'])) == ('MultiPolygon', 2)


def test_same_results_same_bytes(dataset, tmp_path):
    for target in TARGETS:
        first, second = (export_results(dataset.results, dataset.truth, tmp_path / n, target) for n in 'ab')
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_table_reads_back_equal(dataset, expected, tmp_path):
    (path,) = export_results(dataset.results, dataset.truth, tmp_path, 'csv')
    with path.open(newline='') as file:
        table = csv.DictReader(file)
        rows = list(table)
    assert tuple(table.fieldnames) == COLUMNS
    found = sorted((row['image'], row['class'], float(row['score']), int(row['area'])) for row in rows)
    assert found == sorted((*cell[:3], cell[3].sum()) for cell in expected)
    by_hand = next(cell[3] for cell in expected if cell[2] == 0.9)
    row = next(row for row in rows if row['score'] == '0.9')
    ys, xs = np.nonzero(by_hand)
    assert float(row['centroid_x']) == pytest.approx(xs.mean() + 0.5)
    assert float(row['centroid_y']) == pytest.approx(ys.mean() + 0.5)


def test_label_maps_read_back_equal(dataset, expected, tmp_path):
    paths = export_results(dataset.results, dataset.truth, tmp_path, 'labels')
    found = []
    for image, labels_path, classes_path in zip(dataset.images, paths[::2], paths[1::2]):
        planes, classes = tifffile.imread(labels_path), tifffile.imread(classes_path)
        assert planes.shape == (4, image['height'], image['width'])
        assert (planes.dtype, classes.dtype) == (np.uint16, np.uint8)
        assert np.array_equal(classes > 0, (planes > 0).any(axis=0))
        in_image = [result for result in dataset.results if result['image_id'] == image['id']]
        for label, plane in enumerate(planes):
            for number in np.unique(plane[plane > 0]).tolist():
                score = in_image[number - 1]['score']
                found.append((image['file_name'], dataset.classes[label], score, plane == number))
    # No two of one class overlap above the threshold.
    assert_same(found, expected)


def test_highest_score_wins_in_label_maps(dataset, tmp_path):
    """The last two results are of one class and overlap; the first of them scores more."""
    paths = export_results(dataset.results, dataset.truth, tmp_path, 'labels', score_thr=0)
    plane = tifffile.imread(paths[0])[0]
    numbers = [plane[bitmap] for bitmap in dataset.bitmaps[-2:]]
    assert set(numbers[0].tolist()) == {5}
    assert set(numbers[1].tolist()) == {5, 6}


def test_more_cells_than_16_bits_hold(dataset, tmp_path):
    """Each pixel of a 300 x 300 image is a cell."""
    size = [300, 300]
    images = [{'id': 1, 'file_name': 'a.png', 'height': 300, 'width': 300}]
    content = {'images': images, 'categories': [{'id': 1, 'name': 'cell'}], 'annotations': []}
    dataset.truth.write_text(json.dumps(content))
    results = [
        {
            'image_id': 1,
            'category_id': 1,
            'score': 1.0,
            'segmentation': {'size': size, 'counts': [pixel, 1, 90000 - pixel - 1]},
        }
        for pixel in range(66000)
    ]
    labels, _ = export_results(results, dataset.truth, tmp_path, 'labels')
    assert tifffile.imread(labels).T.reshape(-1)[:66000].tolist() == list(range(1, 66001))


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        ({'image_id': 99}, 'unknown image_id 99'),
        ({'category_id': 9}, 'unknown'),
        ({'score': float('nan')}, 'score nan'),
        ({'segmentation': None}, 'neither polygons nor RLE'),
        ({'segmentation': {'size': [3, 3], 'counts': '9'}}, 'size'),
    ],
)
def test_results_that_do_not_fit(dataset, tmp_path, change, problem):
    broken = [*dataset.results, {**dataset.results[0], **change}]
    with pytest.raises(InputError, match=problem):
        export_results(broken, dataset.truth, tmp_path / 'out', 'csv')
    assert not (tmp_path / 'out').exists()


def test_names_do_not_collide(dataset, tmp_path):
    images = [
        {'id': number, 'file_name': name, 'height': 5, 'width': 5}
        for number, name in enumerate(['a/b.png', 'a_b.png', './a//b.tif'], start=1)
    ]
    content = {'images': images, 'categories': [{'id': 1, 'name': 'cell'}]}
    dataset.truth.write_text(json.dumps(content))
    paths = export_results([], dataset.truth, tmp_path / 'out', 'geojson')
    assert len(set(paths)) == 3
    assert {path.parent for path in paths} == {tmp_path / 'out'}


def test_tool(dataset, tmp_path, tool):
    arguments = ('export', dataset.results_path, '--to', 'csv', '--out', tmp_path, '--images')
    assert tool(*arguments, dataset.truth) == (0, f'wrote {tmp_path / "cells.csv"}\n', '')
    failed = tool(*arguments, 'nowhere.json')
    assert failed.status == 2
    assert failed.err.startswith('error: nowhere.json: cannot be read')
    assert failed.err.count('\n') == 1
