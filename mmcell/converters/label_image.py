"""Pairs of an image and a label map, as Cellpose and StarDist train on."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import numpy as np

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, by_stem, check_same_size, image_files
from mmcell.errors import InputError, raise_all
from mmcell.io.images import read_label_map, read_size
from mmcell.structures.rle import encode_label_map

# What Cellpose writes beside an image, `get_image_files` in its io.py; none of it is an image to train on.
_BY_PRODUCTS = re.compile(r'_(cp_output|flows|flows_0|flows_1|flows_2|cellprob)$')


@LAYOUTS.register_module('label_image')
class LabelImage(Layout):
    """`<name>_img.png` or `<name>.png` with `<name>_masks.png`, or `images/<name>.tif` with `masks/<name>.tif`.

    PNG, TIFF or JPEG, the two of a pair independently. In a label map the pixel value is the instance id and 0 is
    background; pixels of one value are one cell, connected or not. All cells are of the first class.

    Sources: Cellpose, docs/train.rst (`--img_filter _img`, `--mask_filter _masks`),
    https://cellpose.readthedocs.io/en/latest/train.html; StarDist, examples/2D/2_training.ipynb (`images/*.tif` and
    `masks/*.tif` of the same names), https://github.com/stardist/stardist.
    """

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
        errors = [
            InputError(images[name], 'has no label map', 'add one (all zero for an image without cells) or remove it')
            for name in sorted(images.keys() - masks.keys())
        ]
        errors += [
            InputError(masks[name], 'has no image', 'restore the image or remove the label map')
            for name in sorted(masks.keys() - images.keys())
        ]
        raise_all(errors)
        return sorted(images)

    def read(self, name: str) -> ImageRecord:
        """Read one pair."""
        images, masks = self._pairs
        image, path = images[name], masks[name]
        plane = read_label_map(path)
        check_same_size(path, plane.shape, image, read_size(image))
        return self._record(name, image, {1: encode_label_map(plane)}, np.greater(plane, 0))

    @cached_property
    def _pairs(self) -> tuple[dict[str, Path], dict[str, Path]]:
        """Images and label maps by name."""
        if (self.source / 'images').is_dir() and (self.source / 'masks').is_dir():
            return by_stem(image_files(self.source / 'images')), by_stem(image_files(self.source / 'masks'))
        files = by_stem(image_files(self.source))
        masks = {stem.removesuffix('_masks'): path for stem, path in files.items() if stem.endswith('_masks')}
        images: dict[str, Path] = {}
        for stem, path in files.items():
            if stem.endswith('_masks') or _BY_PRODUCTS.search(stem):
                continue
            # `a_img` belongs to `a_masks`, unless there is an `a_img_masks`.
            name = stem if stem in masks else stem.removesuffix('_img')
            if name in images:
                raise InputError(path, f'is a second image called {name} beside {images[name].name}', 'remove one')
            images[name] = path
        return images, masks
