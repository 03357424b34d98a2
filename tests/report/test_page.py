import base64
import json
import re

import cv2
import numpy as np
import pytest

from mmcell.errors import InputError
from mmcell.evaluation import evaluate_calibration
from mmcell.report.page import write_report
from mmcell.report.rendering import data_uri


def parse(page, image_id):
    """What the page holds of an image."""
    return json.loads(re.search(rf'id="image-{image_id}">(.*?)</script>', page, re.DOTALL)[1])


def decode(uri):
    return cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(',')[2]), np.uint8), cv2.IMREAD_COLOR_RGB)


def write(dataset, tmp_path, **options):
    return write_report(dataset.results, tmp_path / 'report.html', score_thr=0.3, **options).read_text()


def test_page_holds_all_it_needs(dataset, tmp_path):
    page = write(dataset, tmp_path, truth=dataset.truth)
    # Only what is in the page itself: data, and parts of its charts by their hash.
    assert not re.search(r'(src|href)=["\'](?!data:|#)', page)
    assert not re.search(r'https?://|@import|url\((?!#)', page)
    data = parse(page, 1)
    assert decode(data['src']).shape == (80, 120, 3)
    # Of the six results, the last shows the cell of the one before it.
    assert len(data['pred']['d']) == 5
    assert data['pred']['state'] == [0, 0, 0, 1, 2]
    assert data['pred']['likely'] == [[0, 90, 4, 10], [1, 80, 4, 20], [1, 70, 4, 30], [3, 60, 4, 40], [0, 50, 4, 50]]
    assert data['truth']['found'] == [0.9, 0.8, 0.7, 0.6, -1]


def test_outlines_enclose_the_masks(dataset, tmp_path):
    page = write(dataset, tmp_path, truth=dataset.truth)
    data = parse(page, 1)
    bitmaps = [bitmap for bitmap in dataset.bitmaps if bitmap.shape == (80, 120)]
    for path, bitmap in zip(data['pred']['d'], bitmaps[:-1], strict=True):
        canvas = np.zeros((800, 1200), np.uint8)
        rings = []
        for ring in path.split('z')[:-1]:
            numbers = np.array(re.findall(r'-?\d+', ring), dtype=int).reshape(-1, 2)
            rings.append(np.cumsum(numbers, axis=0) * 5)
        cv2.fillPoly(canvas, rings, 1)
        # Ten times enlarged, so that the thickness of a border does not count.
        large = np.kron(bitmap, np.ones((10, 10), np.uint8))
        overlap = (canvas & large).sum() / (canvas | large).sum()
        assert overlap > (0.9 if bitmap.sum() > 1 else 0.45)  # a diamond in a square


def test_densities(dataset, tmp_path):
    """Of the images whose microns per pixel are known, cells at the threshold; nothing without any."""
    assert 'id="densities"' not in write(dataset, tmp_path, truth=dataset.truth)
    content = json.loads(dataset.truth.read_text())
    first = content['images'][0]
    first['mpp'] = 0.5
    dataset.truth.write_text(json.dumps(content))
    table = write(dataset, tmp_path, truth=dataset.truth).partition('id="densities"')[2].partition('</table>')[0]
    assert '1 of 3 images have known microns per pixel' in table
    found = re.findall(r'<td>([\d,.e+]+)</td>', table)
    numbers = [float(number.replace(',', '')) for number in found]
    mm2 = first['height'] * first['width'] * 0.5**2 / 1e6
    assert sum(numbers[:-2:2]) == numbers[-2] == 5
    assert numbers[1::2] == pytest.approx([count / mm2 for count in numbers[::2]], abs=0.06)


def test_images_are_listed_by_errors(dataset, tmp_path):
    page = write(dataset, tmp_path, truth=dataset.truth, max_images=1)
    rows = re.findall(r'data-name="train/(\d)/image.png" data-errors="(\d)"', page)
    assert rows == [('1', '3'), ('2', '2'), ('3', '0')]
    assert 'id="image-1"' in page
    assert 'id="image-2"' not in page


