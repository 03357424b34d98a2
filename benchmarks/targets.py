"""Mask targets of a training step: the truth inside each positive proposal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import ConfigDict
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from benchmarks.measure import Case, Finding, Options, Row, Task, find_row
from benchmarks.scene import draw_instances, grid_cost, labels_of
from mmcell.structures.label_map_masks import LabelMapMasks

_POSITIVES = 128  # of the 512 RoIs that mmdet samples
_SIZE = 28


class Targets(Task):
    """`mask_target` of mmdet for 128 positives, 28 x 28; the masks of one image are held meanwhile."""

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        self.boxes = torch.from_numpy(inputs['boxes'])
        self.index = torch.from_numpy(inputs['index'])
        self.config = ConfigDict(mask_size=_SIZE)

    def prepare(self) -> None:
        """Hold the masks of the image."""
        rles, side = self.inputs['rles'], self.inputs['side']
        if self.ours:
            self.masks = LabelMapMasks.from_rles(rles, side, side)
            return
        bitmaps = np.empty((len(rles), side, side), dtype=np.uint8)
        for bitmap, rle in zip(bitmaps, rles):
            bitmap[...] = coco_mask.decode(rle)
        self.masks = BitmapMasks(bitmaps, side, side)

    def run(self) -> torch.Tensor:
        """Sample the targets."""
        return mask_target([self.boxes], [self.index], [self.masks], self.config)

    def digest(self, result: torch.Tensor) -> NDArray[np.float64]:
        """The targets."""
        return result.numpy().astype(np.float64)

    def floor_bytes(self, result: torch.Tensor) -> int:
        """Four pixels of int32 for each sample that RoIAlign takes, and the targets as float32."""
        extents = (self.boxes[:, 2:] - self.boxes[:, :2]).numpy()
        samples = np.ceil(extents / _SIZE).prod(axis=1) * _SIZE**2
        return int(samples.sum() * 4 * 4 + result.numel() * 4)


def cases(options: Options) -> Iterator[Case]:
    """Synthetic images and proposals around their cells."""
    for cells, side in product(options.cells, options.sides):
        yield Case(labels_of(cells, side), grid_cost(cells, side), partial(_inputs, cells, side))


def _inputs(cells: int, side: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    instances = draw_instances(cells, side)
    index = rng.integers(0, cells, _POSITIVES)
    boxes = np.array([instance['bbox'] for instance in instances], dtype=np.float32)[index]
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes += (0.07 * sizes * rng.normal(size=boxes.shape)).astype(np.float32)
    return {'rles': [instance['mask'] for instance in instances], 'side': side, 'index': index, 'boxes': boxes}


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """What the rows come down to."""
    if row := find_row(rows, cells=1000, side=1024):
        yield Finding('1000 cells at 1024: times faster', row.speedup())
        yield Finding('1000 cells at 1024: times less memory', row.saving())
