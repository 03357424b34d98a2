"""RoIAlign on label maps: the masks of many instances inside many boxes, without the instances' bitmaps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Samples taken together. Bounds the temporary memory to some 10 MB, and fits a CPU's cache.
_CHUNK = 1 << 17


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
    # As many samples a grid cell as it has pixels, so boxes of like size go together. Extents as mmcv rounds them.
    extents = ((boxes[:, 2:] - 0.5) - (boxes[:, :2] - 0.5)).cpu()
    samples = torch.ceil(extents / extents.new_tensor([columns, rows])).long().clamp(min=0)
    groups, group_of = np.unique(samples.numpy(), axis=0, return_inverse=True)
    boxes = boxes.to(planes.device)
    values = value_of.to(planes.dtype)[:, None, None]
    offsets = (plane_of * (height * width))[:, None, None]
    flat = planes.reshape(-1)
    out = boxes.new_zeros((len(boxes), rows, columns))
    for group, (across, down) in enumerate(groups.tolist()):
        if not across * down:
            continue  # mmcv gives 0 for a box without extent
        members = torch.from_numpy(np.flatnonzero(group_of.reshape(-1) == group)).to(planes.device)
        for part in members.split(max(1, _CHUNK // (rows * down * columns * across))):
            value, offset = values[part], offsets[part]
            xs = [x[None, :, :, None] for x in _axis(boxes[part, 0], boxes[part, 2], columns, across, width)]
            ys = [y[:, None, :, :, None] for y in _axis(boxes[part, 1], boxes[part, 3], rows, down, height)]
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
            out[part] = total / (down * across)
    return out


def _axis(start: Tensor, end: Tensor, cells: int, per_cell: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Samples along one axis: lower pixel, its weight, upper pixel, its weight; each (per_cell, K, cells)."""
    start = start - 0.5
    step = (((end - 0.5) - start) / cells)[:, None]
    whole = torch.arange(cells, dtype=start.dtype, device=start.device)
    part = torch.arange(per_cell, dtype=start.dtype, device=start.device)[:, None, None] + 0.5
    position = (start[:, None] + whole * step) + part * step / per_cell
    # Outside by more than a pixel a sample counts as 0, nearer it is drawn to the border.
    inside = (position >= -1) & (position <= size)
    position = position.clamp(min=0, max=size - 1)
    low = position.long()
    fraction = position - low
    return low, (1 - fraction) * inside, (low + 1).clamp(max=size - 1), fraction * inside
