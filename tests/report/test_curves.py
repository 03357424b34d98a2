import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from mmcell.errors import InputError
from mmcell.report.curves import draw_charts
from mmcell.report.scalars import read_run


def write_scalars(folder, stamp, lines):
    path = folder / stamp / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def points(chart, number=0):
    polyline = re.search(rf'class="s{number}" points="([^"]*)"', chart)[1]
    return [tuple(map(float, point.split(','))) for point in polyline.split()]


@pytest.fixture
def run(tmp_path):
    """A run that was killed in the middle of a line after epoch 2 and resumed from epoch 1."""
    folder = tmp_path / 'a & <b>'
    first = [{'loss': 3.0, 'lr': 1, 'step': 10}, {'segm/mAP_1000': 0.1, 'segm/AP50_1000': 0.2, 'step': 1}]
    first += [{'loss': 2.0, 'step': 20}, {'segm/mAP_1000': 0.9, 'step': 2}, '{"loss": 1.0, "st']
    second = [{'loss': 2.5, 'step': 20}, {'loss': float('nan'), 'step': 30}, {'segm/mAP_1000': 0.3, 'step': 2}]
    write_scalars(folder, '20260102', second)
    write_scalars(folder, '20260101', first)
    return folder


def test_resumed_run(run):
    found = read_run(run)
    assert found.name == 'a & <b>'
    assert found.loss == [(10, 3.0), (20, 2.5)]
    assert found.val == {'mAP': [(1, 0.1), (2, 0.3)], 'AP50': [(1, 0.2)]}


def test_charts(run):
    loss, mean, ap50 = draw_charts([read_run(run)])
    for chart, title in ((loss, 'Training loss'), (mean, 'Validation mAP'), (ap50, 'Validation AP50')):
        root = ElementTree.fromstring(chart)  # well-formed, whatever the run is called
        assert root.get('role') == 'img'
        assert root.get('aria-label').startswith(f'{title} by')
        assert 'a & <b>' in root.get('aria-label')
    (x0, y0), (x1, y1) = points(loss)
    assert x0 < x1
    assert y0 < y1  # downwards is less
    (_, y0), (_, y1) = points(mean)
    assert y0 > y1
    # From zero upwards in proportion: 0.3 stands three times as high as 0.1.
    zero = float(re.search(r'class="grid" d="M\d+ ([\d.]+)H', mean)[1])
    assert (zero - y1) / (zero - y0) == pytest.approx(3, abs=0.01)


def test_two_runs_and_stock_keys(run, tmp_path):
    write_scalars(tmp_path / 'stock', '1', [{'coco/segm_mAP': 0.2, 'step': 1}, {'coco/segm_mAP': 0.25, 'step': 2}])
    charts = draw_charts([read_run(run), read_run(tmp_path / 'stock')])
    assert len(charts) == 3
    assert len(points(charts[1], 0)) == len(points(charts[1], 1)) == 2


def test_no_run(tmp_path):
    assert draw_charts([]) == []
    with pytest.raises(InputError, match='holds no'):
        read_run(tmp_path)


def test_a_run_that_found_nothing_yet(tmp_path):
    write_scalars(tmp_path / 'run', '1', [{'segm/mAP_1000': 0.0, 'step': 1}, {'segm/mAP_1000': 0.0, 'step': 2}])
    (chart,) = draw_charts([read_run(tmp_path / 'run')])
    (_, y0), (_, y1) = points(chart)
    assert y0 == y1 == float(re.search(r'class="grid" d="M\d+ ([\d.]+)H', chart)[1])
