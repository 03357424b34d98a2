"""A trained model as a Python object: images in, cells out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from torch import Tensor, nn

from mmcell.coco.cells import cells_of
from mmcell.coco.results import Result, sort_results, to_results
from mmcell.coco.threshold import choose_threshold, threshold_of
from mmcell.config import base_of, blame, load_config
from mmcell.engine.classes import name_classes, recorded_mpp
from mmcell.engine.weights import check_weights
from mmcell.errors import InputError, raise_all
from mmcell.io.checkpoints import load_checkpoint, meta_of, weights_of
from mmcell.io.images import ChannelOrder, as_rgb, read_image, read_size
from mmcell.io.shipped import find_config
from mmcell.io.slide import Slide
from mmcell.models.wrapper import DetectorWrapper
from mmcell.structures.cells import Cells

#: An image: (H, W, 3) RGB, uint8, or the path of a file.
ImageLike = NDArray[np.uint8] | str | Path

#: Gives the pixels of a window of x, y, width and height: (height, width, 3) RGB, uint8.
ReadWindow = Callable[[int, int, int, int], NDArray[np.uint8]]

#: Steps of a test pipeline that read an image or its annotations; a model reads by itself.
_READING = frozenset(('LoadCellImage', 'LoadImageFromFile', 'LoadCellAnnotations', 'LoadAnnotations'))


def load_model(
    config: str | Path | Config, checkpoint: str | Path | None = None, device: str | None = None
) -> CellModel:
    """Load a trained model, ready to predict: `load_model('consep')`, or `load_model(CONFIG, CKPT)`.

    The names of the classes and the score threshold that val found are those that training recorded in the checkpoint;
    a checkpoint without names gets numbered classes, unless the config names them.

    Args:
        config: The config that the model was trained with, or one that wraps it (tiles, test-time augmentation); or the
            name of a model that comes with mmcell (docs/models/).
        checkpoint: Its weights; None for those of the model of that name.
        device: Where to predict, such as 'cpu' or 'cuda:1'; None takes the accelerator if there is one.

    Raises:
        InputError: If the config cannot be loaded, the checkpoint is broken or of another model, no model of this
            name comes with mmcell, its weights file has changed, or the device does not exist.
    """
    if checkpoint is None:
        name = config.filename if isinstance(config, Config) else str(config)
        if Path(str(name)).suffix == '.py':
            raise InputError(name, 'comes without a checkpoint', 'load_model(CONFIG, CKPT)')
        config, checkpoint = find_config(name), name
    if not isinstance(config, Config):
        config = load_config(config)
    content = load_checkpoint(checkpoint)
    init_default_scope(config.get('default_scope', 'mmdet'))
    with blame(config, 'has a model that cannot be built'):
        network = MODELS.build(config.model)
    raise_all(check_weights(config, checkpoint, content, network)[0])
    load_state_dict(network, weights_of(content), strict=True)
    try:
        network.to(get_device() if device is None else device)
    except (RuntimeError, AssertionError) as error:
        raise InputError('--device', str(error)[:200], 'choose cpu, cuda, cuda:1 …') from None
    mpp = recorded_mpp(content)
    with blame(config, 'has a test pipeline that cannot be built'):
        steps = [step for step in config.test_dataloader.dataset.pipeline if step.type not in _READING]
        classes = name_classes(config, checkpoint, content)
        return CellModel(network.eval(), steps, classes, threshold_of(meta_of(content)), mpp)


class CellModel:
    """A trained model, see :func:`load_model`.

    Args:
        network: The detector, with its weights, in evaluation mode.
        pipeline: Configs of the transforms that prepare an image, once it is read.
        classes: Names of the classes.
        found_threshold: The score threshold that val found; None if that is not known.
        mpp: Microns per pixel of the images that it learned from; None if that is not known.

    Attributes:
        score_thr: Cells that score less are not shown and not counted by default.
        reads_windows: Whether images are read window by window, so that they may be of any size.
    """

    def __init__(
        self,
        network: nn.Module,
        pipeline: Sequence[Mapping[str, Any]],
        classes: Sequence[str],
        found_threshold: float | None = None,
        mpp: float | None = None,
    ) -> None:
        self.network: Any = network
        self.classes, self.found_threshold = tuple(classes), found_threshold
        self.mpp = mpp
        self.score_thr = choose_threshold(None, found_threshold)[0]
        self._pipeline = Compose(list(pipeline))
        # Only then are the pixels of a window those that the network would see.
        self.reads_windows = getattr(network, 'reads_windows', False) and all(
            step['type'] == 'PackDetInputs' for step in pipeline
        )

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The classes as categories of COCO json, numbered from 1."""
        return [{'id': number, 'name': name} for number, name in enumerate(self.classes, start=1)]

    @overload
    def predict(self, images: ImageLike, score_thr: float | None = ..., channel_order: ChannelOrder = ...) -> Cells: ...

    @overload
    def predict(
        self,
        images: list[ImageLike] | tuple[ImageLike, ...],
        score_thr: float | None = ...,
        channel_order: ChannelOrder = ...,
    ) -> list[Cells]: ...

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        score_thr: float | None = None,
        channel_order: ChannelOrder = 'rgb',
    ) -> Cells | list[Cells]:
        """Find the cells of an image, or of each of several.

        An array is taken as a file of the same pixels would be: (H, W, 3) uint8 is RGB; 16 bits are scaled to 8; one
        channel, (H, W) or (H, W, 1), is repeated to three; a fourth channel is alpha, which is composed on white.
        Refused are two channels, which may be two stains, and floats, since nothing says what their white is.

        Args:
            images: An array or a path, or a list of them.
            score_thr: Cells that score less are left out; None takes :attr:`score_thr`.
            channel_order: Order in which files store their colors. Arrays are RGB.

        Returns:
            The cells by falling score, each once; a list for a list.

        Raises:
            InputError: If a file cannot be read or is not an image.
            TypeError: If `images` is neither array nor path nor a list of them.
        """
        if isinstance(images, (str, Path, np.ndarray)):
            return self._predict_one(images, score_thr, channel_order)
        if not isinstance(images, (list, tuple)):
            raise TypeError(f'predict takes an array, a path, or a list of them, not {type(images).__name__}')
        return [self._predict_one(image, score_thr, channel_order) for image in images]

    def _predict_one(self, image: ImageLike, score_thr: float | None, channel_order: ChannelOrder) -> Cells:
        size, results = self.predict_results(image, channel_order=channel_order)
        return self.make_cells(size, results, score_thr)

    def make_cells(self, size: tuple[int, int], results: Sequence[Result], score_thr: float | None = None) -> Cells:
        """The cells that results of one image stand for, see :func:`mmcell.structures.resolve.resolve`.

        Args:
            size: Height and width of the image.
            results: From :meth:`predict_results`.
            score_thr: See :meth:`predict`.
        """
        image = {'id': results[0]['image_id'] if results else 1, 'height': size[0], 'width': size[1]}
        score_thr = self.score_thr if score_thr is None else score_thr
        return next(cells_of(results, [image], self.categories, score_thr))[1]

    def predict_windows(self, read: ReadWindow, size: tuple[int, int]) -> list[Result]:
        """Predict what :meth:`predict_results` does, of pixels from anywhere; only where it :attr:`reads_windows`.

        Args:
            read: Gives the pixels of a window of the x, y, width and height that it is called with, (height, width, 3)
                uint8 RGB.
            size: Height and width of all pixels.
        """
        found = _predict_tiles(self.network, read, size, progress=False).to_dict()
        return sort_results(to_results(1, found, range(1, len(self.classes) + 1)))

    def predict_results(
        self, image: ImageLike, image_id: int = 1, channel_order: ChannelOrder = 'rgb'
    ) -> tuple[tuple[int, int], list[Result]]:
        """Predict what COCO's evaluation reads: one object possibly under several classes, masks may overlap.

        Args:
            image: See :meth:`predict`.
            image_id: Written into the results.
            channel_order: See :meth:`predict`.

        Returns:
            Height and width of the image, and result dicts of any score by falling score.

        Raises:
            InputError: If the file cannot be read or is not an image.
        """
        if self.reads_windows and not isinstance(image, np.ndarray):
            size = read_size(image)
            found = predict_large(self.network, image, channel_order).to_dict()
        else:
            size, found = self._predict_whole(image, image_id, channel_order)
        return size, sort_results(to_results(image_id, found, range(1, len(self.classes) + 1)))

    def _predict_whole(
        self, image: ImageLike, image_id: int, channel_order: ChannelOrder
    ) -> tuple[tuple[int, int], Mapping[str, Any]]:
        if isinstance(image, np.ndarray):
            two = image.ndim == 3 and image.shape[2] == 2
            path, pixels = '', as_rgb('image', image, 'unknown' if two else 'straight')[0]
        else:
            path, pixels = str(image), read_image(image, channel_order)
        size = pixels.shape[:2]
        # What LoadCellImage gives.
        data = dict(img_path=path, img_id=image_id, img=np.ascontiguousarray(pixels[..., ::-1]))
        data.update(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
        with torch.no_grad():
            sample = self.network.test_step(pseudo_collate([self._pipeline(data)]))[0]
        return size, sample.pred_instances.to_dict()


def describe_model(config: Config, checkpoint: str | Path) -> dict[str, Any]:
    """What a model is made of, as it is written beside what it predicted."""
    return {'config': config.filename, 'base': base_of(config), 'checkpoint': str(checkpoint)}


def predict_large(
    network: DetectorWrapper, path: str | Path, channel_order: ChannelOrder = 'rgb', progress: bool = True
) -> InstanceData:
    """Predict the cells of an image that is read, normalized and predicted tile by tile.

    Where the test pipeline only loads images, the result is that of the usual way for any image.

    Args:
        network: The detector, ready to predict, one that `reads_windows`: tiles, or an ensemble of tiles.
        path: The image.
        channel_order: Order of the colors in the file.
        progress: Whether to show on a terminal how many tiles are done.

    Returns:
        bboxes (n, 4) as x1, y1, x2, y2, scores (n,), labels (n,) and masks (n RLE) of the whole image.

    Raises:
        InputError: If the image cannot be read.
    """
    with Slide(path, channel_order) as image:
        return _predict_tiles(network, image.read, image.size, progress)


def _predict_tiles(network: DetectorWrapper, read: ReadWindow, size: tuple[int, int], progress: bool) -> InstanceData:
    def cut(x1: int, y1: int, x2: int, y2: int) -> Tensor:
        bgr = np.ascontiguousarray(read(x1, y1, x2 - x1, y2 - y1)[..., ::-1].transpose(2, 0, 1))
        data = dict(inputs=[torch.from_numpy(bgr)], data_samples=None)
        # The preprocessor pads, which is for the detector to do once the tile has been enlarged.
        return network.data_preprocessor(data, training=False)['inputs'][0, :, : y2 - y1, : x2 - x1]

    with torch.no_grad():
        return network.predict_windows(cut, size, progress)
