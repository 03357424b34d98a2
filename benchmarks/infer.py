"""Prediction, from the file of an image to checked RLE."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS
from mmdet.structures.mask import encode_mask_results
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint, set_random_seed
from numpy.typing import NDArray
from torch import nn

from benchmarks.drawn import drawn_config, write_data
from benchmarks.measure import Case, Finding, Options, Other, Row, Task, clock
from benchmarks.parts import MASKS_ALONE, MMDETECTION, check_start, use_parts
from benchmarks.torchvision_side import TorchvisionInfer, find_torchvision
from mmcell.coco.results import Result, to_results
from mmcell.coco.schema import raise_first, result_problems
from mmcell.config import load_config, run_name
from mmcell.errors import InputError

_PROPOSALS = 1000  # at least


class Infer(Task):
    """Prediction of a drawn image of side x side pixels, from its file to checked RLE.

    The model is `configs/cell/mask_rcnn.py`: ResNet-50, random weights, the image seen at 800 x 800. It is asked for as
    many detections as there are cells, of any score, with filled boxes for outlines; *made* says how many it gave.
    torchvision has its own Mask R-CNN, and its RLE are not checked.
    """

    limit_s: ClassVar[float] = 300.0

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        MMLogger.get_instance('mmcell', log_level=logging.ERROR)
        DefaultScope.get_instance('mmcell', scope_name='mmdet')
        config = self.load_config()
        use_parts(config, side)
        self.pipeline = Compose(config.test_dataloader.dataset.pipeline)
        set_random_seed(0)
        self.model = MODELS.build(config.model)
        self.load_weights()
        self.model.eval()
        self.seconds: list[dict[str, float]] = []
        self._time_masks()

    def load_config(self) -> Config:
        """What predicts."""
        config = drawn_config(self.inputs['folder'], self.inputs.get('config'), self.inputs.get('base'))
        count, proposals = self.inputs['detections'], self.inputs['proposals']
        config.model.test_cfg.rpn.update(nms_pre=2 * proposals, max_per_img=proposals)
        config.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=count)
        return config

    def load_weights(self) -> None:
        """Random ones, but for the outlines."""
        self.model.init_weights()
        logits = self.model.roi_head.mask_head.conv_logits
        nn.init.zeros_(logits.weight)
        nn.init.ones_(logits.bias)

    def run(self) -> list[Result]:
        """Predict."""
        self.seconds.append(defaultdict(float))
        return self._predict(1, self.inputs['image'])

    def digest(self, result: list[Result]) -> NDArray[np.float64]:
        """The scores, which are nearly the same for all boxes of random weights: in what order is chance."""
        return np.sort([each['score'] for each in result])

    def amount(self, result: list[Result]) -> int:
        """Detections."""
        return len(result)

    def parts(self, result: list[Result]) -> dict[str, float]:
        """Where the time went."""
        stages = ('load', 'network', 'masks', 'encode and check')
        return {stage: median(run[stage] for run in self.seconds) for stage in stages}

    def _predict(self, image_id: int, path: str) -> list[Result]:
        seconds = self.seconds[-1]
        with self._clock('load'):
            batch = pseudo_collate([self.pipeline({'img_path': path, 'img_id': image_id})])
        masks = seconds['masks']
        with self._clock('network'), torch.no_grad():
            found = self.model.test_step(batch)[0].pred_instances.to_dict()
        seconds['network'] -= seconds['masks'] - masks
        with self._clock('encode and check'):
            if isinstance(found['masks'], torch.Tensor):
                found['masks'] = encode_mask_results(found['masks'].numpy())
            results = to_results(image_id, found, (1, 2, 3, 4))
            raise_first(path, result_problems(results))
        return results

    def _time_masks(self) -> None:
        """Mask features, mask head, pasting; in whatever wrapper the detector is."""
        detector = self.model
        while hasattr(detector, 'detector'):
            detector = detector.detector
        head = detector.roi_head
        head._mask_forward = self._timed(head._mask_forward)
        heads: Iterable[Any] = head.mask_head if isinstance(head.mask_head, nn.ModuleList) else [head.mask_head]
        for each in heads:
            each.predict_by_feat = self._timed(each.predict_by_feat)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._clock('masks'):
                return function(*args, **kwargs)

        return timed

    @contextmanager
    def _clock(self, part: str) -> Iterator[None]:
        start = clock()
        yield
        self.seconds[-1][part] += clock() - start


class InferFiles(Infer):
    """Prediction of images by a trained model, from their files to checked RLE.

    *our masks alone* is MMDetection but for pasting and encoding masks, and the tiles and views of the config, which
    MMDetection does not have. The difference is that of scores and of the bytes of all RLE: below 1, all RLE are the
    same.
    """

    limit_s: ClassVar[float] = 3600.0

    def load_config(self) -> Config:
        """The config, with its options."""
        return load_config(self.inputs['config'], self.inputs['options'], self.inputs['base'])

    def load_weights(self) -> None:
        """Those of the checkpoint."""
        load_checkpoint(self.model, str(self.inputs['checkpoint']), map_location='cpu', strict=True, logger='silent')

    def run(self) -> list[Result]:
        """Predict all."""
        self.seconds.append(defaultdict(float))
        return [
            result for number, path in enumerate(self.inputs['images'], 1) for result in self._predict(number, path)
        ]

    def digest(self, result: list[Result]) -> NDArray[np.float64]:
        """Scores, then a hash of all RLE."""
        text = ' '.join(each['segmentation']['counts'] for each in result).encode()
        return np.array([*(each['score'] for each in result), *hashlib.sha256(text).digest()], dtype=np.float64)


def cases(options: Options) -> Iterator[Case]:
    """Drawn images."""
    others = (Other(MMDETECTION), find_torchvision(options.torchvision, TorchvisionInfer))
    for cells, side in product(options.cells, options.sides):
        make = partial(drawn_inputs, options.scratch / f'{cells}_{side}', cells, side)
        yield Case({'cells': cells, 'side': side}, cells * side**2, make, others)


def drawn_inputs(folder: Path, cells: int, side: int) -> dict[str, Any]:
    """A drawn image, and how many detections and proposals to ask for."""
    return {**write_data(folder, cells, side), 'detections': cells, 'proposals': max(_PROPOSALS, cells)}


def file_cases(options: Options) -> Iterator[Case]:
    """The first images of a folder.

    Raises:
        InputError: If there are none, or there is no checkpoint.
    """
    if options.config is None or options.source is None or options.checkpoint is None:
        raise InputError('--config', 'needs --source and --checkpoint', 'name a folder of images, and weights')
    images = [str(path) for path in sorted(options.source.glob('*.tif'))[: options.images]]
    if not images:
        raise InputError(options.source, 'holds no *.tif', 'name a folder of images')
    inputs = {'config': options.config, 'base': options.base, 'options': options.options, 'images': images}
    inputs['checkpoint'] = options.checkpoint
    config = load_config(options.config, options.options, options.base)
    check_start(config, options.checkpoint, strict=True)
    labels: dict[str, int | str] = {'config': run_name(config), 'source': options.source.name, 'images': len(images)}
    others = [Other(MASKS_ALONE)]
    if 'detector' not in config.model:
        others.append(Other(MMDETECTION))
    yield Case(labels, 1, lambda: inputs, others)


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """What the rows come down to."""
    for row in rows:
        for name in row.others:
            if other := row.other(name):
                stages = ('network', 'masks')
                theirs, ours = (sum(side.parts[stage] for stage in stages) for side in (other, row.ours))
                what = f'{row.labels["cells"]} cells: ' if 'cells' in row.labels else ''
                yield Finding(f'{what}network and masks, times faster than {name}', theirs / ours)
