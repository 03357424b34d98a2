"""PanNuke's folds: all images of a fold in one numpy file, all masks in another."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, measure_blueness, to_label_map
from mmcell.converters.listing import find_files
from mmcell.errors import InputError
from mmcell.io.files import check_file
from mmcell.io.limits import MAX_PIXELS
from mmcell.structures.rle import encode_label_map

#: Where a fold lies in the published archives, with or without the folder that unpacking makes, or gathered by hand.
_PLACES = re.compile(r'([^/]+/)?(images/[^/]+/)?images\.npy')


@LAYOUTS.register_module('pannuke_npy')
class PannukeNpy(Layout):
    r"""`Fold 1/images/fold1/{images,types}.npy`, `Fold 1/masks/fold1/masks.npy`; or the three files in one folder.

    `images.npy` is (N, 256, 256, 3), 0 to 255 as float64; `masks.npy` is (N, 256, 256, 6) float64: a label map for
    each of neoplastic, inflammatory, connective, dead and epithelial, ids unique within the map, then background, which
    we do not read. `types.npy`, (N,) of str, is the tissue; it is optional. All are read through memory maps.

    The images are no files, so the converter writes them. A name is `<fold>/<index>_<tissue>`; to keep folds or tissues
    apart in the split: `--group-by 'fold\d'`, `--group-by '_(.*)'`.

    Source: README.md of the archives, https://warwick.ac.uk/fac/cross_fac/tia/data/pannuke; Gamper et al., PanNuke
    dataset extension, insights and baselines, arXiv 2003.10778.
    """

    class_counts = (5,)
    has_image_files = False

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """The five classes, in the order of the masks."""
        return 'neoplastic', 'inflammatory', 'connective', 'dead', 'epithelial'

    def names(self) -> list[str]:
        """Names of all images of all folds, sorted."""
        return sorted(self._places)

    def files(self) -> list[Path]:
        """The numpy files of all folds."""
        folds = {path for path, _ in self._places.values()}
        return [file for path in folds for file in (path, _masks_of(path), path.with_name('types.npy'))]

    def read(self, name: str) -> ImageRecord:
        """Read one image and its five label maps."""
        path, index = self._places[name]
        pixels = self.pixels(name)
        planes = _open(_masks_of(path), 6)[index]
        instances, foreground = {}, np.zeros(pixels.shape[:2], dtype=bool)
        for category in range(1, 6):
            plane = to_label_map(f'{_masks_of(path)} (image {index})', planes[..., category - 1])
            instances[category] = encode_label_map(plane)
            foreground |= plane > 0
        blueness = measure_blueness(pixels, foreground)
        return ImageRecord(name, f'{name}.png', pixels.shape[:2], instances, True, blueness)

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """One image, (H, W, 3) uint8, RGB."""
        path, index = self._places[name]
        stored = np.asarray(_open(path, 3)[index])
        with np.errstate(invalid='ignore'):  # What does not fit is found below.
            pixels = stored.astype(np.uint8)
        if not np.array_equal(pixels, stored):
            problem = f'holds colors in image {index} that are not whole numbers from 0 to 255'
            raise InputError(path, problem, 'restore it from its source')
        # A file may hold its numbers in the order of Fortran.
        return np.ascontiguousarray(pixels)

    @cached_property
    def _places(self) -> dict[str, tuple[Path, int]]:
        """File of the images and index into it, by name of the image."""
        folds = [path for path in find_files(self.source, ['images.npy']) if _PLACES.fullmatch(self._relative(path))]
        if not folds:
            cure = 'lay folds out as Fold 1/images/fold1/images.npy and Fold 1/masks/fold1/masks.npy'
            raise InputError(self.source, 'holds no images.npy', cure)
        places = {}
        for path in folds:
            for index, tissue in enumerate(_tissues(path)):
                name = f'{path.absolute().parent.name}/{index:05d}{tissue}'
                if name in places:
                    raise InputError(path, 'is in a folder of the same name as another fold', 'rename it')
                places[name] = path, index
        return places


def _tissues(path: Path) -> list[str]:
    """What to add to the name of each image of a fold; checks that the files of the fold fit together."""
    images, masks = _open(path, 3), _open(_masks_of(path), 6)
    if images.shape[:3] != masks.shape[:3]:
        problem = f'has the shape {masks.shape}, but {path.name} has {images.shape}'
        raise InputError(_masks_of(path), problem, 'restore both from their source')
    types = path.with_name('types.npy')
    if not types.exists():
        return [''] * len(images)
    tissues = _load(types)
    if tissues.shape != images.shape[:1] or tissues.dtype.kind != 'U':
        problem = f'holds {tissues.dtype} of shape {tissues.shape}, not a text for each of {len(images)} images'
        raise InputError(types, problem, 'restore it from its source or remove it')
    return ['_' + re.sub(r'[^\w-]', '', tissue) for tissue in tissues.tolist()]


def _masks_of(path: Path) -> Path:
    """The masks of a fold, given its images."""
    fold = path.parent
    return (fold.parent.parent / 'masks' / fold.name if fold.parent.name == 'images' else fold) / 'masks.npy'


def _open(path: Path, channels: int) -> NDArray:
    """A memory map of images or masks, (N, H, W, channels)."""
    array = _load(path)
    if array.ndim != 4 or array.shape[3] != channels or array.dtype.kind not in 'biuf' or 0 in array.shape:
        problem = f'holds {array.dtype} of shape {array.shape}, not N images of {channels} channels'
        raise InputError(path, problem, 'restore it from its source')
    if array.shape[1] * array.shape[2] > MAX_PIXELS:
        raise InputError(path, f'holds images of {array.shape[2]} x {array.shape[1]} pixels', 'cut them up')
    return array


def _load(path: Path) -> NDArray:
    check_file(path)
    try:
        # A fold of masks has 8 GB. Pickled objects, which could execute code, cannot be mapped.
        return np.lib.format.open_memmap(path, mode='r')
    except OSError as error:
        raise InputError(path, f'cannot be read ({error.strerror or error})', 'restore it from its source') from None
    except Exception as error:  # numpy raises several kinds at a broken header.
        raise InputError(path, f'is not a numpy array ({str(error)[:200]})', 'restore it from its source') from None
