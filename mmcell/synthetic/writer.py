"""Sets of synthetic tissue on disk, in the `class_tiff` layout."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from mmcell.errors import InputError
from mmcell.io.files import check_writable, remove_leftovers, replace_folder, write_json
from mmcell.synthetic.tissue import NUM_CLASSES, draw_tissue

TRAIN, TEST, TEST_IDS = 'train', 'test_release', 'test_image_name_to_ids.json'
MIN_SIDE = 64  # px; a macrophage needs room


def write_class_tiff(
    out: str | Path,
    num_images: int = 30,
    size: tuple[int, int] = (256, 256),
    num_cells: int = 45,
    seed: int = 0,
    num_test_images: int = 6,
    overwrite: bool = False,
) -> np.ndarray:
    """Draw a set of tissue and write it: `train/`, `test_release/` and `test_image_name_to_ids.json`.

    Images are 8-bit RGBA, LZW; masks float64, one file per class that occurs, pixel value = instance id, ids running on
    from class to class. Equal arguments give equal bytes, and image i depends on `seed`, `size` and `num_cells` only,
    not on how many there are. The folder appears whole or not at all.

    Args:
        out: Folder to make.
        num_images: Images with masks, at least 1.
        size: Height and width in pixels, each at least 64.
        num_cells: Cells an image, at least 1; fewer are drawn where they do not fit.
        seed: Not negative.
        num_test_images: Images without masks, not negative.
        overwrite: Replace an earlier set.

    Returns:
        np.ndarray: Cells of each class in `train/`, int64 of shape (4,).

    Raises:
        InputError: If an argument is out of range, if `out` exists and is not an empty folder (with `overwrite`: holds
            anything else than a set), or if it cannot be written.
    """
    out = Path(out)
    _check_ranges(num_images, size, num_cells, seed, num_test_images)
    _check_out(out, overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out.parent, prefix := f'.{out.name}.synthesize')
        # Beside the target, because a rename is atomic only within one file system.
        with tempfile.TemporaryDirectory(prefix=f'{prefix}{os.getpid()}.', dir=out.parent) as temporary:
            new = Path(temporary, 'new')
            totals = _write_train(new / TRAIN, num_images, size, num_cells, seed)
            _write_test(new, num_test_images, size, num_cells, seed)
            replace_folder(out, new)
    except OSError as error:
        raise InputError(
            out, f'cannot be written ({error.strerror})', 'choose another place or free disk space'
        ) from None
    return totals


def _check_ranges(num_images: int, size: tuple[int, int], num_cells: int, seed: int, num_test_images: int) -> None:
    for name, value, least in (
        ('--images', num_images, 1),
        ('--size', min(size), MIN_SIDE),
        ('--cells', num_cells, 1),
        ('--seed', seed, 0),
        ('--test-images', num_test_images, 0),
    ):
        if value < least:
            raise InputError(name, f'{value} is too small', f'give at least {least}')


def _check_out(out: Path, overwrite: bool) -> None:
    if not os.path.lexists(out):
        check_writable(out.parent)
        return
    if not out.is_dir():
        raise InputError(out, 'is not a folder', 'choose another --out')
    names = {path.name for path in out.iterdir()}
    if names and not overwrite:
        raise InputError(out, 'already exists', 'choose another --out or add --overwrite')
    if names - {TRAIN, TEST, TEST_IDS}:
        # Replacing is deleting: never a folder that someone filled with other things.
        raise InputError(
            out, f'holds {min(names - {TRAIN, TEST, TEST_IDS})}, which is no part of a set', 'choose another --out'
        )


def _write_train(folder: Path, num_images: int, size: tuple[int, int], num_cells: int, seed: int) -> np.ndarray:
    totals = np.zeros(NUM_CLASSES, np.int64)
    for index in range(num_images):
        tissue = draw_tissue(np.random.default_rng((seed, 0, index)), size, num_cells)
        image_folder = folder / f'tissue_{index:05d}'
        image_folder.mkdir(parents=True)
        _write_image(image_folder / 'image.tif', tissue.image)
        for plane, label_map in enumerate(tissue.label_maps):
            count = len(np.unique(label_map[label_map > 0]))
            totals[plane] += count
            if count:
                _write_tiff(image_folder / f'class{plane + 1}.tif', label_map.astype(np.float64), 'minisblack')
    return totals


def _write_test(folder: Path, num_images: int, size: tuple[int, int], num_cells: int, seed: int) -> None:
    (folder / TEST).mkdir()
    listed = []
    for index in range(num_images):
        tissue = draw_tissue(np.random.default_rng((seed, 1, index)), size, num_cells)
        name = f'test_{index:05d}.tif'
        _write_image(folder / TEST / name, tissue.image)
        # Counted down: as in real sets, the ids do not follow the names' order.
        listed.append({'file_name': name, 'id': num_images - index, 'height': size[0], 'width': size[1]})
    write_json(folder / TEST_IDS, listed)


def _write_image(path: Path, image: np.ndarray) -> None:
    opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
    _write_tiff(path, np.concatenate([image, opaque], 2), 'rgb', extrasamples=['unassalpha'])


def _write_tiff(path: Path, pixels: np.ndarray, photometric: str, extrasamples: Sequence[str] | None = None) -> None:
    # No metadata: nothing but the pixels decides the bytes.
    tifffile.imwrite(
        path,
        pixels,
        photometric=photometric,
        compression='lzw',
        metadata=None,
        software=False,
        extrasamples=extrasamples,
    )
