"""Prediction tile by tile, for images of any size."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from mmcell.errors import InputError
from mmcell.models.wrapper import DetectorWrapper, resize
from mmcell.structures.rle import Runs, decode
from mmcell.structures.run_geometry import place
from mmcell.structures.seams import resolve_seams


@MODELS.register_module()
class TiledDetector(DetectorWrapper):
    """A detector that sees an image in overlapping tiles, enlarged if wanted.

    Masks are pasted at the resolution of the image inside their tile, whatever `scale` is, and leave it as RLE, which
    are moved by runs. Cells that several tiles see become one prediction by
    :func:`mmcell.structures.seams.resolve_seams`. Memory grows with the tiles in work and the cells found, not with
    the image. An image that is no larger than a tile, at a scale of 1, gives just what `detector` gives.

    The limits of the detector count for each tile: there may be more predictions on an image than its `max_per_img`,
    and proposals (`test_cfg.rpn`) should be limited to what suits the area of a tile.

    Args:
        detector: Config of a detector with a :class:`mmcell.models.BoxedRLEMaskHead`.
        tile: Side of a tile in pixels of the image.
        overlap: Least number of pixels that neighboring tiles share: cells up to this size are seen whole.
        scale: How much tiles are enlarged before the detector sees them.
        tile_batch: Tiles that the detector sees at once.
        iou_thr: See :func:`mmcell.structures.seams.resolve_seams`.
        margin: See there.
        slack: See there.

    Raises:
        ValueError: If `overlap` is not less than `tile`.
    """

    def __init__(
        self,
        detector: ConfigType,
        tile: int = 768,
        overlap: int = 384,
        scale: float = 1.0,
        tile_batch: int = 1,
        iou_thr: float = 0.5,
        margin: float = 2,
        slack: float = 8,
    ) -> None:
        super().__init__(detector)
        tile_windows((1, 1), tile, overlap)  # refuses what cannot be tiled now, not after training
        self.tile, self.overlap, self.scale, self.tile_batch = tile, overlap, scale, tile_batch
        self.iou_thr, self.margin, self.slack = iou_thr, margin, slack

    @property
    def tiling(self) -> tuple[int, int]:
        """Side and overlap of the tiles, in pixels of the image."""
        return self.tile, self.overlap

    @property
    def reads_windows(self) -> bool:
        """It has :meth:`predict_windows`."""
        return True

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Predict the cells of images.

        Args:
            batch_inputs: Normalized images, (N, 3, H, W), padded to one size.
            batch_data_samples: Their meta data. Of an image that takes several tiles, the pipeline must not have
                changed the size: `scale` does that.
            rescale: Must be True: predictions are at the size of the original images.

        Returns:
            The samples with `pred_instances`: bboxes (n, 4) as x1, y1, x2, y2, scores (n,), labels (n,), masks (n RLE).

        Raises:
            InputError: If an image that needs tiles was resized, or the detector's masks are not RLE.
        """
        results = []
        for image, sample in zip(batch_inputs, batch_data_samples):
            height, width = sample.img_shape[:2]
            ori_shape, scale_factor = sample.ori_shape[:2], sample.metainfo.get('scale_factor', (1.0, 1.0))

            def cut(x1: int, y1: int, x2: int, y2: int, image: Tensor = image) -> Tensor:
                return image[:, y1:y2, x1:x2]

            windows = tile_windows((height, width), self.tile, self.overlap)
            if len(windows) == 1:
                results += self._predict_tiles(cut, windows, ori_shape, scale_factor)
                continue
            if (height, width) != tuple(ori_shape):
                raise InputError(
                    'test_dataloader.dataset.pipeline',
                    f'resizes an image of {ori_shape[1]} x {ori_shape[0]} pixels, which needs several tiles',
                    'leave out resizing, and set model.scale',
                )
            results.append(self.predict_windows(cut, (height, width)))
        return self.add_pred_to_datasample(batch_data_samples, results)

    def predict_windows(
        self, cut: Callable[[int, int, int, int], Tensor], size: tuple[int, int], progress: bool = False
    ) -> InstanceData:
        """Predict the cells of an image that need not be in memory as a whole.

        Args:
            cut: Gives the normalized pixels, (3, y2 - y1, x2 - x1), of a window x1, y1, x2, y2, where the detector is.
            size: Height and width of the image.
            progress: Whether to show on standard error, if that is a terminal, how many tiles are done.

        Returns:
            The predictions, as :meth:`predict`, ordered by falling score where there are several tiles.

        Raises:
            InputError: If the detector's masks are not RLE.
        """
        windows = tile_windows(size, self.tile, self.overlap)
        tile_size = int(windows[0, 3]), int(windows[0, 2])
        found, masks = [], []
        with tqdm(
            total=len(windows), desc='tiles', unit='tile', file=sys.stderr, leave=False, disable=not progress or None
        ) as bar:
            for start in range(0, len(windows), self.tile_batch):
                part = windows[start : start + self.tile_batch]
                tiles = self._predict_tiles(cut, part, tile_size, (1.0, 1.0))
                if len(windows) == 1:
                    return tiles[0]
                for (x, y), results in zip(part[:, :2].tolist(), tiles):
                    masks.append(place(decode(results.masks, tile_size), (x, y), size))
                    # All that does not depend on the place stays as it is.
                    moved = InstanceData(**{key: value for key, value in results.items() if key != 'masks'})
                    moved.bboxes = results.bboxes + results.bboxes.new_tensor([x, y, x, y])
                    found.append(moved)
                bar.update(len(part))
        return self._resolve(found, masks, windows)

    def _predict_tiles(
        self,
        cut: Callable[[int, int, int, int], Tensor],
        windows: NDArray[np.int64],
        ori_shape: tuple[int, int],
        scale_factor: tuple[float, float],
    ) -> list[InstanceData]:
        """Predictions of windows of one size, in their own frames of `ori_shape`."""
        images = torch.stack([cut(*window) for window in windows.tolist()])
        resized = resize(images, self.scale)
        (height, width), (new_height, new_width) = images.shape[2:], resized.shape[2:]
        factors = scale_factor[0] * (new_width / width), scale_factor[1] * (new_height / height)
        inputs, samples = self.as_inputs(resized, ori_shape, factors)
        results = [sample.pred_instances for sample in self.detector.predict(inputs, samples, rescale=True)]
        for instances in results:
            if not len(instances):
                instances.masks = []  # MMDetection gives a batch without detections tensors
            elif not isinstance(instances.masks, list):
                raise InputError(
                    'model.detector', 'has a mask head that gives bitmaps', 'set the type BoxedRLEMaskHead for it'
                )
        return results

    def _resolve(self, found: list[InstanceData], masks: list[Runs], windows: NDArray[np.int64]) -> InstanceData:
        tiles = np.repeat(np.arange(len(found)), [len(results) for results in found])
        results, runs = InstanceData.cat(found), Runs.cat(masks)
        boxes, scores, labels = (results[key].cpu().numpy() for key in ('bboxes', 'scores', 'labels'))
        kept = resolve_seams(boxes, scores, labels, runs, tiles, windows, self.iou_thr, self.margin, self.slack)
        kept = kept[np.argsort(-scores[kept], kind='stable')]
        results = results[torch.from_numpy(kept).to(results.bboxes.device)]
        results.masks = runs.select(kept).encode()
        return results


def tile_windows(size: tuple[int, int], tile: int, overlap: int) -> NDArray[np.int64]:
    """Cover an image with as few equal, overlapping tiles as do, spread evenly.

    Neighbors share at least `overlap` pixels, so whatever is no larger than that lies whole in one of them.

    Args:
        size: Height and width of the image in pixels.
        tile: Side of a tile; a shorter image is covered by tiles of its own height or width.
        overlap: Least number of pixels that neighbors share, less than `tile`.

    Returns:
        x1, y1, x2, y2 in pixels, (T, 4), row by row.

    Raises:
        ValueError: If `overlap` is negative or not less than `tile`.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f'overlap must be at least 0 and less than the tile of {tile} pixels, not {overlap}')
    height, width = size
    tops, lefts = _starts(height, tile, overlap), _starts(width, tile, overlap)
    tile_height, tile_width = min(tile, height), min(tile, width)
    return np.array([(x, y, x + tile_width, y + tile_height) for y in tops for x in lefts], dtype=np.int64)


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    gaps = -(-max(side - tile, 0) // (tile - overlap))
    # Steps rounded down to pixels are no longer than the exact step rounded up, which still fits.
    return [i * (side - tile) // gaps for i in range(gaps)] + [max(side - tile, 0)]
