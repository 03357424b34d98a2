"""Cells in any images: predict without a data set, and write what the other tools read."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from tqdm import tqdm

from mmcell.coco.results import Result, sort_results, to_results
from mmcell.datasets.cell_dataset import CellDataset
from mmcell.engine.weights import check_weights
from mmcell.errors import InputError, raise_all
from mmcell.io.checkpoints import load_checkpoint
from mmcell.io.files import write_bytes, write_json
from mmcell.io.images import ChannelOrder, read_size
from mmcell.io.windows import ImageWindows
from mmcell.models.wrapper import DetectorWrapper
from mmcell.report.overlay import write_overlays

#: Files in a folder that are taken for images.
SUFFIXES = frozenset(('.tif', '.tiff', '.png', '.jpg', '.jpeg'))
#: Steps of a test pipeline that leave an image as it is.
_LOADING = frozenset(('LoadCellImage', 'LoadImageFromFile', 'LoadCellAnnotations', 'LoadAnnotations', 'PackDetInputs'))

#: From path and id of an image to its height and width, and its `pred_instances`.
_Predict = Callable[[Path, int], tuple[tuple[int, int], Mapping[str, Any]]]


def infer(
    config: Config,
    checkpoint: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    score_thr: float = 0.3,
    channel_order: ChannelOrder = 'rgb',
    device: str | None = None,
) -> tuple[list[str], list[InputError]]:
    """Predict the cells of images; an image that cannot be read does not stop the others.

    Writes below `out`: `results.json` (result dicts of any score), `images.json` (COCO json of the images, without
    annotations), `counts.csv` (a row an image: cells of each class that score `score_thr` or more, and their total)
    and `overlays/<image>.png`. Image ids are places in the sorted list of all images, from 1.

    Where the model is tiled and the test pipeline only loads images, their windows are read as they are predicted, so
    that images of any size do; pictures of large ones are shrunk.

    Args:
        config: The config; its test pipeline prepares the images.
        checkpoint: Weights of the model.
        sources: Images, and folders that are searched for them (see :func:`find_images`).
        out: Folder to write to.
        score_thr: Lowest score that is counted and drawn.
        channel_order: Order of the colours in the image files.
        device: Where to predict, such as 'cpu' or 'cuda:1'; None takes the accelerator if there is one.

    Returns:
        Lines that say what was written where, and an error for each image that could not be read.

    Raises:
        InputError: If a source does not exist, the checkpoint does not fit, or no image can be read.
        InputErrors: If there are several of these.
    """
    out = Path(out)
    paths = find_images(sources, skip=out)
    model, classes = load_model(config, checkpoint, device)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    images, results, errors = _predict_all(_predictor(config, model, channel_order), paths, root, len(classes))
    if not images:
        raise_all(errors)
    write_json(out / 'results.json', results)
    categories = [{'id': number, 'name': name} for number, name in enumerate(classes, start=1)]
    info = {'channel_order': channel_order}
    write_json(out / 'images.json', {'info': info, 'images': images, 'annotations': [], 'categories': categories})
    write_bytes(out / 'counts.csv', _count(images, results, classes, score_thr).encode())
    pictures = write_overlays(results, out / 'images.json', root, out / 'overlays', score_thr)
    lines = [f'wrote {out / name}' for name in ('results.json', 'images.json', 'counts.csv')]
    return [
        *lines,
        f'wrote {len(pictures)} pictures to {out / "overlays"}',
        f'file names in images.json are relative to {root}',
    ], errors


def find_images(sources: Sequence[str | Path], skip: Path) -> list[Path]:
    """Absolute paths of all images, sorted, each once.

    A source that is a file is taken whatever its name. Folders are searched to any depth for names that end in one of
    :data:`SUFFIXES`; hidden files and everything below `skip`, our own output, are passed over.

    Raises:
        InputError: If a source does not exist or holds no images.
        InputErrors: If several do not.
    """
    skip = skip.absolute()
    paths, errors = set(), []
    for source in map(Path, sources):
        found = [source]
        if source.is_dir():
            found = [path for path in source.rglob('*') if path.suffix.lower() in SUFFIXES and path.is_file()]
            found = [path for path in found if path.name[0] != '.' and skip not in path.absolute().parents]
            if not found:
                errors.append(InputError(source, f'holds no image ({", ".join(sorted(SUFFIXES))})', 'check the path'))
        elif not source.is_file():
            errors.append(InputError(source, 'does not exist', 'check the path'))
        paths.update(path.absolute() for path in found)
    raise_all(errors)
    return sorted(paths)


def load_model(config: Config, checkpoint: str | Path, device: str | None = None) -> tuple[nn.Module, tuple[str, ...]]:
    """A model with its weights, ready to predict, and the names of its classes.

    The names are those that training recorded in the checkpoint, else those of :class:`CellDataset`.

    Args:
        config: The config.
        checkpoint: Weights of the model.
        device: See :func:`infer`.

    Raises:
        InputError: If the checkpoint is none or of another model, or the device is not there.
    """
    content = load_checkpoint(checkpoint)
    init_default_scope(config.get('default_scope', 'mmdet'))
    model = MODELS.build(config.model)
    raise_all(check_weights(config, checkpoint, content, model)[0])
    load_state_dict(model, content.get('state_dict', content), strict=True)
    try:
        model.to(device or get_device())
    except (RuntimeError, AssertionError) as error:
        raise InputError('--device', str(error)[:200], 'choose cpu, cuda, cuda:1 …') from None
    recorded = content.get('meta', {}).get('dataset_meta') or CellDataset.METAINFO
    return model.eval(), tuple(recorded['classes'])


def predict_large(
    model: DetectorWrapper, path: str | Path, channel_order: ChannelOrder = 'rgb', progress: bool = True
) -> InstanceData:
    """Predict the cells of an image that is read, normalised and predicted tile by tile.

    Where the test pipeline only loads images, the result is that of the usual way for any image.

    Args:
        model: The model, ready to predict, one that `reads_windows`: tiles, or an ensemble of tiles.
        path: The image.
        channel_order: Order of the colours in the file.
        progress: Whether to show on a terminal how many tiles are done.

    Returns:
        bboxes (n, 4) as x1, y1, x2, y2, scores (n,), labels (n,) and masks (n RLE) of the whole image.

    Raises:
        InputError: If the image cannot be read.
    """
    with ImageWindows(path, channel_order) as image, torch.no_grad():

        def cut(x1: int, y1: int, x2: int, y2: int) -> Tensor:
            bgr = np.ascontiguousarray(image.read(x1, y1, x2, y2)[..., ::-1].transpose(2, 0, 1))
            data = dict(inputs=[torch.from_numpy(bgr)], data_samples=None)
            # The preprocessor pads, which is for the detector to do once the tile has been enlarged.
            return model.data_preprocessor(data, training=False)['inputs'][0, :, : y2 - y1, : x2 - x1]

        return model.predict_windows(cut, image.size, progress)


def _predictor(config: Config, model: nn.Module, channel_order: ChannelOrder) -> _Predict:
    """How images are predicted: window by window if the model and the test pipeline allow it, else as a whole."""
    steps = config.test_dataloader.dataset.pipeline
    # Stock's loader neither knows channel orders nor says in one line what is wrong with a file.
    pipeline = Compose([dict(type='LoadCellImage') if step.type == 'LoadImageFromFile' else step for step in steps])

    def predict_whole(path: Path, image_id: int) -> tuple[tuple[int, int], Mapping[str, Any]]:
        data = pipeline({'img_path': str(path), 'img_id': image_id, 'channel_order': channel_order})
        with torch.no_grad():
            sample = model.test_step(pseudo_collate([data]))[0].to_dict()
        return sample['ori_shape'], sample['pred_instances']

    def predict_windows(path: Path, image_id: int) -> tuple[tuple[int, int], Mapping[str, Any]]:
        return read_size(path), predict_large(model, path, channel_order).to_dict()

    reads_windows = getattr(model, 'reads_windows', False) and {step.type for step in steps} <= _LOADING
    return predict_windows if reads_windows else predict_whole


def _predict_all(
    predict: _Predict, paths: Sequence[Path], root: Path, num_classes: int
) -> tuple[list[dict[str, Any]], list[Result], list[InputError]]:
    """Image dicts, result dicts, and the errors of the images that cannot be read."""
    images, results, errors = [], [], []
    for image_id, path in enumerate(tqdm(paths, 'predicting', unit='image', file=sys.stderr, disable=None), start=1):
        try:
            (height, width), found = predict(path, image_id)
        except InputError as error:
            errors.append(error)
            continue
        name = path.relative_to(root).as_posix()
        images.append({'id': image_id, 'file_name': name, 'height': height, 'width': width})
        results += to_results(image_id, found, range(1, num_classes + 1))
    return images, sort_results(results), errors


def _count(images: Sequence[dict], results: Sequence[Result], classes: Sequence[str], score_thr: float) -> str:
    counts = Counter((result['image_id'], result['category_id']) for result in results if result['score'] >= score_thr)
    text = io.StringIO(newline='')
    table = csv.writer(text)
    table.writerow(['image', *classes, 'total'])
    for image in images:
        row = [counts[image['id'], category] for category in range(1, len(classes) + 1)]
        table.writerow([image['file_name'], *row, sum(row)])
    return text.getvalue()
