"""Steps of training: where the time goes, and the memory."""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from statistics import median
from typing import Any, ClassVar

import numpy as np
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, load_checkpoint, set_random_seed
from numpy.typing import NDArray

from benchmarks.drawn import drawn_config, write_data
from benchmarks.measure import Case, Finding, Options, Other, Row, Side, Task, clock, find_row, growth
from benchmarks.parts import MMDETECTION, choose_layout, use_parts
from benchmarks.torchvision_side import TorchvisionTrain, find_torchvision

_STEP = ('forward', 'backward and update')


class Train(Task):
    """A step of training with a drawn image of side x side pixels, from its file to new weights.

    The model is `configs/cell/mask_rcnn.py`: ResNet-50, random weights, AdamW, the image seen at 800 x 800. torchvision
    has its own Mask R-CNN with as much frozen, at the same size.
    """

    limit_s: ClassVar[float] = 300.0

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        MMLogger.get_instance('mmcell', log_level=logging.ERROR)
        DefaultScope.get_instance('mmcell', scope_name='mmdet')
        self.config = self.load_config()
        # Loaded in the measured process, so that nothing of the cost hides.
        for name in ('train_dataloader', 'val_dataloader'):
            self.config[name].update(num_workers=0, persistent_workers=False)
        self.config.optim_wrapper.type = 'OptimWrapper'
        if self.ours and inputs.get('amp'):
            self.config.optim_wrapper.type = 'BFloat16OptimWrapper'
        use_parts(self.config, side)
        self.train_loader = Runner.build_dataloader(self.config.train_dataloader, seed=0)
        set_random_seed(0)
        self.model = MODELS.build(self.config.model)
        self.model.init_weights()
        if checkpoint := inputs.get('checkpoint'):
            load_checkpoint(self.model, str(checkpoint), map_location='cpu', logger='silent')
        choose_layout(self.model, self.config)
        self.weights = copy.deepcopy(self.model.state_dict())
        self.seconds: list[dict[str, float]] = []

    def load_config(self) -> Config:
        """What is trained on what."""
        return drawn_config(self.inputs['folder'], self.inputs.get('config'), self.inputs.get('base'))

    def run(self) -> Any:
        """Train, always from the same weights; the loss of each step."""
        self.seconds.append(defaultdict(float))
        self.model.load_state_dict(self.weights)
        set_random_seed(0)
        return [*self._train(build_optim_wrapper(self.model, self.config.optim_wrapper))]

    def digest(self, result: Any) -> NDArray[np.float64] | None:
        """The losses."""
        return np.array(result)

    def parts(self, result: Any) -> dict[str, float]:
        """Where the time went."""
        return {part: median(run[part] for run in self.seconds) for part in self.seconds[0]}

    def _train(self, optimizer: Any) -> Iterator[float]:
        self.model.train()
        batches = iter(self.train_loader)
        for _ in range(len(self.train_loader)):
            with self._clock('data'):
                batch = next(batches)
            with self._clock('forward'):
                data = self.model.data_preprocessor(batch, training=True)
                with optimizer.optim_context(self.model):
                    losses = self.model(**data, mode='loss')
                loss, _ = self.model.parse_losses(losses)
            with self._clock('backward and update'):
                optimizer.update_params(loss)
            yield float(loss.detach())

    @contextmanager
    def _clock(self, part: str) -> Iterator[None]:
        start = clock()
        yield
        self.seconds[-1][part] += clock() - start


def cases(options: Options) -> Iterator[Case]:
    """Drawn images."""
    others = (Other(MMDETECTION), find_torchvision(options.torchvision, TorchvisionTrain))
    for cells, side in product(options.cells, options.sides):
        make = partial(write_data, options.scratch / f'{cells}_{side}', cells, side)
        yield Case({'cells': cells, 'side': side}, cells * side**2, make, others)


def step_seconds(side: Side) -> float:
    """Time of the steps alone, without loading."""
    return sum(side.parts[part] for part in _STEP)


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """What the rows come down to."""
    for row in rows:
        for name in row.others:
            if other := row.other(name):
                what = f'{row.labels["cells"]} cells: a step without loading, times faster than {name}'
                yield Finding(what, step_seconds(other) / step_seconds(row.ours))
    few, many = (find_row(rows, cells=cells, side=1024) for cells in (100, 4000))
    if few and many:
        what = '4000 cells at 1024, beside 100'
        yield Finding(f'{what}: MB more', growth(few, many))
        yield Finding(f'{what}: times as long', many.ours.seconds / few.ours.seconds)
