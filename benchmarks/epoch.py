"""An epoch of a config on a data set, and its validation."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from numpy.typing import NDArray

from benchmarks.measure import Case, Finding, Options, Other, Row
from benchmarks.parts import MASKS_ALONE, MMDETECTION, check_start
from benchmarks.train import Train, step_seconds
from mmcell.config import load_config, run_name
from mmcell.errors import InputError
from mmcell.io.files import read_json

#: They take the masks as we hold them.
_OURS_ONLY = frozenset(('RandomZoomCrop', 'CopyPasteCells'))


class Epoch(Train):
    """An epoch and its validation with `DenseCocoMetric`; MMDetection has its own parts and `CocoMetric`.

    *our masks alone* is MMDetection but for loading, holding and pasting masks. Images are loaded in the same process
    and thread. A config that wraps its detector, in tiles or views, is not validated.
    """

    limit_s: ClassVar[float] = 3600.0

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        self.validates = 'detector' not in self.config.model
        if self.validates:
            self.val_loader = Runner.build_dataloader(self.config.val_dataloader, seed=0)

    def load_config(self) -> Config:
        """The config, for as many images as were asked for."""
        config = load_config(self.inputs['config'], base=self.inputs['base'])
        for loader in (config.train_dataloader, config.val_dataloader):
            images = (self.inputs['steps'] or sys.maxsize) * loader.batch_size
            if images < len(read_json(_annotations(loader.dataset))['images']):
                loader.dataset.indices = images
        return config

    def run(self) -> dict[str, Any]:
        """Train and validate, always from the same weights."""
        losses = super().run()
        return {'losses': losses, 'metrics': self._validate() if self.validates else {}}

    def digest(self, result: dict[str, Any]) -> NDArray[np.float64]:
        """The loss of each step."""
        return np.array(result['losses'])

    def _validate(self) -> dict[str, float]:
        self.model.eval()
        # As MMDetection does not know results that are RLE with probabilities, each side has its own metric.
        masks_are_rle = self.config.model.roi_head.mask_head.type != 'FCNMaskHead'
        metric = {'type': 'DenseCocoMetric'} if masks_are_rle else {'type': 'CocoMetric', 'metric': 'segm'}
        dataset = self.config.val_dataloader.dataset
        evaluator = Evaluator([METRICS.build({**metric, 'ann_file': str(_annotations(dataset))})])
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


def _annotations(dataset: Any) -> Path:
    return Path(dataset.data_root, dataset.ann_file)


def cases(options: Options) -> Iterator[Case]:
    """The data that MMCELL_DATA names.

    Raises:
        InputError: If they are not there, or the config is not.
    """
    if options.config is None:
        raise InputError('--config', 'is not given', 'name a config')
    config = load_config(options.config, base=options.base)
    for loader in (config.train_dataloader, config.val_dataloader):
        read_json(_annotations(loader.dataset))
    check_start(config, options.checkpoint, strict=False)
    labels: dict[str, int | str] = {
        'config': run_name(config),
        'data': Path(config.train_dataloader.dataset.data_root).name,
    }
    inputs = {'config': options.config, 'base': options.base, 'steps': options.steps, 'amp': options.amp}
    inputs['checkpoint'] = options.checkpoint
    others = [Other(MASKS_ALONE)]
    if not _OURS_ONLY & {step.type for step in config.train_dataloader.dataset.pipeline}:
        others.append(Other(MMDETECTION))
    if options.amp:
        labels['ours in'] = 'bfloat16'
    labels['steps'] = options.steps or 'an epoch'
    yield Case(labels, 1, lambda: inputs, others)


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """What the rows come down to."""
    for row in rows:
        data = row.ours.parts['data']
        yield Finding('% of a step spent on data', 100 * data / (data + step_seconds(row.ours)))
        for name in row.others:
            if other := row.other(name):
                yield Finding(
                    f'steps without data, times faster than {name}', step_seconds(other) / step_seconds(row.ours)
                )
