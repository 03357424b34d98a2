"""RoIAlign on a CPU: each bin of a box is a weighted sum of rows of a table that holds the pixels of all levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def roi_align(
    levels: Sequence[Tensor],
    rois: Tensor,
    level_of: Tensor,
    scales: Sequence[float],
    out_shape: tuple[int, int],
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:
    """Average the features of each box over the bins of a grid, from one level of a pyramid each.

    ``mmcv.ops.roi_align`` with ``pool_mode='avg'`` (He et al., Mask R-CNN, 2017), which on a CPU runs in one thread,
    computes the gradient channel by channel, and takes its input for contiguous. Bilinear weights are separable, so the
    samples of a bin come down to one weight for each pixel near it, and all bins of all boxes to one
    :func:`torch.nn.functional.embedding_bag`, whose rows are pixels with all their channels: it goes over the channels
    with vector instructions, forwards and backwards, in several threads, and reads `channels_last` features as they
    are.

    Args:
        levels: Feature maps, each (N, C, H, W) in any memory layout, of one float dtype that the CPU adds in.
        rois: Index of the image and x1, y1, x2, y2 in pixels of it, (K, 5), float; no gradient flows to them.
        level_of: Level of each box, (K,) int64.
        scales: Pixels of a feature map to a pixel of the image, by level.
        out_shape: Rows and columns of the grid.
        sampling_ratio: Samples of a bin along each axis; 0 takes about one for each pixel of the feature map.
        aligned: Whether a pixel's value lies at its center, as it should, or at its corner.

    Returns:
        (K, C, *out_shape), in the memory layout `channels_last`.

    Raises:
        ValueError: If a box has a negative or undefined side.
    """
    if not (rois[:, 3:] >= rois[:, 1:3]).all():
        raise ValueError('a box has a negative or undefined side')
    channels = levels[0].shape[1]
    table = torch.cat([level.permute(0, 2, 3, 1).reshape(-1, channels) for level in levels])
    if not len(rois):
        return table.sum() * 0 + table.new_zeros((0, channels, *out_shape))
    sizes = torch.tensor([level.shape[2:] for level in levels])[level_of]
    pixels = [level.shape[0] * level.shape[2] * level.shape[3] for level in levels]
    first_row = torch.tensor([0, *pixels[:-1]]).cumsum(0)[level_of] + rois[:, 0].long() * sizes.prod(dim=1)
    offset = 0.5 if aligned else 0.0
    corners = rois[:, 1:] * rois.new_tensor(scales)[level_of, None] - offset
    extents = corners[:, 2:] - corners[:, :2]
    if not aligned:
        extents = extents.clamp(min=1)
    bins = extents / extents.new_tensor(out_shape[::-1])
    samples = torch.full_like(sizes, sampling_ratio) if sampling_ratio > 0 else bins.ceil().long()
    # From the pixel before the first sample of a bin to the one behind the last.
    reach = 2 + (bins * (samples - 1) / samples.clamp(min=1)).ceil().long().clamp(min=0)
    columns, column_weights = _axis(corners[:, 0], bins[:, 0], samples[:, 0], reach[:, 0], out_shape[1], sizes[:, 1])
    rows, row_weights = _axis(corners[:, 1], bins[:, 1], samples[:, 1], reach[:, 1], out_shape[0], sizes[:, 0])
    rows = first_row[:, None, None] + rows * sizes[:, 1, None, None]

    # Boxes with as many pixels to a bin go together.
    _, group_of = reach.unique(dim=0, return_inverse=True)
    order = group_of.argsort(stable=True)
    index, weight, lengths = [], [], []
    for members in order.split(group_of.bincount().tolist()):
        across, down = reach[members[0]].tolist()
        count = len(members) * out_shape[0] * out_shape[1]
        index.append((rows[members, :, None, :down, None] + columns[members, None, :, None, :across]).flatten())
        weight.append(
            (row_weights[members, :, None, :down, None] * column_weights[members, None, :, None, :across]).flatten()
        )
        lengths.append(torch.full((count,), down * across))
    ends = torch.cat(lengths).cumsum(0)
    bags = F.embedding_bag(
        torch.cat(index),
        table,
        torch.cat([ends.new_zeros(1), ends]),
        mode='sum',
        per_sample_weights=torch.cat(weight).to(table),
        include_last_offset=True,
    )
    bags = bags.view(len(rois), *out_shape, channels)
    if len(lengths) > 1:
        bags = bags[order.argsort()]
    return bags.permute(0, 3, 1, 2)


def _axis(
    start: Tensor, step: Tensor, samples: Tensor, reach: Tensor, bins: int, size: Tensor
) -> tuple[Tensor, Tensor]:
    """The pixels near each bin along one axis, and their shares in it.

    Args:
        start: Where each box begins, in pixels of the feature map, (K,).
        step: Extent of a bin, (K,).
        samples: Samples of a bin, (K,) int64.
        reach: Pixels near a bin, (K,) int64.
        bins: Bins of a box.
        size: Extent of the feature map, (K,) int64.

    Returns:
        Pixels, (K, bins, P) int64, and their weights, (K, bins, P). P is the largest reach; the weights beyond a box's
        own are 0.
    """
    sample = torch.arange(max(1, int(samples.max())))
    at = start[:, None, None] + torch.arange(bins)[:, None] * step[:, None, None]
    at = at + (sample + 0.5) * step[:, None, None] / samples.clamp(min=1)[:, None, None]
    # A sample that lies more than a pixel outside counts as 0, one beside the map as its border.
    counts = (at >= -1) & (at <= size[:, None, None]) & (sample < samples[:, None, None])
    at = at.clamp(min=0).minimum((size - 1)[:, None, None].to(at))
    pixels = at[:, :, :1].floor() + torch.arange(int(reach.max()))
    near = (1 - (at[:, :, None, :] - pixels[:, :, :, None]).abs()).clamp(min=0) * counts[:, :, None, :]
    weights = near.sum(dim=3) / samples.clamp(min=1)[:, None, None]
    return pixels.long().minimum((size - 1)[:, None, None]), weights
