"""A data set read in full: every annotation file, every mask, every pixel."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mmcell.coco.schema import category_names
from mmcell.converters.base import measure_blueness
from mmcell.converters.summary import MIN_BLUENESS, SMALL_AREA
from mmcell.errors import InputError
from mmcell.io.files import read_json
from mmcell.io.images import ChannelOrder, read_image
from mmcell.preflight.annotations import check_annotations, check_classes, check_listing
from mmcell.preflight.images import check_images
from mmcell.preflight.splits import find_no_cells
from mmcell.structures.rle import Runs, decode

#: `train`, `val`, `test`, and the same of a fold: `fold0_train`. What they share must be no image.
_PART = re.compile(r'(?P<fold>.*_)?(?P<part>train|val|test)')


@dataclass(frozen=True)
class _Image:
    """What the pixels of one image tell.

    Args:
        size: Height and width, or what is wrong with the file; None if there is none.
        digest: The same for images of the same pixels.
        blueness: See :func:`measure_blueness`, under the masks; NaN without any.
    """

    size: tuple[int, int] | InputError | None
    digest: bytes = b''
    blueness: float = float('nan')


def examine_data(root: str | Path) -> tuple[list[str], list[InputError]]:
    """Read all of a data set that `tools/convert.py` wrote; an image in several annotation files is read once.

    Args:
        root: The folder with `annotations` and `images`.

    Returns:
        Lines that say what is in it, warnings last, and what is wrong.

    Raises:
        InputError: If there are no annotation files.
    """
    root = Path(root)
    paths = sorted((root / 'annotations').glob('*.json'))
    if not paths:
        raise InputError(root, 'holds no annotations/*.json', f'python tools/convert.py class_tiff SRC --out {root}')
    contents, sound, lines, errors = {}, {}, [], []
    for path in paths:
        try:
            content = read_json(path)
        except InputError as error:
            errors.append(error)
            continue
        if isinstance(content, dict) and content.get('images') == []:  # a small data set may have no val images
            lines.append(f'{path.stem}: 0 images')
            continue
        problems = check_annotations(path, content)
        errors += problems
        if not problems or not check_listing(path, content):
            contents[path] = content
        if not problems:
            sound[path] = content
            crowds = find_no_cells(content) if content.get('annotations') else ''
            errors += [InputError(path, crowds, 'annotate single cells, then convert again')] if crowds else []
    errors += check_classes([(path, category_names(content)) for path, content in contents.items()])
    images = _read_images(root / 'images', contents, sound)
    broken = set()
    for path, content in contents.items():
        sizes = {root / 'images' / name: image.size for name, image in images.items()}
        found = check_images(path, content['images'], root / 'images', sizes)
        # A broken image is one, however many files list it.
        errors += [error for error in found if str(error) not in broken]
        broken |= {str(error) for error in found}
    lines += [line for path, content in sound.items() for line in _describe(path.stem, content)]
    warnings = [*_find_swapped(images), *_find_leaks(contents, images)]
    return [*lines, *(f'warning: {warning}' for warning in warnings)], errors


def _masks(content: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], Runs]]:
    """Image, annotations with RLE masks, and these masks."""
    owned = defaultdict(list)
    for annotation in content.get('annotations', ()):
        if isinstance(annotation.get('segmentation'), dict):
            owned[annotation['image_id']].append(annotation)
    for image in content['images']:
        annotations = owned[image['id']]
        yield (
            image,
            annotations,
            decode([one['segmentation'] for one in annotations], (image['height'], image['width'])),
        )


def _read_images(
    folder: Path, contents: Mapping[Path, Mapping[str, Any]], sound: Collection[Path]
) -> dict[str, _Image]:
    """What the pixels tell, by file name; masks are taken from the sound files only."""
    masks: dict[str, tuple[Runs | None, ChannelOrder]] = {}
    for path, content in contents.items():
        order = content.get('info', {}).get('channel_order', 'rgb')
        for image in content['images']:
            masks.setdefault(image['file_name'], (None, order))
        for image, _, runs in _masks(content) if path in sound else ():
            if len(runs):
                masks[image['file_name']] = (runs, order)

    def read(name: str) -> _Image:
        runs, order = masks[name]
        try:
            pixels = read_image(folder / name, order)
        except InputError as error:
            return _Image(error if (folder / name).is_file() else None)
        size = pixels.shape[:2]
        blueness = float('nan')
        if runs is not None and runs.size == size:
            plane = np.zeros(size[::-1], dtype=bool)
            plane.reshape(-1)[runs.pixels] = True
            blueness = measure_blueness(pixels, plane.T)
        return _Image(size, hashlib.blake2b(repr(size).encode() + pixels.tobytes()).digest(), blueness)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Decoders do not hold Python's lock.
        found = pool.map(read, masks)
        return dict(zip(masks, tqdm(found, 'reading', len(masks), unit='image', file=sys.stderr, disable=None)))


def _describe(name: str, content: Mapping[str, Any]) -> list[str]:
    """What one annotation file holds: a line, and one each on cells per image and on sizes if there are cells."""
    names = category_names(content)
    ids = sorted(category['id'] for category in content['categories'])
    counts = dict.fromkeys(ids, 0)
    areas, owners, per_image = [], [], []
    for image, owned, runs in _masks(content):
        cells = np.array([not annotation.get('iscrowd') for annotation in owned], dtype=bool)
        per_image.append(int(cells.sum()))
        areas.append(runs.areas[cells])
        owners += [(owned[index]['id'], image['file_name']) for index in np.flatnonzero(cells).tolist()]
    annotations = content.get('annotations', ())
    for annotation in annotations:
        if not annotation.get('iscrowd'):
            counts[annotation['category_id']] = counts.get(annotation['category_id'], 0) + 1
    total = sum(counts.values())
    lines = [f'{name}: {len(content["images"])} images, {total} cells']
    if owners:
        lines[0] += f' ({", ".join(f"{label} {counts[number]}" for number, label in zip(ids, names))})'
    if total < len(annotations):
        lines[0] += f', {len(annotations) - total} crowd regions'
    if not owners:
        return lines
    low, median, high = np.percentile(per_image, [0, 50, 100])
    lines.append(f'{name}: {low:g} to {high:g} cells per image, median {median:g}')
    all_areas = np.concatenate(areas)
    small, large = int(all_areas.argmin()), int(all_areas.argmax())
    lines.append(
        f'{name}: smallest cell {all_areas[small]} px (annotation {owners[small][0]} of {owners[small][1]}), largest '
        f'{all_areas[large]} px (annotation {owners[large][0]} of {owners[large][1]}), '
        f'{int((all_areas < SMALL_AREA).sum())} under {SMALL_AREA} px'
    )
    return lines


def _find_swapped(images: Mapping[str, _Image]) -> list[str]:
    blueness = np.array([image.blueness for image in images.values()])
    blueness = blueness[np.isfinite(blueness)]
    if not len(blueness) or np.median(blueness) >= MIN_BLUENESS:
        return []
    return [
        f'red and blue look swapped: nuclei are {-np.median(blueness):.0f} steps redder than blue, hematoxylin is the '
        'other way round; look at an image, then convert with the other --channel-order'
    ]


def _find_leaks(contents: Mapping[Path, Mapping[str, Any]], images: Mapping[str, _Image]) -> list[str]:
    """Images of the same pixels in two parts of a split, or twice in one."""
    parts: dict[str, dict[str, Sequence[str]]] = defaultdict(dict)
    for path, content in contents.items():
        if match := _PART.fullmatch(path.stem):
            parts[match['fold'] or ''][match['part']] = [image['file_name'] for image in content['images']]
    warnings = []
    for fold, files in parts.items():
        for index, (name, ours) in enumerate(files.items()):
            seen = _by_digest(ours, images)
            twice = [names for names in seen.values() if len(names) > 1]
            if twice:
                warnings.append(
                    f'{fold}{name}.json has {len(twice)} images more than once, first {twice[0][0]} and {twice[0][1]}: '
                    'the same pixels'
                )
            for other, theirs in list(files.items())[index + 1 :]:
                both = [
                    (seen[digest][0], names[0])
                    for digest, names in _by_digest(theirs, images).items()
                    if digest in seen
                ]
                if both:
                    warnings.append(
                        f'{fold}{name}.json and {fold}{other}.json share {len(both)} images, first {both[0][0]} and '
                        f'{both[0][1]}: the same pixels, so scores are too good'
                    )
    return warnings


def _by_digest(names: Iterable[str], images: Mapping[str, _Image]) -> dict[bytes, list[str]]:
    found = defaultdict(list)
    for name in names:
        if images[name].digest:
            found[images[name].digest].append(name)
    return found