def test_numbers(dataset, tmp_path):
    """The results with the truth as truth, and the truth as its own result."""
    truth = json.loads(dataset.truth.read_text())
    dataset.results = [{**cell, 'score': 1.0} for cell in truth['annotations']]
    page = write(dataset, tmp_path, truth=dataset.truth)
    tiles = dict(re.findall(r'<dt>(.*?)</dt><dd>(.*?)</dd>', page))
    assert tiles == dict.fromkeys(['mAP @1000', 'AP50 @1000', 'PQ', 'AJI', 'Dice', 'F1'], '1.000')
    confusion = page.partition('id="confusion"')[2].partition('</table>')[0]
    counts = [int(number or 0) for number in re.findall(r'<td class[^>]*>(\d*)</td>', confusion)]
    assert np.array_equal(np.reshape(counts, (5, 5)), np.diag([1, 2, 2, 2, 0]))


def test_calibration(dataset, tmp_path):
    error = evaluate_calibration(dataset.truth, dataset.results, 0.3).error
    page = write(dataset, tmp_path, truth=dataset.truth)
    assert f'Expected calibration error {error:.3f} of\n        7 cells.' in page
    assert f'Reliability diagram: expected calibration error {error:.3f} of 7 cells.' in page
    assert 'Reliability' not in write(dataset, tmp_path, images=dataset.truth)
    dataset.results = []
    assert 'Expected calibration error – of' in write(dataset, tmp_path, truth=dataset.truth)


def test_hundreds_of_classes_have_probabilities_of_a_few(dataset, tmp_path):
    content = json.loads(dataset.truth.read_text())
    content['categories'] = [{'id': number, 'name': f'c{number}'} for number in range(1, 301)]
    dataset.truth.write_text(json.dumps(content))
    dataset.results = [{**dataset.results[0], 'category_id': 299}]
    assert parse(write(dataset, tmp_path, truth=dataset.truth), 1)['pred']['likely'] == [[298, 90, 300, 10]]


def test_without_truth(dataset, tmp_path):
    page = write(dataset, tmp_path, images=dataset.truth)
    assert 'id="by-class"' not in page
    assert parse(page, 2)['truth']['d'] == []


def test_names_cannot_break_the_page(dataset, tmp_path):
    truth = json.loads(dataset.truth.read_text())
    truth['categories'][0]['name'] = '</script><b>&'
    dataset.truth.write_text(json.dumps(truth))
    page = write(dataset, tmp_path, truth=dataset.truth, title='<i>')
    assert '</script><b>&' not in page
    assert json.loads(re.search(r'id="config">(.*?)</script>', page)[1])['classes'][0]['name'] == '</script><b>&'
    assert '<title>&lt;i&gt;</title>' in page


def test_images_fit_into_their_budget():
    noise = np.random.default_rng(0).integers(0, 255, (400, 600, 3), dtype=np.uint8)
    uri = data_uri(noise, 20_000)
    assert len(uri) < 20_000 * 4 / 3 + 40
    height, width = decode(uri).shape[:2]
    assert width / height == pytest.approx(1.5, abs=0.05)


def test_truth_of_other_images(dataset, tmp_path):
    truth = json.loads(dataset.truth.read_text())
    truth['annotations'][0]['image_id'] = 77
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(truth))
    with pytest.raises(InputError, match='unknown image_id 77'):
        write(dataset, tmp_path, truth=other, images=dataset.truth)
    assert not (tmp_path / 'report.html').exists()


def test_tool(dataset, tmp_path, tool):
    out = tmp_path / 'page.html'
    done = tool('report', dataset.results_path, '--truth', dataset.truth, '--out', out)
    assert (done.status, done.err) == (0, '')
    line, wrote = done.out.splitlines()
    assert line.startswith('score threshold 0.5, since') and wrote.startswith(f'wrote {out}')
    assert tool('report', dataset.results_path, '--out', out).status == 2
