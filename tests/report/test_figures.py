"""Curves as PNG and CSV, and as SVG."""

from __future__ import annotations

import csv
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from mmcell.report.figures import draw_charts, write_curves
from mmcell.report.scalars import Run


def test_curves(tmp_path):
    first = Run('first', loss=[(1, 2.0), (2, 1.0)], val={'AP50': [(1, 0.25), (2, 0.5)]})
    second = Run('second', loss=[(1, 3.0), (2, 1.5)], val={'AP50': [(2, 0.75)]})
    paths = write_curves([first, second], tmp_path)
    assert [path.name for path in paths] == ['loss.png', 'val_AP50.png']
    for path in paths:
        colours = np.unique(cv2.imread(str(path)).reshape(-1, 3), axis=0).tolist()
        # Blue and vermilion, as BGR: both runs are drawn, the single point of the second too.
        assert [0xB2, 0x72, 0x00] in colours and [0x00, 0x5E, 0xD5] in colours
    with (tmp_path / 'loss.csv').open(newline='') as file:
        assert list(csv.reader(file))[1:] == [
            ['first', '1', '2.0'],
            ['first', '2', '1.0'],
            ['second', '1', '3.0'],
            ['second', '2', '1.5'],
        ]
    with (tmp_path / 'val.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert rows[-1] == {'run': 'second', 'epoch': '2', 'number': 'AP50', 'value': '0.75'} and len(rows) == 3


def test_nothing_to_draw(tmp_path):
    assert write_curves([], tmp_path) == []
    assert (tmp_path / 'loss.csv').read_text().splitlines() == ['run,step,loss']


def test_any_name_stands_in_the_legend(tmp_path):
    """Neither is a name read as mathematics, nor left out for its first letter."""
    pictures = []
    for number, name in enumerate(['$\\nothing$', '_hidden', 'plain', '']):
        write_curves([Run(name, loss=[(1, 2.0)])], tmp_path / str(number))
        pictures.append(cv2.imread(str(tmp_path / str(number) / 'loss.png')))
    bottoms = [(picture[-60:] < 128).sum() for picture in pictures]
    assert all(bottom > bottoms[-1] + 100 for bottom in bottoms[:-1])


def lines(chart: str) -> dict[str, list[tuple[float, float]]]:
    """The points of each run's line, under its color."""
    drawn = re.findall(r'<path d="([^"]*)"[^>]*stroke: (var\(--s\d\)); stroke-width: 1.6', chart)
    return {
        colour: [tuple(map(float, point.split())) for point in re.findall(r'[\d.]+ [\d.]+', path)]
        for path, colour in drawn
    }


FIRST = Run('a & <b>', loss=[(10, 3.0), (20, 2.5)], val={'mAP': [(1, 0.1), (2, 0.3)], 'AP50': [(1, 0.2)]})
SECOND = Run('second', val={'mAP': [(1, 0.2), (2, 0.25)]})


def test_charts():
    charts = draw_charts([FIRST, SECOND])
    titles = [ElementTree.fromstring(chart.replace('xlink:', '')).findtext('title') for chart in charts]
    assert titles == [
        'Training loss by step. a & <b>: last 2.5, best 2.5',
        'Validation mAP by epoch. a & <b>: last 0.3, best 0.3; second: last 0.25, best 0.25',
        'Validation AP50 by epoch. a & <b>: last 0.2, best 0.2',
    ]
    loss, mean, _ = map(lines, charts)
    assert list(loss) == ['var(--s0)'] and list(mean) == ['var(--s0)', 'var(--s1)']
    (x0, y0), (x1, y1) = loss['var(--s0)']
    assert x1 > x0 and y1 > y0  # downwards is less
    heights = [y for points in mean.values() for _, y in points]
    assert np.diff(heights) / np.diff([0.1, 0.3, 0.2, 0.25]) == pytest.approx((heights[1] - heights[0]) / 0.2, rel=1e-4)


def test_charts_share_a_page():
    charts = draw_charts([FIRST, SECOND])
    assert charts == draw_charts([FIRST, SECOND])  # no date, no random names
    text = ''.join(charts)
    assert not re.search(r'https?:|@import|<style|#[0-9a-f]{6}\b', text)
    names, used = set(re.findall(r' id="(\w+)"', text)), set(re.findall(r'(?:href="|url\()#(\w+)', text))
    assert names == used


def test_charts_of_nothing_and_of_zeros():
    assert draw_charts([]) == []
    (chart,) = draw_charts([Run('run', val={'mAP': [(1, 0.0), (2, 0.0)]})])
    (_, y0), (_, y1) = lines(chart)['var(--s0)']
    assert y0 == y1
