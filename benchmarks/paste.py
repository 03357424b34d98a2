"""From the logits of the mask head to RLE in the image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.structures.mask import encode_mask_results
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from numpy.typing import NDArray

from benchmarks.measure import Case, Finding, Options, Row, Task, find_row, growth
from benchmarks.scene import draw_instances, grid_cost, labels_of
from mmcell.models.boxed_mask_head import BoxedRLEMaskHead

_CLASSES, _SIZE = 4, 28


class Paste(Task):
    """`predict_by_feat` of the mask head, and for MMDetection the encoding that `CocoMetric` does with its bitmaps."""

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        head = BoxedRLEMaskHead if self.ours else FCNMaskHead
        # Convolutions play no part.
        self.head = head(num_convs=0, in_channels=1, conv_out_channels=1, num_classes=_CLASSES)
        self.logits, self.boxes, self.labels = (torch.from_numpy(inputs[key]) for key in ('logits', 'boxes', 'labels'))
        self.meta = {'ori_shape': (inputs['side'], inputs['side']), 'scale_factor': (1.0, 1.0)}
        self.config = ConfigDict(mask_thr_binary=0.5)

    @torch.no_grad()
    def run(self) -> list[dict[str, Any]]:
        """Paste and encode."""
        detections = InstanceData(bboxes=self.boxes.clone(), labels=self.labels)
        [detections] = self.head.predict_by_feat([self.logits], [detections], [self.meta], self.config, rescale=True)
        return detections.masks if self.ours else encode_mask_results(detections.masks.numpy())

    def digest(self, result: list[dict[str, Any]]) -> NDArray[np.float64]:
        """The bytes of a hash of all RLE: equal only if they are byte for byte the same."""
        texts = [rle['counts'] for rle in result]
        joined = b' '.join(text.encode() if isinstance(text, str) else text for text in texts)
        return np.frombuffer(hashlib.sha256(joined).digest(), dtype=np.uint8).astype(np.float64)

    def floor_bytes(self, result: list[dict[str, Any]]) -> int:
        """Each logit of the predicted class is read; each pixel in a box is written and read, as float and as bit."""
        sizes = np.ceil(self.inputs['boxes'][:, 2:]) - np.floor(self.inputs['boxes'][:, :2])
        return int(4 * len(sizes) * _SIZE**2 + sizes.prod(axis=1).sum() * 2 * (4 + 1))


def cases(options: Options) -> Iterator[Case]:
    """Detections of the cells of synthetic images, with round masks."""
    for cells, side in product(options.cells, options.sides):
        yield Case(labels_of(cells, side), grid_cost(cells, side), partial(_inputs, cells, side))


def _inputs(cells: int, side: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    boxes = np.array([instance['bbox'] for instance in draw_instances(cells, side)], dtype=np.float32)
    boxes = (boxes + rng.normal(0, 1, boxes.shape)).clip(0, side).astype(np.float32)
    y, x = np.meshgrid(*[np.linspace(-1, 1, _SIZE)] * 2, indexing='ij')
    logits = 6 * (1 - x**2 - y**2) + rng.normal(0, 0.5, (cells, _CLASSES, _SIZE, _SIZE))
    labels = rng.integers(0, _CLASSES, cells)
    return {'boxes': boxes, 'logits': logits.astype(np.float32), 'labels': labels, 'side': side}


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """What the rows come down to."""
    if row := find_row(rows, cells=1000, side=2048):
        yield Finding('1000 cells at 2048: times faster', row.speedup())
        if small := find_row(rows, cells=1000, side=512):
            yield Finding('1000 cells: MB more at 2048 than at 512', growth(small, row))
