import csv
import json
import uuid

import numpy as np
import pyarrow.parquet
import pytest
import shapely
import tifffile

from mmcell.coco.threshold import write_record
from mmcell.errors import InputError
from mmcell.report.export import TARGETS, export_results
from mmcell.report.measurements import NAMES
from mmcell.visualization.palette import class_colour

# Of the results of `dataset`, in their order: all but the last, which scores 0.2.
KEPT = 7
THRESHOLD = 0.3


@pytest.fixture
def expected(dataset):
    """(image's file name, class, score, bitmap) of each result above the threshold."""
    names = {image['id']: image['file_name'] for image in dataset.images}
    return [
        (names[result['image_id']], dataset.classes[result['category_id'] - 1], result['score'], bitmap)
        for result, bitmap in list(zip(dataset.results, dataset.bitmaps))
        if result['score'] >= THRESHOLD
    ]


def test_geojson_reads_back_equal(dataset, expected, tmp_path):
    paths = export_results(dataset.results, dataset.truth, tmp_path / 'out', 'geojson', THRESHOLD)
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
            measured = properties['measurements']
            assert measured['area'] == bitmap.sum() and set(NAMES) < set(measured)
            shares = [value for name, value in measured.items() if name.startswith('probability: ')]
            assert len(shares) == 5 and sum(shares) == pytest.approx(1)
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
    path = export_results(dataset.results, dataset.truth, tmp_path, 'geojson', THRESHOLD)[0]
    ring, pieces = (feature['geometry'] for feature in json.loads(path.read_text())['features'][:2])
    assert (ring['type'], len(ring['coordinates'])) == ('Polygon', 2)
    assert (pieces['type'], len(pieces['coordinates'])) == ('MultiPolygon', 2)


def test_same_results_same_bytes(dataset, tmp_path):
    for target in TARGETS:
        first, second = (export_results(dataset.results, dataset.truth, tmp_path / n, target) for n in 'ab')
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_table_reads_back_equal(dataset, expected, tmp_path):
    (path,) = export_results(dataset.results, dataset.truth, tmp_path, 'csv', THRESHOLD)
    with path.open(newline='') as file:
        table = csv.DictReader(file)
        rows = list(table)
    assert table.fieldnames[:5] == ['image', 'id', 'class', 'score', 'area'] and set(NAMES) < set(table.fieldnames)
    shares = [name for name in table.fieldnames if name.startswith('probability: ')]
    assert len(shares) == 5
    assert all(sum(float(row[name]) for name in shares) == pytest.approx(1) for row in rows)
    found = sorted((row['image'], row['class'], float(row['score']), int(row['area'])) for row in rows)
    assert found == sorted((*cell[:3], cell[3].sum()) for cell in expected)
    by_hand = next(cell[3] for cell in expected if cell[2] == 0.9)
    row = next(row for row in rows if row['score'] == '0.9')
    ys, xs = np.nonzero(by_hand)
    assert float(row['centroid_x']) == pytest.approx(xs.mean() + 0.5)
    assert float(row['centroid_y']) == pytest.approx(ys.mean() + 0.5)


def test_label_maps_read_back_equal(dataset, expected, tmp_path):
    paths = export_results(dataset.results, dataset.truth, tmp_path, 'labels', THRESHOLD)
    assert [path.name for path in paths[:2]] == ['train_1_image_labels.tif', 'train_1_image_classes.tif']
    found = []
    for image, labels_path, classes_path in zip(dataset.images, paths[::2], paths[1::2]):
        labels, classes = tifffile.imread(labels_path), tifffile.imread(classes_path)
        assert labels.shape == classes.shape == (image['height'], image['width'])
        assert (labels.dtype, classes.dtype) == (np.uint16, np.uint8)
        assert np.array_equal(classes > 0, labels > 0)
        scores = sorted((cell[2] for cell in expected if cell[0] == image['file_name']), reverse=True)
        for number in np.unique(labels[labels > 0]).tolist():
            (place,) = np.unique(classes[labels == number])
            found.append((image['file_name'], dataset.classes[place - 1], scores[number - 1], labels == number))
        with tifffile.TiffFile(classes_path) as file:
            assert file.shaped_metadata[0]['classes'] == list(dataset.classes)
    assert_same(found, expected)


