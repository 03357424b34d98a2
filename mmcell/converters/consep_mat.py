"""CoNSeP as HoVer-Net's authors publish it: MATLAB files beside PNG images."""

from __future__ import annotations

import io
import math
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, TestImage, check_same_size, to_label_map
from mmcell.converters.listing import IMAGE_SUFFIXES, by_stem, files_in, image_files
from mmcell.converters.mat_headers import list_variables
from mmcell.errors import InputError, raise_all
from mmcell.io.files import read_bytes
from mmcell.io.images import read_size
from mmcell.structures.rle import Instances, encode_label_map

#: Category id of each type: 1 other, 2 inflammatory, 3 healthy and 4 dysplastic or malignant epithelial, 5 fibroblast,
#: 6 muscle, 7 endothelial. Merged as in the paper and in `dataset.py` of https://github.com/vqdang/hover_net.
CATEGORY_OF_TYPE = np.array([0, 1, 2, 3, 3, 4, 4, 4])
_TYPES = len(CATEGORY_OF_TYPE) - 1

#: Variables that we read.
_READ = ('inst_map', 'type_map', 'inst_type')


@LAYOUTS.register_module('consep_mat')
class ConsepMat(Layout):
    """`Train/Images/*.png`, `Train/Labels/*.mat`, `Test/Images/*.png`; or `Images` and `Labels` in SRC itself.

    Each .mat file holds `inst_map` (H, W), 0 or the id of a nucleus; `type_map` (H, W), the type at each pixel, 0 to 7;
    and `inst_type` (N, 1), the type of each nucleus in the order of the ids. A nucleus has the type that most of its
    pixels have in `type_map`; without a `type_map`, `inst_type` decides. The seven types become four categories, see
    `CATEGORY_OF_TYPE`; seven names of classes keep them apart, in the order of their numbers. Test images are numbered
    by name; to have them with annotations, convert the folder `Test`.

    Source: README.txt of the data set, https://warwick.ac.uk/fac/cross_fac/tia/data/hovernet; Graham et al., HoVer-Net,
    Medical Image Analysis 2019.
    """

    class_counts = (4, _TYPES)

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """The four categories of the paper."""
        return 'other', 'inflammatory', 'epithelial', 'spindle-shaped'

    def names(self) -> list[str]:
        """Names of the annotated images, sorted."""
        if not self._images:
            cure = 'lay images out as Train/Images/<name>.png and Train/Labels/<name>.mat'
            raise InputError(self._root / 'Images', 'holds no image', cure)
        raise_all(
            [
                InputError(self._labels[name], 'has no image', 'restore the image or remove the labels')
                for name in sorted(self._labels.keys() - self._images.keys())
            ]
        )
        return sorted(self._images)

    def files(self) -> list[Path]:
        """Images and labels, those of `Test`, and the pictures of both together."""
        parts = [
            (root, part) for root in (self._root, self.source / 'Test') for part in ('Images', 'Labels', 'Overlay')
        ]
        return [path for root, part in parts for path in files_in(root / part, {*IMAGE_SUFFIXES, '.mat'})]

    def read(self, name: str) -> ImageRecord:
        """Read one image and its nuclei."""
        image, path = self._images[name], self._labels.get(name, self._root / 'Labels' / f'{name}.mat')
        maps = _load(path, image)
        ids = to_label_map(path, maps['inst_map'])
        found = encode_label_map(ids)
        types = _types(path, maps, ids, found.ids)
        categories = types if len(self.class_names) == _TYPES else CATEGORY_OF_TYPE[types]
        instances = {int(category): _take(found, categories == category) for category in np.unique(categories)}
        return self._record(name, image, instances, ids > 0)

    def test_images(self) -> list[TestImage] | None:
        """The images of `Test`, numbered from 1 by name."""
        images = image_files(self.source / 'Test' / 'Images')
        return [
            TestImage(number, path.relative_to(self.source).as_posix(), read_size(path))
            for number, path in enumerate(images, start=1)
        ] or None

    @property
    def _root(self) -> Path:
        train = self.source / 'Train'
        return train if train.is_dir() else self.source

    @cached_property
    def _images(self) -> dict[str, Path]:
        return by_stem(image_files(self._root / 'Images'))

    @cached_property
    def _labels(self) -> dict[str, Path]:
        return by_stem(files_in(self._root / 'Labels', ['.mat']))


def _load(path: Path, image: Path) -> dict[str, NDArray]:
    """The arrays of a label file that we read, `inst_map` and `type_map` known to have the size of the image."""
    from scipy.io import loadmat  # Slow to import.

    data = read_bytes(path)
    try:
        # Sizes and kinds come first: a few bytes can claim and, compressed, even hold gigabytes, and cells in cells in
        # cells overrun the stack.
        size = read_size(image)
        for variable in list_variables(data):
            if variable.name in _READ and not variable.numeric:
                raise InputError(path, f'holds no numbers as {variable.name} where ids are expected', 'save an array')
            if variable.name in ('inst_map', 'type_map'):
                check_same_size(path, (variable.shape[0], variable.shape[1]), image, size)
            if variable.name == 'inst_type' and math.prod(variable.shape) > math.prod(size):
                raise InputError(path, f'holds the shape {variable.shape} as inst_type', 'restore it from its source')
        maps = loadmat(io.BytesIO(data), variable_names=_READ)
    except InputError:
        raise
    except Exception as error:  # scipy raises what it likes at a broken file.
        reason = str(error) or type(error).__name__
        problem = f'cannot be read as MATLAB file ({reason[:200]})'
        raise InputError(path, problem, 'restore it from its source') from None
    if 'inst_map' not in maps:
        raise InputError(path, 'has no inst_map', 'restore it from its source')
    return maps


def _types(
    path: Path, maps: dict[str, NDArray], ids: NDArray[np.int32], found: NDArray[np.integer]
) -> NDArray[np.integer]:
    """Type of each nucleus, 1 to 7, in the order of the ids that were found, (N,)."""
    highest = _TYPES
    if 'type_map' in maps:
        pixels = to_label_map(path, maps['type_map'])
        owners = np.searchsorted(found, ids[ids > 0])
        # Types above 7 all count as 8, to be refused below.
        choices = np.minimum(pixels[ids > 0], highest + 1)
        votes = np.bincount(owners * (highest + 2) + choices, minlength=len(found) * (highest + 2))
        types = votes.reshape(-1, highest + 2).argmax(axis=1)
    else:
        types = to_label_map(path, np.reshape(maps.get('inst_type', ()), (-1, 1)))[:, 0]
        if len(types) != len(found):
            problem = f'has {len(types)} types in inst_type for {len(found)} nuclei'
            raise InputError(path, problem, 'restore it from its source')
    wrong = np.flatnonzero((types < 1) | (types > highest))
    if len(wrong):
        problem = f'gives nucleus {found[wrong[0]]} no type from 1 to {highest}'
        raise InputError(path, problem, 'restore it from its source')
    return types


def _take(instances: Instances, chosen: NDArray[np.bool_]) -> Instances:
    rles = [rle for rle, wanted in zip(instances.rles, chosen) if wanted]
    return Instances(instances.ids[chosen], instances.boxes[chosen], instances.areas[chosen], rles)
