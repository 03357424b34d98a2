"""Image files: are they there, and as large as the annotation file says?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmcell.errors import InputError
from mmcell.io.images import read_size, say_turned

#: Threads wait for disks, of which network file systems need many; parsing a header takes under a millisecond.
_THREADS = 16


def read_sizes(paths: Iterable[Path]) -> dict[Path, tuple[int, int] | InputError | None]:
    """Height and width of images from their headers alone; an error for a file that is broken, None where is none."""
    paths = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(paths, pool.map(_read_size, paths)))


def _read_size(path: Path) -> tuple[int, int] | InputError | None:
    try:
        return read_size(path)
    except InputError as error:
        return error if path.is_file() else None


def check_images(
    ann_file: str | Path,
    images: Iterable[Mapping[str, Any]],
    folder: Path,
    sizes: Mapping[Path, tuple[int, int] | InputError | None],
) -> list[InputError]:
    """Compare images with the annotation file that lists them.

    Args:
        ann_file: The annotation file, for errors.
        images: Its image dicts.
        folder: What their file names are relative to.
        sizes: Of every image, see :func:`read_sizes`.
    """
    images = list(images)
    missing, wrong, errors = [], [], []
    for image in images:
        path = folder / image['file_name']
        found, said = sizes[path], (image['height'], image['width'])
        if found is None:
            missing.append(path)
        elif isinstance(found, InputError):
            errors.append(found)
        elif tuple(found) != said:
            wrong.append((path, found, said))
    if wrong:
        path, found, said = wrong[0]
        problem = (
            f'has the wrong size for {len(wrong)} of {len(images)} images, first {path}: {found[1]} x {found[0]} '
            f'pixels, not {said[1]} x {said[0]}{say_turned(found, said)}'
        )
        errors.insert(0, InputError(ann_file, problem, 'restore the images, or convert the data again'))
    if missing:
        problem = f'lists {len(images)} images, of which {len(missing)} do not exist, first {missing[0]}'
        errors.insert(0, InputError(ann_file, problem, 'restore them, or convert the data again'))
    return errors
