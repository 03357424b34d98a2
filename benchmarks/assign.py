"""Matching of anchors and proposals with the cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from numpy.typing import NDArray

from benchmarks.measure import Case, Finding, Options, Row, Task, find_row
from benchmarks.scene import draw_instances
from mmcell.config import load_config

_CONFIG = Path(__file__).resolve().parents[1] / 'configs/cell/mask_rcnn.py'
_SCALE = 4  # of the anchors, from 16 px: as in mask_rcnn_strong, where they fit the cells
_PROPOSALS = 2000
_READ = 'anchors, overlaps read'


class Assign(Task):
    """`SparseMaxIoUAssigner` beside `MaxIoUAssigner`, for an input of side x side pixels.

    *anchors* are all of the RPN, from 16 px, with its thresholds; *proposals* 2000 boxes around the cells, with the
    thresholds of the box head. `max_overlaps`, which no sampler of the configs reads, are found when they are read:
    *overlaps read* includes that.
    """

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        self.assigner = TASK_UTILS.build(
            {**inputs['assigner'], 'type': 'SparseMaxIoUAssigner' if self.ours else 'MaxIoUAssigner'}
        )
        self.priors = InstanceData(priors=torch.from_numpy(inputs['priors']))
        cells = torch.from_numpy(inputs['cells'])
        self.cells = InstanceData(bboxes=cells, labels=torch.arange(len(cells)) % 4)

    def run(self) -> AssignResult:
        """Assign."""
        result = self.assigner.assign(self.priors, self.cells)
        if self.inputs['read']:
            result.max_overlaps  # noqa: B018
        return result

    def digest(self, result: AssignResult) -> NDArray[np.float64]:
        """Numbers of the cells, labels and overlaps of all boxes."""
        return torch.stack([result.gt_inds, result.labels, result.max_overlaps]).numpy().astype(np.float64)

    def floor_bytes(self, result: AssignResult) -> int:
        """Boxes and cells are read, a number and a label for each box written."""
        return 16 * (len(self.priors) + len(self.cells)) + 16 * len(self.priors)


def cases(options: Options) -> Iterator[Case]:
    """Synthetic cells."""
    model = load_config(_CONFIG).model
    generator = {**model.rpn_head.anchor_generator, 'scales': [_SCALE]}
    for boxes, cells, side in product(('anchors', _READ, 'proposals'), options.cells, options.sides):
        inputs = {'side': side, 'read': boxes == _READ}
        if boxes == 'proposals':
            count = _PROPOSALS
            make = partial(_proposals, cells, side, {**inputs, 'assigner': model.train_cfg.rcnn.assigner})
        else:
            count = len(_anchors(generator, side))
            make = partial(_inputs, generator, cells, side, {**inputs, 'assigner': model.train_cfg.rpn.assigner})
        yield Case({'boxes': boxes, 'cells': cells, 'side': side}, cells * count, make)


def _anchors(generator: dict[str, Any], side: int) -> NDArray[np.float32]:
    maps = [(-(-side // stride),) * 2 for stride in generator['strides']]
    return torch.cat(TASK_UTILS.build(generator).grid_priors(maps, device='cpu')).numpy()


def _cells(cells: int, side: int) -> NDArray[np.float32]:
    return np.array([instance['bbox'] for instance in draw_instances(cells, side)], dtype=np.float32)


def _inputs(generator: dict[str, Any], cells: int, side: int, inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, 'cells': _cells(cells, side), 'priors': _anchors(generator, side)}


def _proposals(cells: int, side: int, inputs: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    truth = _cells(cells, side)
    boxes = truth[rng.integers(0, cells, _PROPOSALS)]
    boxes += (0.1 * np.tile(boxes[:, 2:] - boxes[:, :2], 2) * rng.normal(size=boxes.shape)).astype(np.float32)
    return {**inputs, 'cells': truth, 'priors': boxes}


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """What the rows come down to."""
    for boxes in ('anchors', _READ):
        if row := find_row(rows, boxes=boxes, cells=1000, side=1024):
            yield Finding(f'{boxes}, 1000 cells at 1024: times faster', row.speedup())
            yield Finding(f'{boxes}, 1000 cells at 1024: times less memory', row.saving())
        few, many = (find_row(rows, boxes=boxes, cells=cells, side=1024) for cells in (250, 4000))
        if few and many:
            growth = many.ours.seconds / few.ours.seconds
            yield Finding(f'{boxes}, 250 to 4000 cells at 1024: times slower', growth)
