"""The masks of one image as a few label maps instead of one bitmap per cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import cv2
import mmcv
import numpy as np
import torch
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes
from mmdet.structures.mask import BaseInstanceMasks, BitmapMasks
from numpy.typing import NDArray

from mmcell.structures.rle import RLE, Runs, decode, find_runs
from mmcell.structures.roi_sampling import sample_instances

Index: TypeAlias = int | slice | list[int] | NDArray[Any] | torch.Tensor


class LabelMapMasks(BaseInstanceMasks):
    """N masks of one image held in P label maps, P being 1 unless masks overlap.

    Memory and the cost of every geometric operation grow with P * H * W and not with N * H * W. Instance i is the set
    of pixels where ``planes[plane_of[i]] == value_of[i]``. Instances are a view: indexing shares the planes and leaves
    values in them that no instance refers to, so nobody may write to the planes.

    It stands in for mmdet's ``BitmapMasks`` in every call of the common contract, with two limits that come with label
    maps. They cannot be blended, so each operation takes the nearest pixel whatever `interpolation` says (the bits are
    then those of ``BitmapMasks`` with ``'nearest'``). And a pixel cannot belong to all instances at once, so the value
    that fills new pixels must be 0.

    There is no attribute ``masks``: ``CopyPaste`` and ``RandomErasing`` of mmdet, which write to that array, and its
    ``mask2ndarray``, which asks for the type ``BitmapMasks``, do not work with it.

    Args:
        planes: Label maps, (P, H, W) int32, P >= 0.
        plane_of: Plane of each instance, (N,) integer.
        value_of: Pixel value of each instance, (N,) integer, not 0.

    Raises:
        ValueError: If shapes or dtypes are others than these.
    """

    def __init__(self, planes: NDArray[np.int32], plane_of: NDArray[np.integer], value_of: NDArray[np.integer]) -> None:
        if planes.ndim != 3 or planes.dtype != np.int32:
            raise ValueError(f'planes must be (P, H, W) int32, got {planes.shape} {planes.dtype}')
        if plane_of.ndim != 1 or plane_of.shape != value_of.shape:
            raise ValueError(f'plane_of and value_of must be (N,), got {plane_of.shape} and {value_of.shape}')
        self.planes = planes
        self.plane_of = plane_of
        self.value_of = value_of
        self.height, self.width = planes.shape[1:]
        self._planes_on: dict[torch.device, torch.Tensor] = {}

    @classmethod
    def from_runs(cls, runs: Runs) -> LabelMapMasks:
        """Paint instances into planes: each into the first that is still free there."""
        height, width = runs.size
        plane_of = _first_fit(runs)
        value_of = np.arange(1, len(runs) + 1, dtype=np.int32)
        shape = (plane_of.max(initial=-1) + 1, width, height)
        owners = runs.owners
        offsets = plane_of[owners] * (height * width)
        order = np.argsort(runs.starts + offsets, kind='stable')
        # The planes column by column are background and run in turns. To write them so, from end to end, is several
        # times faster than to look up each pixel's place.
        bounds = np.zeros(2 * len(order) + 2, dtype=np.int64)
        bounds[1:-1:2], bounds[2:-1:2] = (runs.starts + offsets)[order], (runs.ends + offsets)[order]
        bounds[-1] = np.prod(shape)
        values = np.zeros(2 * len(order) + 1, dtype=np.int32)
        values[1::2] = value_of[owners[order]]
        columns = np.repeat(values, np.diff(bounds)).reshape(shape)
        return cls(_each(columns, cv2.transpose, runs.size), plane_of, value_of)

    @classmethod
    def from_rles(cls, rles: Sequence[RLE], height: int, width: int) -> LabelMapMasks:
        """Masks from COCO RLE.

        Raises:
            ValueError: If an RLE is malformed or has another size.
        """
        return cls.from_runs(decode(rles, (height, width)))

    @classmethod
    def from_bitmaps(cls, bitmaps: NDArray[Any] | Sequence[NDArray[Any]], height: int, width: int) -> LabelMapMasks:
        """Masks from bitmaps, N of (H, W), where anything but 0 is foreground."""
        nothing = np.zeros(0, dtype=np.int64)
        runs = [find_runs(np.asarray(bitmap) != 0)[1] for bitmap in bitmaps]
        starts = [part.starts for part in runs]
        ends = [part.ends for part in runs]
        offsets = np.cumsum([0, *map(len, starts)])
        return cls.from_runs(
            Runs(np.concatenate([nothing, *starts]), np.concatenate([nothing, *ends]), offsets, (height, width))
        )

    def to_runs(self) -> Runs:
        """The foreground runs of the instances, in their order."""
        size = (self.height, self.width)
        absent = Runs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(2, dtype=np.int64), size)
        parts, index, total = [], np.full(len(self), -1), 0
        for p, plane in enumerate(self.planes):
            ids, runs = find_runs(plane)
            members = np.flatnonzero(self.plane_of == p)
            found = np.searchsorted(ids, self.value_of[members])
            present = found < len(ids)
            present[present] = ids[found[present]] == self.value_of[members][present]
            index[members[present]] = total + found[present]
            parts.append(runs)
            total += len(runs)
        # Instances without a pixel left keep their place: index -1 is the last part, an instance without runs.
        return Runs.cat([*parts, absent]).select(index)

    def __len__(self) -> int:
        return len(self.value_of)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_masks={len(self)}, num_planes={len(self.planes)}, '
            f'height={self.height}, width={self.width})'
        )

    def __getitem__(self, index: Index) -> LabelMapMasks:
        """Some instances; an integer gives masks of length 1, as with ``BitmapMasks``."""
        if isinstance(index, torch.Tensor):
            index = index.cpu().numpy()
        return LabelMapMasks(self.planes, np.atleast_1d(self.plane_of[index]), np.atleast_1d(self.value_of[index]))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """One bitmap after the other, (H, W) uint8."""
        for plane, value in zip(self.plane_of, self.value_of):
            yield (self.planes[plane] == value).astype(np.uint8)

    def rescale(self, scale: float | tuple[int, int], interpolation: str = 'nearest') -> LabelMapMasks:
        """Resize by a factor, or as large as fits into `scale`; sizes are rounded as ``mmcv.imrescale`` does."""
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width))

    def resize(self, out_shape: tuple[int, int], interpolation: str = 'nearest') -> LabelMapMasks:
        """Resize to (height, width)."""
        height, width = out_shape
        return self._with(
            _each(
                self.planes,
                lambda plane: cv2.resize(plane, (width, height), interpolation=cv2.INTER_NEAREST),
                out_shape,
            )
        )

    def flip(self, flip_direction: str = 'horizontal') -> LabelMapMasks:
        """Mirror left-right ('horizontal'), top-bottom ('vertical') or both ('diagonal')."""
        code = {'horizontal': 1, 'vertical': 0, 'diagonal': -1}[flip_direction]
        return self._with(_each(self.planes, lambda plane: cv2.flip(plane, code), (self.height, self.width)))

    def rot90(self, quarters: int) -> LabelMapMasks:
        """Rotate counterclockwise by right angles, as ``numpy.rot90`` does."""
        return self._with(np.ascontiguousarray(np.rot90(self.planes, quarters, axes=(1, 2))))

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> LabelMapMasks:
        """Grow to (height, width) at the bottom and the right.

        Raises:
            ValueError: If `out_shape` is smaller than the masks, or `pad_val` is not 0.
        """
        if out_shape[0] < self.height or out_shape[1] < self.width:
            raise ValueError(f'cannot pad {(self.height, self.width)} to the smaller {tuple(out_shape)}')
        _check_fill(pad_val)
        return self.expand(*out_shape, 0, 0)

    def crop(self, bbox: NDArray[np.integer]) -> LabelMapMasks:
        """Cut out a box x1, y1, x2, y2, (4,), clipped to the image and at least one pixel wide and high.

        Instances without a pixel inside stay, empty, so that they still match labels and boxes.
        """
        x1, x2 = np.clip(bbox[0::2], 0, self.width)
        y1, y2 = np.clip(bbox[1::2], 0, self.height)
        width, height = max(x2 - x1, 1), max(y2 - y1, 1)
        if y1 + height > self.height or x1 + width > self.width:
            raise ValueError(f'box {bbox.tolist()} lies outside the masks of {(self.height, self.width)}')
        return self._with(np.ascontiguousarray(self.planes[:, y1 : y1 + height, x1 : x1 + width]))

    def crop_and_resize(
        self,
        bboxes: NDArray[np.floating] | torch.Tensor,
        out_shape: tuple[int, int],
        inds: NDArray[np.integer] | torch.Tensor,
        device: str | torch.device = 'cpu',
        interpolation: str = 'bilinear',
        binarize: bool = True,
    ) -> BitmapMasks:
        """The mask of an instance inside each of K boxes, by RoIAlign: the targets of a mask head.

        All boxes are sampled together on `device`, from the planes, which travel there once. On the CPU the values
        are bit for bit those of ``BitmapMasks``.

        Args:
            bboxes: Boxes x1, y1, x2, y2 in pixels, (K, 4) float.
            out_shape: Height and width of each target.
            inds: The instance that each box is for, (K,) integer.
            device: Where to sample.
            interpolation: Of no effect, as in ``BitmapMasks``: RoIAlign is bilinear.
            binarize: Whether to threshold at 0.5.

        Returns:
            K bitmaps of `out_shape`: bool, or the dtype of the boxes if not `binarize`.
        """
        if not len(self):
            return BitmapMasks(np.zeros((0, *out_shape), dtype=np.uint8), *out_shape)
        device = torch.device(device)
        inds = inds.cpu().numpy() if isinstance(inds, torch.Tensor) else inds
        targets = sample_instances(
            self._to_device(device),
            torch.from_numpy(self.plane_of[inds]).to(device),
            torch.from_numpy(self.value_of[inds]).to(device),
            torch.as_tensor(bboxes),
            out_shape,
        )
        return BitmapMasks((targets >= 0.5 if binarize else targets).cpu().numpy(), *out_shape)

    def expand(self, expanded_h: int, expanded_w: int, top: int, left: int) -> LabelMapMasks:
        """Place the masks at (top, left) of a larger, empty image."""
        planes = np.zeros((len(self.planes), expanded_h, expanded_w), dtype=np.int32)
        planes[:, top : top + self.height, left : left + self.width] = self.planes
        return self._with(planes)

    def translate(
        self,
        out_shape: tuple[int, int],
        offset: float | tuple[float, float],
        direction: str = 'horizontal',
        border_value: int = 0,
        interpolation: str = 'bilinear',
    ) -> LabelMapMasks:
        """Cut or grow to `out_shape` at the bottom and the right, then move.

        Args:
            out_shape: Height and width of the result.
            offset: Pixels to the right or down; (right, down) if `direction` is 'both'.
            direction: 'horizontal', 'vertical' or 'both'.
            border_value: Must be 0.
            interpolation: Of no effect, see the class.
        """
        _check_fill(border_value)
        right, down = {
            'horizontal': lambda: (offset, 0),
            'vertical': lambda: (0, offset),
            'both': lambda: offset if isinstance(offset, tuple) else (offset, offset),
        }[direction]()
        height, width = min(out_shape[0], self.height), min(out_shape[1], self.width)
        masks = self._with(np.ascontiguousarray(self.planes[:, :height, :width])).expand(*out_shape, 0, 0)
        return masks._warp(np.array([[1, 0, right], [0, 1, down]], dtype=np.float32))

    def shear(
        self,
        out_shape: tuple[int, int],
        magnitude: float,
        direction: str = 'horizontal',
        border_value: int = 0,
        interpolation: str = 'bilinear',
    ) -> LabelMapMasks:
        """Shear by `magnitude` pixels per pixel, in the 'horizontal' or 'vertical' direction; the size stays.

        Raises:
            ValueError: If `out_shape` is another size, or `border_value` is not 0.
        """
        _check_fill(border_value)
        self._check_same_size(out_shape)
        shear = {'horizontal': [[1, magnitude, 0], [0, 1, 0]], 'vertical': [[1, 0, 0], [magnitude, 1, 0]]}[direction]
        return self._warp(np.array(shear, dtype=np.float32))

    def rotate(
        self,
        out_shape: tuple[int, int],
        angle: float,
        center: tuple[float, float] | None = None,
        scale: float = 1.0,
        border_value: int = 0,
        interpolation: str = 'bilinear',
    ) -> LabelMapMasks:
        """Rotate clockwise by `angle` degrees about `center` (x, y), the middle by default; the size stays.

        Raises:
            ValueError: If `out_shape` is another size, or `border_value` is not 0.
        """
        _check_fill(border_value)
        self._check_same_size(out_shape)
        center = center or ((self.width - 1) * 0.5, (self.height - 1) * 0.5)
        return self._warp(cv2.getRotationMatrix2D(center, -angle, scale))

    @property
    def areas(self) -> NDArray[np.int64]:
        """Number of pixels of each instance, (N,)."""
        return self.to_runs().areas

    def get_bboxes(self, dst_type: str | type[BaseBoxes] = 'hbox') -> BaseBoxes:
        """Tight boxes x1, y1, x2, y2, (N, 4) float32; zeros for an instance without pixels."""
        boxes = self.to_runs().boxes
        boxes[:, 2:] += boxes[:, :2]
        return HorizontalBoxes(boxes.astype(np.float32)).convert_to(dst_type)

    def to_ndarray(self) -> NDArray[np.uint8]:
        """All N bitmaps at once, (N, H, W) uint8: what this class exists to avoid."""
        bitmaps = np.empty((len(self), self.height, self.width), dtype=np.uint8)
        for out, bitmap in zip(bitmaps, self):
            out[...] = bitmap
        return bitmaps

    def to_tensor(self, dtype: torch.dtype, device: str | torch.device) -> torch.Tensor:
        """All N bitmaps at once, (N, H, W): what this class exists to avoid."""
        return torch.from_numpy(self.to_ndarray()).to(dtype=dtype, device=device)

    @classmethod
    def cat(cls, masks: Sequence[LabelMapMasks]) -> LabelMapMasks:
        """Join the instances of several masks of one size into as few planes as first fit finds.

        Raises:
            ValueError: If there are none, or their sizes differ.
        """
        sizes = {(m.height, m.width) for m in masks}
        if len(sizes) != 1:
            raise ValueError(f'cat needs masks of one size, got {len(masks)} of {sorted(sizes)}')
        # mmengine's InstanceData picks N instances by N slices and a cat: views of the same planes need no painting.
        if all(m.planes is masks[0].planes for m in masks):
            plane_of, value_of = (
                np.concatenate([getattr(m, name) for m in masks]) for name in ('plane_of', 'value_of')
            )
            return cls(masks[0].planes, plane_of, value_of)
        return cls.from_runs(Runs.cat([m.to_runs() for m in masks]))

    def _with(self, planes: NDArray[np.int32]) -> LabelMapMasks:
        return LabelMapMasks(planes, self.plane_of, self.value_of)

    def _to_device(self, device: torch.device) -> torch.Tensor:
        """The planes on `device`; kept there, since each stage of a cascade asks for them."""
        if device not in self._planes_on:
            self._planes_on[device] = torch.from_numpy(self.planes).to(device)
        return self._planes_on[device]

    def _warp(self, matrix: NDArray[np.floating]) -> LabelMapMasks:
        """Affine transform without change of size, `matrix` (2, 3) mapping old to new x, y."""
        shape = (self.height, self.width)
        # OpenCV has kernels for 1, 3 and 4 channels of bytes that round otherwise than its general one. mmdet warps N
        # masks as N channels; to land on the same pixels, a plane goes in parts through the kernel of that N.
        parts = np.uint8 if len(self) in (1, 3, 4) else np.uint16

        def warp(plane: NDArray[np.int32]) -> NDArray[np.int32]:
            channels = plane.view(parts).reshape(*shape, -1)
            return cv2.warpAffine(channels, matrix, shape[::-1], flags=cv2.INTER_NEAREST).view(np.int32)[..., 0]

        return self._with(_each(self.planes, warp, shape))

    def _check_same_size(self, out_shape: tuple[int, int]) -> None:
        if tuple(out_shape) != (self.height, self.width):
            raise ValueError(f'out_shape {tuple(out_shape)} is not the size of the masks, {(self.height, self.width)}')


def _check_fill(value: float) -> None:
    if value != 0:
        raise ValueError(f'label maps can only be filled with 0, got {value}')


def _each(
    planes: NDArray[np.int32], function: Callable[[NDArray[np.int32]], NDArray[np.int32]], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Apply `function` to each of P planes, P >= 0; its results are new and have the given shape."""
    if len(planes) == 1:
        return function(planes[0])[None]  # almost always: no copy
    out = np.empty((len(planes), *shape), dtype=np.int32)
    for result, plane in zip(out, planes):
        result[...] = function(plane)
    return out


