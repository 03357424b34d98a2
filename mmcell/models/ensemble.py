"""Several detectors predict, and what they agree on is the result."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmcell.errors import InputError
from mmcell.io.checkpoints import load_weights
from mmcell.models.wrapper import DetectorWrapper
from mmcell.structures.fusion import Method, Predictions, fuse
from mmcell.structures.rle import decode


@MODELS.register_module()
class EnsembleDetector(DetectorWrapper):
    """An ensemble of checkpoints, folds or scales that predicts as one detector.

    Each member may itself be a :class:`CellTTA` or a :class:`TiledDetector`, and the ensemble may be the detector of a
    :class:`TiledDetector`. Members predict one after the other, and are fused by :func:`mmcell.structures.fusion.fuse`.

    The checkpoint that a tool is given is that of all members without one of their own: of all of them for an
    ensemble of scales, of the first for an ensemble of folds. Its names are those of the plain detector.

    Args:
        detectors: Config of each member, with masks as RLE (:class:`mmcell.models.BoxedRLEMaskHead`) and the same
            normalization of images.
        checkpoints: Checkpoint file of each member, None for that of the tool, and at least the first is None; by
            default all.
        weights: Weight of each member; None weighs all equally.
        iou_thr: See :func:`fuse`.
        method: See :func:`fuse`.
        max_per_img: How many of the best predictions of an image are kept; None keeps all.

    Raises:
        InputError: If a checkpoint of a member does not fit it.
        ValueError: If the arguments do not fit each other.
    """

    def __init__(
        self,
        detectors: Sequence[ConfigType],
        checkpoints: Sequence[str | None] | None = None,
        weights: Sequence[float] | None = None,
        iou_thr: float = 0.55,
        method: Method = 'wbf',
        max_per_img: int | None = None,
    ) -> None:
        checkpoints = [None] * len(detectors) if checkpoints is None else checkpoints
        if not detectors or len(checkpoints) != len(detectors) or checkpoints[0] is not None:
            raise ValueError('checkpoints must name a file or None for each detector, and None for the first')
        if weights is not None and (len(weights) != len(detectors) or min(weights) <= 0):
            raise ValueError(f'weights must be a number greater than 0 for each detector, not {weights}')
        super().__init__(detectors[0])
        self.others = nn.ModuleList(MODELS.build(detector) for detector in detectors[1:])
        self._follows = [checkpoint is None for checkpoint in checkpoints[1:]]
        self.weights, self.iou_thr, self.method, self.max_per_img = weights, iou_thr, method, max_per_img
        for detector, checkpoint in zip(self.others, checkpoints[1:]):
            if _normalisation(detector) != _normalisation(self):
                raise ValueError('all detectors must normalize images alike (data_preprocessor)')
            if checkpoint is not None:
                load_weights(detector, checkpoint)
        self.register_state_dict_post_hook(_hide_others)
        self.register_load_state_dict_pre_hook(_expect_no_others)

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Any]:
        """Refuses to train.

        Raises:
            InputError: Always.
        """
        raise InputError('model', 'is an EnsembleDetector, which only predicts', 'train its detectors one by one')

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Predict the cells of images.

        Args:
            batch_inputs: Normalized images, (N, 3, H, W), padded to one size.
            batch_data_samples: Their meta data.
            rescale: Whether predictions are wanted at the size of the original images.

        Returns:
            The samples with `pred_instances`, ordered by falling score.

        Raises:
            InputError: If the masks of a member are not RLE.
        """
        found = []
        for detector in (self.detector, *self.others):
            samples = detector.predict(batch_inputs, copy.deepcopy(batch_data_samples), rescale=rescale)
            found.append([sample.pred_instances for sample in samples])
        sizes = [sample.ori_shape[:2] if rescale else sample.img_shape[:2] for sample in batch_data_samples]
        results = [self._fuse(members, size) for *members, size in zip(*found, sizes)]
        return self.add_pred_to_datasample(batch_data_samples, results)

    @property
    def reads_windows(self) -> bool:
        """Whether all members are tiled, so that images need not be in memory as a whole."""
        return all(getattr(detector, 'reads_windows', False) for detector in (self.detector, *self.others))

    @property
    def tiling(self) -> tuple[int, int]:
        """Side and overlap of the largest tiles, in pixels of the image."""
        return max(detector.tiling for detector in (self.detector, *self.others))

    def predict_windows(
        self, cut: Callable[[int, int, int, int], Tensor], size: tuple[int, int], progress: bool = False
    ) -> InstanceData:
        """Predict the cells of an image that need not be in memory, as :meth:`TiledDetector.predict_windows` does."""
        found = [detector.predict_windows(cut, size, progress) for detector in (self.detector, *self.others)]
        return self._fuse(found, size)

    def _fuse(self, found: Sequence[InstanceData], size: tuple[int, int]) -> InstanceData:
        fused = fuse([_predictions(each, size) for each in found], self.weights, self.iou_thr, self.method)
        fused = fused.select(np.arange(len(fused))[: self.max_per_img])
        boxes = found[0].bboxes
        results = InstanceData(
            bboxes=boxes.new_tensor(fused.boxes),
            scores=found[0].scores.new_tensor(fused.scores),
            labels=torch.from_numpy(fused.labels).to(boxes.device),
            masks=fused.masks.encode(),
        )
        if fused.probabilities is not None:
            results.probabilities = boxes.new_tensor(fused.probabilities)
        return results


def _predictions(found: InstanceData, size: tuple[int, int]) -> Predictions:
    masks = found.masks if len(found) else []  # MMDetection gives a batch without detections tensors
    if not isinstance(masks, list):
        raise InputError(
            'model.detectors', 'have a mask head that gives bitmaps', 'set the type BoxedRLEMaskHead for it'
        )
    boxes, scores, labels = (found[key].cpu().numpy() for key in ('bboxes', 'scores', 'labels'))
    probabilities = found.probabilities.cpu().numpy().astype(np.float64) if 'probabilities' in found else None
    return Predictions(
        boxes.astype(np.float64),
        scores.astype(np.float64),
        labels.astype(np.int64),
        decode(masks, size),
        probabilities,
    )


def _normalisation(detector: nn.Module) -> tuple:
    preprocessor = detector.data_preprocessor
    values = [getattr(preprocessor, name, torch.zeros(0)).flatten().tolist() for name in ('mean', 'std')]
    return (*values, getattr(preprocessor, '_channel_conversion', False))


def _hide_others(module: EnsembleDetector, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in [name for name in state_dict if name.startswith(f'{prefix}others.')]:
        del state_dict[name]


def _expect_no_others(module: EnsembleDetector, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give the other members what is not in the checkpoint: their own weights, or those of the first."""
    first = {
        name.removeprefix(f'{prefix}detector.'): value
        for name, value in state_dict.items()
        if name.startswith(f'{prefix}detector.')
    }
    for index, (detector, follows) in enumerate(zip(module.others, module._follows)):
        weights = first if follows else detector.state_dict()
        state_dict.update({f'{prefix}others.{index}.{name}': value for name, value in weights.items()})
