"""The cells of a converted data set."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, ClassVar

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from torch.utils.data import get_worker_info

from mmcell.coco.schema import find_problems, raise_first
from mmcell.datasets.worker_notes import WorkerNotes
from mmcell.errors import InputError
from mmcell.io.files import read_json
from mmcell.io.images import ChannelOrder
from mmcell.visualization.palette import class_colours


@DATASETS.register_module()
class CellDataset(CocoDataset):
    """COCO json as `tools/convert.py` writes it, with or without annotations.

    Microns per pixel that the conversion recorded are part of the meta data, and with it of checkpoints: `mpp`.

    Class names come from the json, in the order of the category ids; `metainfo=dict(classes=…)` picks and orders some
    of them, as everywhere in MMDetection.

    Args:
        channel_order: Order of the colors in the image files. None takes what the conversion recorded, or else 'rgb'.
        **kwargs: Arguments of :class:`mmdet.datasets.CocoDataset`.

    Raises:
        InputError: If the json is missing, broken, or lacks a class that `metainfo` names.
    """

    METAINFO: ClassVar[dict[str, Any]] = {
        'classes': ('epithelial', 'lymphocyte', 'neutrophil', 'macrophage'),
        'palette': class_colours(4),
    }

    def __init__(self, *args: Any, channel_order: ChannelOrder | None = None, **kwargs: Any) -> None:
        if channel_order not in (None, 'rgb', 'bgr'):
            raise InputError('channel_order', f'is {channel_order!r}', "use 'rgb', 'bgr' or None")
        self.channel_order = channel_order
        self._picks_classes = 'classes' in (kwargs.get('metainfo') or {})
        self._notes = WorkerNotes(self)
        super().__init__(*args, **kwargs)

    def prepare_data(self, idx: int) -> Any:
        """Load an image and put it through the pipeline; a worker process notes which."""
        data_info = self.get_data_info(idx)
        if get_worker_info() is None:
            return self.pipeline(data_info)
        with self._notes.loading(data_info['img_path']):
            return self.pipeline(data_info)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Images of the json with their instances, ordered by image id."""
        content = read_json(self.ann_file)
        raise_first(self.ann_file, find_problems(content, training=True))
        ids = {category['name']: category['id'] for category in content['categories']}
        if not self._picks_classes:
            classes = tuple(sorted(ids, key=lambda name: ids[name]))
            palette = class_colours(len(classes))
            self._metainfo.update(classes=classes, palette=palette)
        if (mpp := content.get('info', {}).get('mpp')) is not None:
            self._metainfo['mpp'] = mpp
        missing = [name for name in self._metainfo['classes'] if name not in ids]
        if missing:
            raise InputError(self.ann_file, f'has no class {missing[0]!r}', f'choose from {", ".join(ids)}')
        # What CocoDataset's own parsing and filtering read.
        self.cat_ids = [ids[name] for name in self._metainfo['classes']]
        self.cat2label = {category: label for label, category in enumerate(self.cat_ids)}
        self.cat_img_map = defaultdict(list)
        annotations = defaultdict(list)
        for annotation in content.get('annotations', ()):
            # MMDetection reads the area, though only to drop what has none.
            area = annotation['bbox'][2] * annotation['bbox'][3]
            annotations[annotation['image_id']].append({'area': area, **annotation})
            self.cat_img_map[annotation['category_id']].append(annotation['image_id'])

        order = self.channel_order or content.get('info', {}).get('channel_order', 'rgb')
        data_list = []
        for image in sorted(content['images'], key=lambda image: image['id']):
            raw = {'raw_img_info': {**image, 'img_id': image['id']}, 'raw_ann_info': annotations[image['id']]}
            data_list.append({**self.parse_data_info(raw), 'channel_order': order})
        return data_list
