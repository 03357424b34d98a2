"""Pairs of an image and a label map, as Cellpose and StarDist train on and Cellpose writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, check_same_size
from mmcell.converters.listing import by_stem, files_in, image_files, list_names
from mmcell.errors import InputError, raise_all
from mmcell.io.images import read_label_map, read_size
from mmcell.structures.rle import encode_label_map

#: What the name of a label map ends in, the first that is there counts: what Cellpose trains on and people correct,
#: what it writes, and what MATLAB's trainCellpose takes.
_ENDINGS = ('_masks', '_cp_masks', '_labels')

#: Pictures that Cellpose writes beside an image, `save_masks` and `get_image_files` in its io.py, today with the ending
#: of its masks behind; none of them is an image to train on.
_BY_PRODUCTS = re.compile(r'_(cp|cp_output|flows|cp_flows|flows_[012]|cellprob|dP|outlines|cp_outlines)(_cp_masks)?$')
#: Its other files.
_OTHER_FILES = ('_seg.npy', '_cp_outlines.txt', '_outlines.txt', '_rois.zip')


@LAYOUTS.register_module('label_image')
@dataclass
class LabelImage(Layout):
    """`<name>_img.png` or `<name>.png` with `<name>_masks.png`, or `images/<name>.tif` with `masks/<name>.tif`.

    A label map may also be called `<name>_cp_masks.png`, as Cellpose writes it, in SRC or in the folder `masks`, or
    `<name>_labels.png`. Where there are several of an image, `_masks`, which people correct by hand, counts first, and
    the others are named in the summary, as are by-products of Cellpose. Of `<name>_seg.npy`, a pickle that could
    execute code, nothing is read.

    PNG or TIFF, images JPEG as well, the two of a pair independently. In a label map the pixel value is the instance id
    and 0 is background; pixels of one value are one cell, connected or not. All cells are of the first class.

    Sources: Cellpose, docs/train.rst (`--img_filter _img`, `--mask_filter _masks`) and docs/outputs.rst,
    https://cellpose.readthedocs.io/en/latest/train.html; `trainCellpose` of MATLAB's Medical Imaging Toolbox; StarDist,
    examples/2D/2_training.ipynb (`images/*.tif` and `masks/*.tif` of the same names),
    https://github.com/stardist/stardist.
    """

    class_counts = (1,)

    # Files that warnings name.
    _passed_over: list[Path] = field(default_factory=list, init=False, repr=False)

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """One class."""
        return ('cell',)

    def names(self) -> list[str]:
        """Names of all pairs, sorted."""
        images, masks = self._pairs
        if not images:
            cure = 'lay pairs out as <name>.png and <name>_masks.png, or as images/<name>.tif and masks/<name>.tif'
            raise InputError(self.source, 'holds no images', cure)
        errors = [_lacks_label_map(images[name]) for name in sorted(images.keys() - masks.keys())]
        errors += [
            InputError(masks[name], 'has no image', 'restore the image or remove the label map')
            for name in sorted(masks.keys() - images.keys())
        ]
        raise_all(errors)
        return sorted(images)

    def files(self) -> list[Path]:
        """Images, label maps, and what has been named as passed over."""
        images, masks = self._pairs
        return [*images.values(), *masks.values(), *self._passed_over]

    def read(self, name: str) -> ImageRecord:
        """Read one pair."""
        images, masks = self._pairs
        image, path = images[name], masks[name]
        plane = read_label_map(path)
        check_same_size(path, plane.shape, image, read_size(image))
        return self._record(name, image, {1: encode_label_map(plane)}, np.greater(plane, 0))

    @cached_property
    def _pairs(self) -> tuple[dict[str, Path], dict[str, Path]]:
        """Images and label maps by name; a label map without image under its own name."""
        apart = by_stem(image_files(self.source / 'masks'))
        folder = self.source / 'images' if apart and (self.source / 'images').is_dir() else self.source
        pictures = by_stem(image_files(folder))
        products = {stem for stem in {**pictures, **apart} if stem not in apart or stem not in pictures}
        products = {stem for stem in products if _is_by_product(stem, pictures)}
        labels = {
            stem: path
            for stem, path in (apart or pictures).items()
            if stem not in products and (apart or _is_label_map(stem, pictures))
        }
        images: dict[str, Path] = {}
        masks: dict[str, Path] = {}
        used: set[str] = set()
        for stem, path in pictures.items():
            if stem in products or (stem in labels and not apart):
                continue
            # `a_img` belongs to `a_masks`, unless there is an `a_img_masks`.
            name, found = stem, _label_maps_of(stem, labels, bool(apart))
            if not found and stem.endswith('_img'):
                name = stem.removesuffix('_img')
                found = _label_maps_of(name, labels, bool(apart))
            if name in images:
                raise InputError(path, f'is a second image called {name} beside {images[name].name}', 'remove one')
            images[name] = path
            used |= set(found)
            if found:
                masks[name], *others = (labels[stem] for stem in found)
                self._passed_over += others
        if self._passed_over:
            spare = list_names([path.name for path in self._passed_over])
            self.warnings.append(f'{len(self._passed_over)} images have a second label map, which is not read: {spare}')
        masks |= {stem: labels[stem] for stem in sorted(labels.keys() - used)}
        others = [{**apart, **pictures}[stem] for stem in sorted(products)]
        others += [path for path in files_in(folder) if path.name.endswith(_OTHER_FILES)]
        if others:
            names = list_names([path.name for path in others])
            self.warnings.append(f'{len(others)} by-products of Cellpose are not read: {names}')
            self._passed_over += others
        return images, masks


def _is_by_product(stem: str, pictures: Mapping[str, Path]) -> bool:
    """Whether Cellpose wrote a picture beside another one."""
    match = _BY_PRODUCTS.search(stem)
    return match is not None and bool({stem[: match.start()], f'{stem[: match.start()]}_img'} & pictures.keys())


def _is_label_map(stem: str, pictures: Mapping[str, Path]) -> bool:
    """Whether a picture between images is a label map: so it is called, and it has none of its own."""
    return stem.endswith(_ENDINGS) and not any(f'{stem}{ending}' in pictures for ending in _ENDINGS)


def _label_maps_of(name: str, labels: Mapping[str, Path], apart: bool) -> list[str]:
    """Label maps of an image, the one that counts first; in a folder apart one may be called like the image."""
    names = [name] * apart + [f'{name}{ending}' for ending in _ENDINGS]
    return [name for name in names if name in labels]


def _lacks_label_map(image: Path) -> InputError:
    stems = (image.stem, image.stem.removesuffix('_img'))
    pickled = next((path for stem in stems if (path := image.with_name(f'{stem}_seg.npy')).is_file()), None)
    if pickled is None:
        return InputError(image, 'has no label map', 'add one (all zero for an image without cells) or remove it')
    problem = f'has no label map, and {pickled.name} is a pickle, which mmcell does not read'
    return InputError(image, problem, "open it in Cellpose and take File > 'Save masks as PNG/tif'")
