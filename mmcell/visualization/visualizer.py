"""Drawing the cells of a dense image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette, jitter_color
from mmengine.dist import is_main_process
from mmengine.structures import InstanceData
from numpy.typing import NDArray

from mmcell.structures.label_map_masks import LabelMapMasks
from mmcell.structures.rle import Runs, decode


@VISUALIZERS.register_module()
class CellVisualizer(DetLocalVisualizer):
    """MMDetection's visualizer that also draws masks held as RLE or as label maps, without a bitmap for each.

    Where TensorBoard cannot be imported, a run goes on without its curves, and says so.

    Args:
        name: What the visualizer of this process is found by.
        vis_backends: Configs of what writes the curves.
        **kwargs: Arguments of :class:`mmdet.visualization.DetLocalVisualizer`.
    """

    def __init__(self, name: str = 'visualizer', vis_backends: Sequence[Any] | None = None, **kwargs: Any) -> None:
        super().__init__(name, vis_backends=_without_tensorboard(vis_backends), **kwargs)

    def _draw_instances(
        self,
        image: NDArray[np.uint8],
        instances: InstanceData,
        classes: list[str] | None,
        palette: list[tuple] | None,
    ) -> NDArray[np.uint8]:
        """Draw masks first, then boxes and texts as MMDetection does.

        Args:
            image: (H, W, 3) RGB.
            instances: With ``masks`` as a list of COCO RLE of the image's size, as :class:`LabelMapMasks`, or as
                MMDetection takes them.
            classes: Name of each class.
            palette: Color of each class.

        Returns:
            The drawn image, (H, W, 3) RGB.
        """
        masks = instances.get('masks')
        if isinstance(masks, list | LabelMapMasks):
            runs = masks.to_runs() if isinstance(masks, LabelMapMasks) else decode(masks, image.shape[:2])
            labels = instances.labels.tolist()
            colours = get_palette(palette if self.mask_color is None else self.mask_color, max(labels, default=0) + 1)
            image = draw_runs(image, runs, [jitter_color(colours[label]) for label in labels], self.alpha)
            instances = instances.clone()
            del instances.masks
        return super()._draw_instances(image, instances, classes, palette)


def _without_tensorboard(backends: Sequence[Any] | None) -> Sequence[Any] | None:
    def is_it(backend: Any) -> bool:
        return isinstance(backend, dict) and str(backend.get('type')).rpartition('.')[2] == 'TensorboardVisBackend'

    if not any(map(is_it, backends or ())):
        return backends
    try:
        import torch.utils.tensorboard  # noqa: F401
    except Exception as error:  # one for another protobuf raises what it likes
        if is_main_process():
            reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
            text = f'no curves for TensorBoard, which cannot be imported ({reason}); pip install tensorboard'
            warnings.warn(text, stacklevel=2)
        return [backend for backend in backends or () if not is_it(backend)]
    return backends


def draw_runs(
    image: NDArray[np.uint8], runs: Runs, colours: list[tuple[int, int, int]], alpha: float
) -> NDArray[np.uint8]:
    """Tint each instance and outline it in white; where they overlap, the later one shows.

    Args:
        image: (H, W, 3).
        runs: N instances of the image.
        colours: Color of each of them.
        alpha: Weight of the color, 0 to 1.
    """
    label_map = np.zeros(image.shape[1::-1], dtype=np.int32)
    label_map.reshape(-1)[runs.pixels] = np.repeat(np.arange(1, len(runs) + 1, dtype=np.int32), runs.areas)
    label_map = cv2.transpose(label_map)
    tint = np.array([(0, 0, 0), *colours], dtype=np.float32)[label_map]
    drawn = np.where(label_map[..., None] > 0, (1 - alpha) * image + alpha * tint, image)
    # A pixel is on an outline if a neighbor above, below, left or right belongs to something else.
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=np.uint8)
    values = label_map.astype(np.float32)  # exact below 2**24 instances; OpenCV has no morphology for int32
    outline = (label_map > 0) & (cv2.erode(values, cross) != cv2.dilate(values, cross))
    drawn[outline] = 255
    return drawn.astype(np.uint8)
