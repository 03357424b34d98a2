"""Loading an image with its cells: from file and annotations to the packed sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from numpy.typing import NDArray

import mmcell.datasets  # noqa: F401
from benchmarks.measure import Case, Finding, Options, Row, Task, clock, find_row
from benchmarks.scene import draw_image, draw_instances, grid_cost, labels_of

_READING = 'reading the image'


class Load(Task):
    """`LoadCellImage`, annotations, `Resize` to the same size, `RandomFlip` (always), `PackDetInputs`."""

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        steps = [
            {'type': 'LoadCellImage'},
            {'type': 'LoadCellAnnotations' if self.ours else 'LoadAnnotations', 'with_mask': True},
            {'type': 'Resize', 'scale': (inputs['width'], inputs['height']), 'keep_ratio': True},
            {'type': 'RandomFlip', 'prob': 1.0},
            {'type': 'PackDetInputs'},
        ]
        self.read, *rest = [TRANSFORMS.build(step) for step in steps]
        self.pipeline = Compose(rest)
        self.reading: list[float] = []

    def run(self) -> dict[str, Any]:
        """Load the sample."""
        start = clock()
        results = self.read(dict(self.inputs))
        self.reading.append(clock() - start)
        return self.pipeline(results)

    def digest(self, result: dict[str, Any]) -> NDArray[np.float64]:
        """Sum of the image, then box, label, area and mask's box of each cell."""
        sample = result['data_samples'].gt_instances
        columns = [sample.bboxes.tensor, sample.labels[:, None], sample.masks.areas[:, None]]
        columns.append(sample.masks.get_bboxes('hbox').tensor)
        return np.append(np.concatenate(columns, axis=1), result['inputs'].sum(dtype=float))

    def parts(self, result: dict[str, Any]) -> dict[str, float]:
        """Reading the image, which is the same on both sides."""
        return {_READING: float(np.median(self.reading))}

    def floor_bytes(self, result: dict[str, Any]) -> int:
        """One write of the read image and of the painted plane; then each step reads both and writes both.

        The image goes through `Resize`, `RandomFlip` and `PackDetInputs`, the plane through the first two.
        """
        pixels = self.inputs['height'] * self.inputs['width']
        return pixels * (3 * (1 + 2 * 3) + 4 * (1 + 2 * 2))


def cases(options: Options) -> Iterator[Case]:
    """Synthetic images as LZW TIFF."""
    for side in options.sides:
        path = options.scratch / f'{side}.tif'
        tifffile.imwrite(path, draw_image(side), photometric='rgb', compression='lzw')
        for cells in options.cells:
            yield Case(labels_of(cells, side), grid_cost(cells, side), partial(_inputs, path, cells, side))


def _inputs(path: Path, cells: int, side: int) -> dict[str, Any]:
    instances = draw_instances(cells, side)
    return {'img_path': str(path), 'img_id': 1, 'height': side, 'width': side, 'instances': instances}


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """What the rows come down to."""
    if row := find_row(rows, cells=1000, side=1024):
        yield Finding('1000 cells at 1024: times faster', row.speedup())
        yield Finding('1000 cells at 1024: MB above the base', row.ours.megabytes)
    few, many = (find_row(rows, cells=cells, side=1024) for cells in (250, 4000))
    if few and many:
        growth = 'growth of the time from 250 to 4000 cells at 1024'
        yield Finding(growth, many.ours.seconds / few.ours.seconds)
        without = [row.ours.seconds - row.ours.parts[_READING] for row in (few, many)]
        yield Finding(f'{growth}, without reading the image', without[1] / without[0])
