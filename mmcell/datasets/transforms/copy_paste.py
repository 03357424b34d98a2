"""Copy-paste of rare cells between images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from numpy.typing import NDArray

from mmcell.datasets.transforms.cells import replace_masks
from mmcell.structures.label_map_masks import LabelMapMasks

#: Places that are tried for each cell before it is given up.
_TRIES = 10


@TRANSFORMS.register_module()
class CopyPasteCells(BaseTransform):
    """Paste cells of some classes, flipped and turned at random, where they hide little of the cells below.

    Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance segmentation", CVPR 2021, for
    single cells. Inside mmdet's ``MultiImageMixDataset`` they come from other images, drawn among those that hold a
    cell of these classes; anywhere else from the image itself. Cells that are ignored or that the border of their image
    cuts are not copied. Without any to copy the image stays as it is.

    Copied pixels leave the masks of all cells below, whose boxes shrink to what can be seen. The inner data set should
    crop, so that other images cost little: two passes through its pipeline for an image that is pasted into.

    Example:
        Loading and cropping inside, all else outside::

            train_dataloader = dict(
                dataset=dict(
                    _delete_=True,
                    type='MultiImageMixDataset',
                    dataset=dict(
                        type='CellDataset',
                        data_root=data_root,
                        ann_file='annotations/train.json',
                        data_prefix=dict(img='images/'),
                        pipeline=[
                            dict(type='LoadCellImage'),
                            dict(type='LoadCellAnnotations'),
                            dict(type='RandomZoomCrop', size=256, zoom=(0.8, 1.6), rare_prob=0.5),
                        ],
                    ),
                    pipeline=[
                        dict(type='CopyPasteCells', classes=[2, 3], max_cells=5, prob=0.5),
                        dict(type='RandomFlip', prob=0.5),
                        dict(type='RandomQuarterTurn'),
                        dict(type='PackDetInputs'),
                    ],
                ),
            )

    Required keys: img (uint8, (H, W, 3)), gt_masks (LabelMapMasks), gt_bboxes (HorizontalBoxes), gt_bboxes_labels
    ((N,) int64), gt_ignore_flags ((N,) bool), mix_results (optional: dicts with the same keys).

    Modified keys: all but the last. Pasted cells come behind the others.

    Args:
        classes: Labels of the classes to copy.
        max_cells: Most cells to paste; how many is drawn from 1 to this.
        prob: Probability that an image is pasted into.
        max_covered: Largest share of a cell, in pixels, that pasted cells may hide all together.
        feather: Standard deviation in pixels of the soft edge between a pasted cell and its surroundings; 0 for none.
        sources: Images to copy from, for each image that is pasted into.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        classes: Sequence[int],
        max_cells: int = 5,
        prob: float = 0.5,
        max_covered: float = 0.2,
        feather: float = 1.0,
        sources: int = 1,
    ) -> None:
        if not len(classes) or min(classes) < 0:
            raise ValueError(f'classes must be labels, at least one, not {classes}')
        for name, value in (('max_cells', max_cells), ('sources', sources)):
            if value < 1:
                raise ValueError(f'{name} must be at least 1, not {value}')
        for name, share in (('prob', prob), ('max_covered', max_covered)):
            if not 0 <= share <= 1:
                raise ValueError(f'{name} must be between 0 and 1, not {share}')
        if feather < 0:
            raise ValueError(f'feather must be at least 0, not {feather}')
        self.classes = tuple(classes)
        self.max_cells = max_cells
        self.prob = prob
        self.max_covered = max_covered
        self.feather = feather
        self.sources = sources
        self._holders: tuple[Any, NDArray[np.int64]] | None = None

    @cache_randomness
    def _applies(self) -> bool:
        return bool(np.random.rand() < self.prob)

    @cache_randomness
    def _draw(self, available: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Which cells, (K,), their orientation from 0 to 7, (K,), and places to try, (K, tries, 2) in [0, 1)."""
        count = min(np.random.randint(1, self.max_cells + 1), available)
        chosen = np.random.choice(available, count, replace=False)
        return chosen, np.random.randint(8, size=count), np.random.rand(count, _TRIES, 2)

    @cache_randomness
    def get_indexes(self, dataset: Any) -> list[int]:
        """Images to copy from: what ``MultiImageMixDataset`` asks for; none if nothing is to be pasted.

        Args:
            dataset: Data set with ``get_cat_ids``, such as CellDataset or a ClassBalancedDataset of it.
        """
        if not self._applies():
            return []
        if self._holders is None or self._holders[0] is not dataset:
            wanted = set(self.classes)
            found = [i for i in range(len(dataset)) if not wanted.isdisjoint(dataset.get_cat_ids(i))]
            self._holders = dataset, np.array(found, dtype=np.int64)
        holders = self._holders[1]
        return np.random.choice(holders, self.sources).tolist() if len(holders) else []

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Paste cells of `results['mix_results']`, or else of the image itself, into the image."""
        if 'mix_results' in results:
            sources = results['mix_results']  # get_indexes drew whether to paste
        else:
            sources = [results] if self._applies() else []
        cells = [(source, i) for source in sources for i in self._candidates(source)]
        if not cells:
            return results
        chosen, orientations, places = self._draw(len(cells))
        canvas = _Canvas(results, self.max_covered)
        # All are cut out before the first is pasted: the image may be its own source.
        patches = [self._cut(cells[k][0], cells[k][1], orientation) for k, orientation in zip(chosen, orientations)]
        for k, (pixels, mask), tries in zip(chosen, patches, places):
            source, i = cells[k]
            canvas.paste(pixels, mask, self._alpha(mask), source['gt_bboxes_labels'][i], tries)
        canvas.write(results)
        return results

    def _candidates(self, source: dict[str, Any]) -> NDArray[np.int64]:
        """Cells that may be copied: of a wanted class, whole, and not ignored."""
        wanted = np.flatnonzero(np.isin(source['gt_bboxes_labels'], self.classes) & ~source['gt_ignore_flags'])
        if not len(wanted):
            return wanted
        masks = source['gt_masks'][wanted]
        x1, y1, x2, y2 = masks.get_bboxes().tensor.numpy().T
        whole = (x1 > 0) & (y1 > 0) & (x2 < masks.width) & (y2 < masks.height) & (x2 > x1)
        return wanted[whole]

    def _cut(self, source: dict[str, Any], index: int, orientation: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Pixels (h, w, 3) and mask (h, w) of a cell with a margin for its soft edge, turned and flipped."""
        masks = source['gt_masks'][index]
        x1, y1, x2, y2 = masks.get_bboxes().tensor[0].int().tolist()
        margin = int(np.ceil(3 * self.feather))
        rows = slice(max(y1 - margin, 0), y2 + margin)
        columns = slice(max(x1 - margin, 0), x2 + margin)
        pixels = source['img'][rows, columns]
        mask = masks.planes[masks.plane_of[0], rows, columns] == masks.value_of[0]
        pixels, mask = np.rot90(pixels, orientation % 4), np.rot90(mask, orientation % 4)
        if orientation >= 4:
            pixels, mask = pixels[:, ::-1], mask[:, ::-1]
        return pixels.copy(), mask.copy()

    def _alpha(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        alpha = mask.astype(np.float32)
        return cv2.GaussianBlur(alpha, (0, 0), self.feather) if self.feather else alpha

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(classes={self.classes}, max_cells={self.max_cells}, prob={self.prob}, '
            f'max_covered={self.max_covered}, feather={self.feather}, sources={self.sources})'
        )


class _Canvas:
    """An image and its cells while others are pasted into it."""

    def __init__(self, results: dict[str, Any], max_covered: float) -> None:
        masks = results['gt_masks']
        self.image = results['img'].copy()
        self.planes = masks.planes.copy() if len(masks.planes) else np.zeros((1, *masks.planes.shape[1:]), np.int32)
        self.plane_of, self.value_of = masks.plane_of, masks.value_of
        self.labels: list[int] = []
        # Planes may hold values that no cell refers to any more.
        self.first = int(self.planes.max(initial=0)) + 1
        self.max_covered = max_covered
        self.spare = max_covered * masks.areas  # pixels of each cell that may still be hidden

    def paste(
        self,
        pixels: NDArray[np.uint8],
        mask: NDArray[np.bool_],
        alpha: NDArray[np.float32],
        label: int,
        places: NDArray[np.float64],
    ) -> None:
        """Paste a cell at the first of `places`, (tries, 2) in [0, 1), where it hides little enough, if any."""
        room = np.array(self.image.shape[:2]) - mask.shape + 1
        if room.min() < 1:
            return
        for y, x in (places * room).astype(int):
            window = slice(y, y + mask.shape[0]), slice(x, x + mask.shape[1])
            below = self.planes[:, window[0], window[1]]
            hidden = self._hidden(below[:, mask])
            if (hidden > self.spare).any():
                continue
            value = self.first + len(self.labels)
            self.spare = np.append(self.spare - hidden, self.max_covered * mask.sum())
            below[:, mask] = 0
            below[0, mask] = value
            blended = self.image[window] + alpha[..., None] * (pixels.astype(np.float32) - self.image[window])
            self.image[window] = np.rint(blended)
            self.plane_of, self.value_of = np.append(self.plane_of, 0), np.append(self.value_of, value)
            self.labels.append(label)
            return

    def _hidden(self, values: NDArray[np.int32]) -> NDArray[np.int64]:
        """Pixels of each cell among `values`, (P, K), those of K pixels in each plane."""
        hidden = np.zeros(len(self.value_of), dtype=np.int64)
        for p, (found, counts) in enumerate(np.unique(row, return_counts=True) for row in values):
            members = np.flatnonzero(self.plane_of == p)
            at = np.minimum(np.searchsorted(found, self.value_of[members]), len(found) - 1)
            hidden[members] = np.where(found[at] == self.value_of[members], counts[at], 0)
        return hidden

    def write(self, results: dict[str, Any]) -> None:
        """Put image and cells into `results`; cells of which nothing is left are dropped."""
        if not self.labels:
            return
        labels, flags = results['gt_bboxes_labels'], results['gt_ignore_flags']
        results['img'] = self.image
        results['gt_bboxes_labels'] = np.append(labels, np.array(self.labels, dtype=labels.dtype))
        results['gt_ignore_flags'] = np.append(flags, np.zeros(len(self.labels), dtype=flags.dtype))
        replace_masks(results, LabelMapMasks(self.planes, self.plane_of, self.value_of))