def _first_fit(runs: Runs) -> NDArray[np.int64]:
    """A plane for each instance such that no two in one plane overlap, (N,): the first one that is free, in order.

    First fit is no minimum (that is graph coloring), but no plane can be spared by moving a single instance down.
    """
    plane_of = np.zeros(len(runs), dtype=np.int64)
    order = np.argsort(runs.starts, kind='stable')
    starts, ends, owners = runs.starts[order], runs.ends[order], runs.owners[order]
    # A run meets an earlier one if it starts before the farthest end so far, and a later one if the next starts inside.
    meets = np.zeros(len(order), dtype=bool)
    meets[1:] = starts[1:] < np.maximum.accumulate(ends)[:-1]
    meets[:-1] |= starts[1:] < ends[:-1]
    overlapping = np.unique(owners[meets])
    if not len(overlapping):
        return plane_of
    chosen = runs.select(overlapping)
    taken: list[NDArray[np.bool_]] = []
    for instance, pixels in zip(overlapping, np.split(chosen.pixels, np.cumsum(chosen.areas)[:-1])):
        plane = next((p for p, used in enumerate(taken) if not used[pixels].any()), len(taken))
        if plane == len(taken):
            taken.append(np.zeros(runs.size[0] * runs.size[1], dtype=bool))
        taken[plane][pixels] = True
        plane_of[instance] = plane
    return plane_of
