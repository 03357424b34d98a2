"""Large dense images, laid together from annotated ones: what few data sets have and every test of tiles needs."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from mmcell.errors import InputError
from mmcell.io.files import check_writable, remove_leftovers, replace_folder
from mmcell.io.images import read_image, read_label_map


def write_mosaics(
    source: str | Path, out: str | Path, side: int = 2000, images: int = 1, seed: int = 0, match: str = ''
) -> list[int]:
    """Lay images of the `class_tiff` layout side by side into square ones, in the same layout.

    Images are taken in random order, each once before any is taken again, and set row by row; what sticks out of its
    row or of the mosaic is cut off. Cells that are cut stay cells, as those at the border of any image.

    Args:
        source: Folder with `train/<name>/{image,class*}.tif`.
        out: Folder to make; must not exist.
        side: Height and width of a mosaic in pixels, at least 1.
        images: Number of mosaics, at least 1.
        seed: Of the order.
        match: Regular expression that the names of the images must match somewhere.

    Returns:
        Cells of each mosaic.

    Raises:
        InputError: If there is no image, one is broken, `out` exists, or a number is out of range.
    """
    source, out = Path(source), Path(out)
    if side < 1 or images < 1 or seed < 0:
        raise InputError('--size, --images, --seed', 'are out of range', 'give positive numbers')
    if os.path.lexists(out):
        raise InputError(out, 'already exists', 'choose another --out')
    check_writable(out.parent)
    folders = sorted(path.parent for path in source.glob('train/*/image.tif') if re.search(match, path.parent.name))
    if not folders:
        raise InputError(source, f'holds no train/*/image.tif that matches {match!r}', 'check the folder and --match')
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out.parent, prefix := f'.{out.name}.mosaic')
    rng, counts = np.random.default_rng(seed), []
    with tempfile.TemporaryDirectory(prefix=f'{prefix}{os.getpid()}.', dir=out.parent) as temporary:
        new = Path(temporary, 'new')
        for number in range(images):
            folder = new / 'train' / f'mosaic{number}'
            folder.mkdir(parents=True)
            pixels, planes = _draw(folders, side, rng)
            tifffile.imwrite(folder / 'image.tif', pixels, photometric='rgb', compression='lzw')
            for name, plane in planes.items():
                tifffile.imwrite(folder / name, plane, photometric='minisblack', compression='lzw')
            counts.append(sum(len(np.unique(plane)) - 1 for plane in planes.values()))
        replace_folder(out, new)
    return counts


def _draw(
    folders: list[Path], side: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.int32]]]:
    """One mosaic: its pixels, (side, side, 3), and its planes, (side, side), by the name of their file."""
    pixels = np.full((side, side, 3), 255, dtype=np.uint8)
    planes: dict[str, NDArray[np.int32]] = {}
    order: list[int] = []
    top = height = left = last = 0
    while top < side:
        order = order or rng.permutation(len(folders)).tolist()
        folder = folders[order.pop()]
        image = read_image(folder / 'image.tif')
        if left == 0:
            height = min(image.shape[0], side - top)
        image = image[:height, : side - left]
        where = slice(top, top + image.shape[0]), slice(left, left + image.shape[1])
        pixels[where] = image
        for path in sorted(folder.glob('class*.tif')):
            labels = read_label_map(path)[: image.shape[0], : image.shape[1]]
            plane = planes.setdefault(path.name, np.zeros((side, side), dtype=np.int32))
            plane[where] = np.where(labels > 0, labels + last, 0)
        last = max((int(plane.max()) for plane in planes.values()), default=0)
        left += image.shape[1]
        if left >= side:
            top, left = top + height, 0
    return pixels, planes
