"""RoIAlign on label maps: the masks of many instances inside many boxes, without the instances' bitmaps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Samples taken together. Bounds the temporary memory to some 10 MB, and fits a CPU's cache.
_CHUNK = 1 << 17
# The same on an accelerator: some 2 GB.
_LARGE_CHUNK = 1 << 24


def sample_instances(
    planes: Tensor, plane_of: Tensor, value_of: Tensor, boxes: Tensor, out_shape: tuple[int, int]
) -> Tensor:
    """Average each instance's mask over the cells of a grid in its box.

    This is ``mmcv.ops.roi_align(bitmap, box, out_shape, spatial_scale=1, sampling_ratio=0, 'avg', aligned=True)`` with
    ``bitmap = plane == value`` (He et al., Mask R-CNN, 2017), in the same steps, order and precision as mmcv's CPU
    kernel: targets are cut at 0.5, where the last bit decides, and boxes that are the ground truth themselves hit
    exactly 0.5 all the time.

    Args:
        planes: Label maps, (P, H, W) int32; their device is the one to work on.
        plane_of: Plane of the instance in each box, (K,) int64, same device.
        value_of: Value of the instance in each box, (K,), same device.
        boxes: x1, y1, x2, y2 in pixels, (K, 4) float. On the CPU they cost no synchronisation.
        out_shape: Rows and columns of the grid.

    Returns:
        (K, *out_shape) in the dtype of the boxes, 0 to 1.
    """
    height, width = planes.shape[1:]
    rows, columns = out_shape
    # As many samples a grid cell as it has pixels. Extents as mmcv rounds them.
    extents = ((boxes[:, 2:] - 0.5) - (boxes[:, :2] - 0.5)).cpu()
    samples = torch.ceil(extents / extents.new_tensor([columns, rows])).long().clamp(min=0)
    boxes = boxes.to(planes.device)
    values = value_of.to(planes.dtype)[:, None, None]
    offsets = (plane_of * (height * width))[:, None, None]
    flat = planes.reshape(-1)
    out = boxes.new_zeros((len(boxes), rows, columns))
    parts = _alike if planes.device.type == 'cpu' else _padded
    for members in parts(samples.numpy(), rows * columns):
        part = torch.from_numpy(members).to(planes.device)
        counts = samples[members].to(planes.device)
        across, down = samples[members].amax(dim=0).tolist()
        value, offset = values[part], offsets[part]
        ends = [(boxes[part, axis], boxes[part, axis + 2], counts[:, axis]) for axis in (0, 1)]
        xs = [x[None, :, :, None] for x in _axis(*ends[0], columns, across, width)]
        ys = [y[:, None, :, :, None] for y in _axis(*ends[1], rows, down, height)]
        sampled = boxes.new_zeros(())
        for y, y_weight in (ys[:2], ys[2:]):
            for x, x_weight in (xs[:2], xs[2:]):
                pixel = flat.index_select(0, (offset + y * width + x).reshape(-1))
                weight = y_weight * x_weight
                sampled = sampled + weight * (pixel.view(weight.shape) == value)
        # One after the other, since a sum over the dimension may add in another order.
        total = torch.zeros_like(sampled[0, 0])
        for sample in sampled.flatten(0, 1):
            total += sample
        out[part] = total / counts.prod(dim=1)[:, None, None]
    return out


def _alike(samples: NDArray[np.integer], cells: int) -> Iterator[NDArray[np.integer]]:
    """The boxes of one number of samples after the other, a chunk at a time: a CPU then computes nothing in vain.

    Args:
        samples: Samples of a grid cell across and down, (K, 2); a box without any is 0, as in mmcv, and left out.
        cells: Grid cells of a box.
    """
    groups, group_of = np.unique(samples, axis=0, return_inverse=True)
    for group, per_cell in enumerate(groups.prod(axis=1).tolist()):
        members = np.flatnonzero(group_of.reshape(-1) == group)
        if per_cell:
            step = max(1, _CHUNK // (cells * per_cell))
            yield from (members[start : start + step] for start in range(0, len(members), step))


def _padded(samples: NDArray[np.integer], cells: int) -> Iterator[NDArray[np.integer]]:
    """As :func:`_alike`, but all boxes that fit memory together, those of fewer samples padded.

    An accelerator samples them in one go, where a kernel costs more to start than to run.
    """
    order = np.argsort(samples.prod(axis=1), kind='stable')
    order = order[samples[order].all(axis=1)]
    while len(order):
        # Of the largest boxes left, as many as fit.
        most = np.maximum.accumulate(samples[order[::-1]], axis=0).prod(axis=1)
        count = max(1, int((most * np.arange(1, len(most) + 1) * cells <= _LARGE_CHUNK).sum()))
        yield order[-count:]
        order = order[:-count]


def _axis(
    start: Tensor, end: Tensor, counts: Tensor, cells: int, per_cell: int, size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Samples along one axis: lower pixel, its weight, upper pixel, its weight; each (per_cell, K, cells).

    `counts`, (K,), are the samples of a grid cell that each box has; those beyond, up to `per_cell`, weigh 0.
    """
    start = start - 0.5
    step = (((end - 0.5) - start) / cells)[:, None]
    whole = torch.arange(cells, dtype=start.dtype, device=start.device)
    number = torch.arange(per_cell, device=start.device)[:, None, None]
    part = number.to(start.dtype) + 0.5
    position = (start[:, None] + whole * step) + part * step / counts[:, None]
    # Outside by more than a pixel a sample counts as 0, nearer it is drawn to the border.
    inside = (position >= -1) & (position <= size) & (number < counts[:, None])
    position = position.clamp(min=0, max=size - 1)
    low = position.long()
    fraction = position - low
    return low, (1 - fraction) * inside, (low + 1).clamp(max=size - 1), fraction * inside
