"""A model that comes with mmcell, from an image to its cells, with one view and with eight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from benchmarks.hovernet_side import find_hovernet
from benchmarks.measure import OURS, Case, Finding, Options, Other, Row, Side, Task
from benchmarks.torchvision_side import TorchvisionInfer, find_torchvision
from mmcell.config import load_config
from mmcell.engine.predictor import load_model
from mmcell.errors import InputError
from mmcell.io.images import read_size
from mmcell.io.shipped import find_config
from mmcell.structures.cells import Cells

_EIGHT = 'eight views'
_VIEWS = {OURS: ((False,), (0,)), _EIGHT: ((False, True), (0, 1, 2, 3))}
_DETECTIONS = 1000


class Shipped(Task):
    """A model that comes with mmcell, on the first image of a folder, from its file to cells; *ours* has one view.

    torchvision is its Mask R-CNN with ResNet-50, random weights, 1000 detections encoded as RLE, images shrunk to 800
    pixels as it does by itself. HoVer-Net is MONAI's network alone, random weights, in patches: a lower bound, since it
    finds no cells in the maps that it gives.
    """

    limit_s: ClassVar[float] = 600.0

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        mirror, turns = _VIEWS[side]
        options = {'model.detector.mirror': mirror, 'model.detector.turns': turns}
        self.model = load_model(load_config(find_config(inputs['model']), options), inputs['model'], 'cpu')

    def run(self) -> Cells:
        """Predict."""
        return self.model.predict(self.inputs['image'])

    def digest(self, result: Cells) -> None:
        """The sides are different models."""

    def amount(self, result: Cells) -> int:
        """Cells."""
        return len(result)


def cases(options: Options) -> Iterator[Case]:
    """The first image of a folder.

    Raises:
        InputError: If there is none, or no such model.
    """
    images = sorted(options.source.glob('*.tif')) if options.source else []
    if not images:
        raise InputError(options.source or '--source', 'holds no *.tif', 'name a folder of images')
    find_config(options.model)
    height, width = read_size(images[0])
    inputs = {'model': options.model, 'image': str(images[0]), 'detections': _DETECTIONS, 'proposals': _DETECTIONS}
    others = (
        Other(_EIGHT),
        find_torchvision(options.torchvision, TorchvisionInfer),
        find_hovernet(options.torchvision),
    )
    yield Case({'model': options.model, 'height': height, 'width': width}, 1, lambda: inputs, others)


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """How fast each side is."""
    for row in rows:
        megapixels = int(row.labels['height']) * int(row.labels['width']) / 1e6
        for name, side in {OURS: row.ours, **row.others}.items():
            if isinstance(side, Side):
                yield Finding(f'{name}: megapixels in a second', megapixels / side.seconds)
                if name in _VIEWS and side.amount is not None:
                    yield Finding(f'{name}: cells in a second', side.amount / side.seconds)