def test_parquet_has_the_rows_of_the_csv(dataset, tmp_path):
    (path,) = export_results(dataset.results, dataset.truth, tmp_path, 'parquet', THRESHOLD)
    (table,) = export_results(dataset.results, dataset.truth, tmp_path, 'csv', THRESHOLD)
    with table.open(newline='') as file:
        rows = list(csv.DictReader(file))
    columns = pyarrow.parquet.read_table(path).to_pydict()
    outlines = shapely.from_wkb(columns.pop('outline'))
    assert shapely.area(outlines).tolist() == columns['area']
    assert {'probability: none of these', 'id', 'class', 'area_um2'} < set(columns) == set(rows[0])
    for name, column in columns.items():
        assert ['' if value is None else str(value) for value in column] == [row[name] for row in rows]


def test_one_cell_of_two_classes_is_one_cell(dataset, tmp_path):
    """The last three results show one cell: the best of each class tells how probable that class is."""
    other = {**dataset.results[-2], 'category_id': 3, 'score': 0.25}
    paths = export_results([*dataset.results, other], dataset.truth, tmp_path, 'geojson', 0)
    features = json.loads(paths[0].read_text())['features']
    assert len(features) == 5
    names = [f'probability: {name}' for name in (*dataset.classes, 'none of these')]
    shares = [[feature['properties']['measurements'][name] for name in names] for feature in features]
    assert [0.5, 0, 0.25, 0, 0.25] in shares


def test_hundreds_of_classes(dataset, tmp_path):
    content = json.loads(dataset.truth.read_text())
    content['categories'] = [{'id': number, 'name': f'c{number}'} for number in range(1, 301)]
    dataset.truth.write_text(json.dumps(content))
    results = [{**result, 'category_id': number} for result, number in zip(dataset.results, (256, 300, 1))]
    classes = tifffile.imread(export_results(results, dataset.truth, tmp_path, 'labels')[1])
    assert np.unique(classes).tolist() == [0, 1, 256, 300]


def test_names_are_no_formulas(dataset, tmp_path):
    content = json.loads(dataset.truth.read_text())
    content['categories'][0]['name'], content['images'][0]['file_name'] = "=cmd|' /C calc'!A0", '@SUM(1).png'
    dataset.truth.write_text(json.dumps(content))
    (path,) = export_results(dataset.results, dataset.truth, tmp_path, 'csv')
    with path.open(newline='') as file:
        rows = list(csv.reader(file))
    assert rows[1][0] == "'@SUM(1).png" and rows[1][2] == "'=cmd|' /C calc'!A0"
    assert not any(value.startswith(tuple('=+-@')) for row in rows for value in row)


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
    labels, _ = export_results(results, dataset.truth, tmp_path, 'labels', THRESHOLD)
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
    paths = export_results([], dataset.truth, tmp_path / 'out', 'geojson', THRESHOLD)
    assert len(set(paths)) == 3
    assert {path.parent for path in paths} == {tmp_path / 'out'}


def test_tool(dataset, tmp_path, tool):
    arguments = ('export', dataset.results_path, '--to', 'csv', '--out', tmp_path / 'out', '--images')
    done = tool(*arguments, dataset.truth)
    assert (done.status, done.err) == (0, '')
    assert done.out.splitlines() == [
        'score threshold 0.5, since none is recorded with the model; set another with --score-thr',
        f'wrote {tmp_path / "out/cells.csv"}',
    ]
    few = len((tmp_path / 'out/cells.csv').read_text().splitlines())
    write_record(dataset.results_path, {}, 0.3)
    done = tool(*arguments, dataset.truth)
    assert done.out.startswith('score threshold 0.3, recorded with the model\n')
    assert len((tmp_path / 'out/cells.csv').read_text().splitlines()) == KEPT + 1 > few
    failed = tool(*arguments, 'nowhere.json')
    assert failed.status == 2
    assert failed.err.startswith('error: nowhere.json: cannot be read')
    assert failed.err.count('\n') == 1
