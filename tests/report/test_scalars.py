"""What a run logged, read back: resumed, cut off in the middle of a line, by the names of MMDetection."""

import json

import pytest

from mmcell.errors import InputError
from mmcell.report.scalars import read_run


def write_scalars(folder, stamp, lines):
    path = folder / stamp / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def test_resumed_run(tmp_path):
    """Killed in the middle of a line after epoch 2 and resumed from epoch 1."""
    folder = tmp_path / 'a & <b>'
    first = [{'loss': 3.0, 'lr': 1, 'step': 10}, {'segm/mAP_1000': 0.1, 'segm/AP50_1000': 0.2, 'step': 1}]
    first += [{'loss': 2.0, 'step': 20}, {'segm/mAP_1000': 0.9, 'step': 2}, '{"loss": 1.0, "st']
    second = [{'loss': 2.5, 'step': 20}, {'loss': float('nan'), 'step': 30}, {'segm/mAP_1000': 0.3, 'step': 2}]
    write_scalars(folder, '20260102', second)
    write_scalars(folder, '20260101', first)
    found = read_run(folder)
    assert found.name == 'a & <b>'
    assert found.loss == [(10, 3.0), (20, 2.5)]
    assert found.val == {'mAP': [(1, 0.1), (2, 0.3)], 'AP50': [(1, 0.2)]}


def test_names_of_mmdetection(tmp_path):
    write_scalars(tmp_path, '1', [{'coco/segm_mAP': 0.2, 'step': 1}, {'coco/segm_mAP': 0.25, 'step': 2}])
    assert read_run(tmp_path).val == {'mAP': [(1, 0.2), (2, 0.25)]}


def test_no_run(tmp_path):
    with pytest.raises(InputError, match='holds no'):
        read_run(tmp_path)
