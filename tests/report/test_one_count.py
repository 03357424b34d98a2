"""One count: what is shown, counted, tabulated and exported are the same cells, at any threshold."""

import csv
import json
import re

import numpy as np
import pyarrow.parquet
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmcell.evaluation import evaluate_cells, evaluate_coco
from mmcell.report.export import export_results
from mmcell.report.page import write_report
from mmcell.structures.rle import encode_label_map

CLASSES = ('epithelial', 'lymphocyte', 'neutrophil', 'macrophage')
SIDE = 400


def jitter(planes, image_id, rng):
    """True cells of label maps, and results: each a little off, of any score, some under a second class as well."""
    annotations, results = [], []
    for category, plane in planes.items():
        for found, shift in ((annotations, 0), (results, 1), (results, 2)):
            instances = encode_label_map(np.roll(plane, shift, axis=1))
            for number, (box, rle) in enumerate(zip(instances.boxes.tolist(), instances.rles)):
                cell = {'image_id': image_id, 'category_id': category, 'bbox': box, 'segmentation': rle}
                if shift == 2:
                    if number % 2:
                        continue
                    cell['category_id'] = category % len(CLASSES) + 1
                found.append(cell | ({'score': float(rng.random())} if shift else {'iscrowd': 0}))
    return annotations, results


def write_case(folder, all_planes):
    """Files of a data set with results, from a mapping of class to label map for each image."""
    rng = np.random.default_rng(0)
    images, annotations, results = [], [], []
    for image_id, planes in enumerate(all_planes, start=1):
        height, width = next(iter(planes.values())).shape
        images.append({'id': image_id, 'file_name': f'{image_id}.png', 'height': height, 'width': width})
        (folder / 'images').mkdir(exist_ok=True)
        tifffile.imwrite(folder / f'images/{image_id}.png', rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        true, found = jitter(planes, image_id, rng)
        annotations, results = annotations + true, results + found
    categories = [{'id': number, 'name': name} for number, name in enumerate(CLASSES, start=1)]
    for number, annotation in enumerate(annotations, start=1):
        annotation |= {'id': number, 'area': 1}
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (folder / 'annotations').mkdir(exist_ok=True)
    (folder / 'annotations/val.json').write_text(json.dumps(content))
    (folder / 'results.json').write_text(json.dumps(results))
    return folder / 'annotations/val.json', folder / 'results.json'


def count(truth, results, out, score_thr):
    """Number of cells of each class in each image, from all that people see or count: all must be the same."""
    images = json.loads(truth.read_text())['images']
    page = write_report(results, out / 'page.html', truth=truth, score_thr=score_thr).read_text()
    names = {image['file_name']: image['id'] for image in images}
    shape = (len(images) + 1, len(CLASSES))
    seen = {name: np.zeros(shape, dtype=int) for name in ('shown', 'csv', 'parquet', 'geojson', 'labels')}
    for image in images:
        data = json.loads(re.search(rf'id="image-{image["id"]}">(.*?)</script>', page, re.DOTALL)[1])
        for label, score, outline in zip(data['pred']['label'], data['pred']['score'], data['pred']['d']):
            seen['shown'][image['id'], label] += score >= score_thr and outline != ''
    with export_results(results, truth, out, 'csv', score_thr)[0].open(newline='') as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(export_results(results, truth, out, 'parquet', score_thr)[0])
    for name, listed in (('csv', rows), ('parquet', table.to_pylist())):
        for row in listed:
            seen[name][names[row['image']], CLASSES.index(row['class'])] += 1
    for image, path in zip(images, export_results(results, truth, out, 'geojson', score_thr)):
        for feature in json.loads(path.read_text())['features']:
            seen['geojson'][image['id'], CLASSES.index(feature['properties']['classification']['name'])] += 1
    paths = export_results(results, truth, out, 'labels', score_thr)
    for image, labels, classes in zip(images, paths[::2], paths[1::2]):
        pairs = np.stack([tifffile.imread(labels).ravel(), tifffile.imread(classes).ravel()])
        numbers, kinds = np.unique(pairs[:, pairs[0] > 0], axis=1)
        assert len(set(numbers.tolist())) == len(numbers)
        np.add.at(seen['labels'], (image['id'], kinds.astype(int) - 1), 1)
    # No pixel is in two cells: the tables' areas add up to the pixels of the label maps.
    painted = sum(np.count_nonzero(tifffile.imread(path)) for path in paths[::2])
    assert painted == sum(int(row['area']) for row in rows) == sum(table['area'].to_pylist())
    scored = evaluate_cells(truth, json.loads(results.read_text()), score_thr)
    assert scored.counts[:, 1].tolist() == seen['shown'].sum(axis=1)[1:].tolist()
    assert f'{seen["shown"].sum():,} predicted cells' in page
    for name, counted in seen.items():
        assert np.array_equal(counted, seen['shown']), name
    return seen['shown'].sum()


@pytest.fixture(scope='module')
def consep(shared_data, tmp_path_factory):
    folders = sorted((shared_data / 'consep/train').iterdir())[:2]
    planes = [
        {
            int(path.stem.removeprefix('class')): tifffile.imread(path).astype(np.int64)[:SIDE, :SIDE]
            for path in sorted(folder.glob('class*.tif'))
        }
        for folder in folders
    ]
    return write_case(tmp_path_factory.mktemp('consep'), planes)


@pytest.mark.parametrize('score_thr', [0.0, 0.4, 0.77])
def test_on_real_tissue(consep, tmp_path, score_thr):
    truth, results = consep
    # There are results of one true cell, and of two classes: never a cell of each.
    assert 0 < count(truth, results, tmp_path, score_thr) < 0.8 * len(json.loads(results.read_text()))


@pytest.fixture(scope='module')
def discs(tmp_path_factory):
    rows, columns = np.mgrid[:24, :36]
    tiles = (rows // 8) * 5 + columns // 8 + 1
    inside = (rows % 8 < 6) & (columns % 8 < 6) & (columns < 32)
    planes = {1: tiles * (inside & (tiles % 2 == 0)), 3: tiles * (inside & (tiles % 2 == 1))}
    return write_case(tmp_path_factory.mktemp('discs'), [planes])


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.floats(0, 1), st.integers(0, 17)))
def test_at_any_threshold(discs, tmp_path, score_thr):
    truth, results = discs
    if isinstance(score_thr, int):  # the very score of a result
        score_thr = json.loads(results.read_text())[score_thr]['score']
    count(truth, results, tmp_path, score_thr)


def test_average_precision_reads_results(consep, tmp_path):
    """The page's AP is that of the results as they stand: one cell may be there under two classes."""
    truth, results = consep
    scores = evaluate_coco(truth, json.loads(results.read_text()))
    page = write_report(results, tmp_path / 'page.html', truth=truth).read_text()
    tiles = dict(re.findall(r'<dt>(.*?)</dt><dd>(.*?)</dd>', page))
    assert tiles['AP50 @1000'] == f'{scores.mean(1000, 0.5):.3f}'
    assert tiles['mAP @1000'] == f'{scores.mean(1000):.3f}'
