"""An epoch of training and its validation: where the time goes."""

from __future__ import annotations

import copy
import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mmdet.registry import METRICS, MODELS
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, load_checkpoint, set_random_seed
from numpy.typing import NDArray

from benchmarks.measure import Bar, Case, Options, Row, Task, clock
from mmcell.config import load_config
from mmcell.io.files import read_json

_STEP = ('data', 'forward', 'backward and update')
_STOCK = {'LoadCellAnnotations': 'LoadAnnotations', 'BoxedRLEMaskHead': 'FCNMaskHead'}


class Train(Task):
    """An epoch and its validation with `DenseCocoMetric`; stock has its own masks, mask head and `CocoMetric`.

    Images are loaded in the same process and thread.
    """

    limit_s: ClassVar[float] = 3600.0

    def __init__(self, inputs: dict[str, Any], ours: bool) -> None:
        super().__init__(inputs, ours)
        MMLogger.get_instance('mmcell', log_level=logging.ERROR)
        DefaultScope.get_instance('mmcell', scope_name='mmdet')
        self.config = copy.deepcopy(inputs['config'])
        if not ours:
            self._use_stock()
        self.train_loader, self.val_loader = (
            Runner.build_dataloader(self.config[name], seed=0) for name in ('train_dataloader', 'val_dataloader')
        )
        set_random_seed(0)
        self.model = MODELS.build(self.config.model)
        self.model.init_weights()
        if inputs['checkpoint']:
            load_checkpoint(self.model, str(inputs['checkpoint']), map_location='cpu', logger='silent')
        self.weights = copy.deepcopy(self.model.state_dict())

    def run(self) -> dict[str, Any]:
        """Train and validate, always from the same weights."""
        self.seconds: dict[str, float] = defaultdict(float)
        self.model.load_state_dict(self.weights)
        set_random_seed(0)
        optimizer = build_optim_wrapper(self.model, self.config.optim_wrapper)
        return {'losses': [*self._train(optimizer)], 'metrics': self._validate()}

    def digest(self, result: dict[str, Any]) -> NDArray[np.float64]:
        """The loss of each step."""
        return np.array(result['losses'])

    def parts(self, result: dict[str, Any]) -> dict[str, float]:
        """Where the time went."""
        return dict(self.seconds)

    def _train(self, optimizer: Any) -> Iterator[float]:
        self.model.train()
        batches = iter(self.train_loader)
        for _ in range(len(self.train_loader)):
            with self._clock('data'):
                batch = next(batches)
            with self._clock('forward'):
                data = self.model.data_preprocessor(batch, training=True)
                loss, _ = self.model.parse_losses(self.model(**data, mode='loss'))
            with self._clock('backward and update'):
                optimizer.update_params(loss)
            yield float(loss.detach())

    def _validate(self) -> dict[str, float]:
        self.model.eval()
        dataset = self.config.val_dataloader.dataset
        metric = {'type': 'DenseCocoMetric'} if self.ours else {'type': 'CocoMetric', 'metric': 'segm'}
        evaluator = Evaluator([METRICS.build({**metric, 'ann_file': str(Path(dataset.data_root, dataset.ann_file))})])
        evaluator.dataset_meta = self.val_loader.dataset.metainfo
        batches = iter(self.val_loader)
        images = 0
        for _ in range(len(self.val_loader)):
            with self._clock('validation: data'):
                batch = next(batches)
            with self._clock('validation: predict'), torch.no_grad():
                predictions = self.model.val_step(batch)
            with self._clock('validation: score'):
                evaluator.process(predictions, batch)
            images += len(predictions)
        with self._clock('validation: score'):
            return evaluator.evaluate(images)

    @contextmanager
    def _clock(self, part: str) -> Iterator[None]:
        start = clock()
        yield
        self.seconds[part] += clock() - start

    def _use_stock(self) -> None:
        for step in self.config.train_dataloader.dataset.pipeline:
            step.type = _STOCK.get(step.type, step.type)
        head = self.config.model.roi_head.mask_head
        head.type = _STOCK.get(head.type, head.type)


def cases(options: Options) -> Iterator[Case]:
    """The data that MMCELL_DATA names."""
    config = load_config(options.config)
    config.optim_wrapper.type = 'OptimWrapper'  # mixed precision needs an accelerator
    for loader in (config.train_dataloader, config.val_dataloader):
        # In the measured process, so that nothing of the cost hides.
        loader.update(num_workers=0, persistent_workers=False)
        dataset = loader.dataset
        path = Path(dataset.data_root, dataset.ann_file)
        images = (options.steps or sys.maxsize) * loader.batch_size
        if images < len(read_json(path)['images']):
            dataset.indices = images
    labels = {'data': Path(config.train_dataloader.dataset.data_root).name, 'steps': options.steps or 'an epoch'}
    inputs = {'config': config, 'checkpoint': options.checkpoint}
    yield Case(labels, 1, lambda: inputs)


def bars(rows: Sequence[Row]) -> Iterator[Bar]:
    """What issue 3 asks for."""
    for row in rows:
        share = 100 * row.ours.parts['data'] / sum(row.ours.parts[part] for part in _STEP)
        yield Bar(f'{row.labels["data"]}: % of a step spent on data', share, 5, at_least=False)
