"""Curves as PNG and CSV."""

from __future__ import annotations

import csv

import cv2
import numpy as np

from mmcell.report.figures import write_curves
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
