"""A data set of one drawn image, and the model that is measured on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tifffile
from mmengine.config import Config

from benchmarks.scene import draw_image, draw_instances
from mmcell.config import load_config
from mmcell.io.files import write_json

_CONFIG = Path(__file__).resolve().parents[1] / 'configs/cell/mask_rcnn.py'


def write_data(folder: Path, cells: int, side: int) -> dict[str, Any]:
    """Write an image of side x side pixels with its cells, of four classes, as a converted data set.

    Returns:
        `image` and `annotations`, the names of the files, for tasks in any environment, and `folder`.
    """
    image, annotations = folder / 'images/1.tif', folder / 'annotations/train.json'
    image.parent.mkdir(parents=True)
    annotations.parent.mkdir()
    tifffile.imwrite(image, draw_image(side), photometric='rgb', compression='lzw')
    found = []
    for number, cell in enumerate(draw_instances(cells, side), start=1):
        x1, y1, x2, y2 = cell['bbox']
        width, height = x2 - x1, y2 - y1
        found.append(
            {'id': number, 'image_id': 1, 'category_id': cell['bbox_label'] + 1, 'iscrowd': 0, 'area': width * height}
            | {'bbox': [x1, y1, width, height], 'segmentation': cell['mask']}
        )
    images = [{'id': 1, 'file_name': image.name, 'height': side, 'width': side}]
    categories = [{'id': number, 'name': f'class {number}'} for number in (1, 2, 3, 4)]
    write_json(annotations, {'images': images, 'annotations': found, 'categories': categories})
    return {'folder': str(folder), 'image': str(image), 'annotations': str(annotations)}


def drawn_config(folder: str, config: Path | None = None, base: Path | None = None) -> Config:
    """`configs/cell/mask_rcnn.py` for such a data set, with random weights.

    Args:
        folder: The data set.
        config: Config of another model, which is seen at the same scale.
        base: Another base for that.
    """
    drawn = load_config(_CONFIG)
    if config is not None:
        drawn.model = load_config(config, base=base).model
    drawn.model.backbone.init_cfg = None
    drawn.train_dataloader.dataset.data_root = folder
    return drawn
