"""From a source layout to COCO json: read in parallel, validate everything, then write everything."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmcell.coco.schema import find_problems, raise_first
from mmcell.converters.base import ImageRecord, Layout, TestImage
from mmcell.converters.listing import find_unread, list_names
from mmcell.converters.split import explain_empty_val, split_folds, split_names
from mmcell.errors import InputError, raise_all
from mmcell.io.files import current_umask, relative_name, remove_leftovers, replace_folder, write_bytes, write_json
from mmcell.io.images import ChannelOrder
from mmcell.io.output_names import readable
from mmcell.structures.parts import find_parts
from mmcell.structures.rle import decode

#: Where images go that are no files of the source; `images` is then a link to it, so what `images` is stays ours.
_PIXELS = 'pixels'

#: The layout that a worker process reads, and how it notes which image it is at.
_layout: Layout
_note: Callable[[int], None]


@dataclass(frozen=True)
class Conversion:
    """What a conversion found.

    Attributes:
        records: What was read of each annotated image, by its name.
        train: Names of the images to train on.
        val: Names of the images to validate on.
        test: The test images, if there are any.
        class_names: Names of the categories.
        warnings: What the layout and the split have to say.
        folds: Names of the val images of each fold.
        split_is_given: Whether the source comes with train and val.
    """

    records: dict[str, ImageRecord]
    train: list[str]
    val: list[str]
    test: list[TestImage] | None
    class_names: Sequence[str]
    warnings: list[str]
    folds: list[list[str]]
    split_is_given: bool = False


def convert(
    layout: Layout,
    out: str | Path,
    *,
    val_ratio: float = 0.2,
    seed: int = 42,
    group_by: str | None = None,
    folds: int | None = None,
    workers: int | None = None,
    channel_order: ChannelOrder = 'rgb',
    mpp: float | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write `annotations/{train,val,trainval,test}.json` and the link `images` to the source below `out`.

    With `folds` also `annotations/fold<k>_{train,val}.json`, k from 0: of all annotated images, each is in one fold's
    val and in the train of the others.

    If the images are no files, they are written to `pixels` below `out` as PNG, and `images` links to that. A split
    that the source comes with is kept; `val_ratio`, `seed` and `group_by` then do nothing.

    Nothing is written unless all of the source is valid. The bytes depend on the source and the arguments alone.

    Args:
        layout: The source.
        out: Folder to write to.
        val_ratio: See :func:`split_names`.
        seed: See :func:`split_names`.
        group_by: See :func:`split_names`; None takes that of the layout.
        folds: Number of folds, see :func:`split_folds`; None writes none.
        workers: Number of processes; None takes one per available core.
        channel_order: Order of the colors in the image files, recorded for :class:`CellDataset`.
        mpp: Microns per pixel of all images, recorded so that training and inference know it; None if unknown.
        overwrite: Replace what an earlier conversion wrote.

    Raises:
        InputError: If the source is not valid, or `out` holds a conversion and `overwrite` is not set.
        InputErrors: If several of its images are not valid.
    """
    out = Path(out)
    _check_target(layout, out, overwrite)
    names = layout.names()
    group_by = group_by or layout.group_by
    given = layout.split()
    train, val = given or split_names(names, val_ratio, seed, group_by)
    test = layout.test_images()
    known = layout.files()
    _check_apart(layout, out, known)
    # The classes before an image is read, or every image would complain about them.
    raise_first('--classes', find_problems(_dataset([_image(1, 'any.png', (1, 1))], [], layout, channel_order)))
    records = {record.name: record for record in _read_all(layout, names, workers)}
    _check_cells(layout, records.values())
    contents = {
        'train': _annotated(records, train, layout, channel_order),
        'val': _annotated(records, val, layout, channel_order),
        'trainval': _annotated(records, names, layout, channel_order),
    }
    if test is not None:
        contents['test'] = _dataset(
            [_image(image.id, image.file_name, image.size) for image in test], [], layout, channel_order
        )
        raise_first(layout.source, find_problems(contents['test']))
    parts = [] if folds is None else split_folds(names, folds, _cells(records, layout), seed, group_by)
    for index, part in enumerate(parts):
        rest = sorted(set(names) - set(part))
        contents[f'fold{index}_train'] = _annotated(records, rest, layout, channel_order)
        contents[f'fold{index}_val'] = _annotated(records, part, layout, channel_order)
    if mpp is not None:
        for content in contents.values():
            content['info']['mpp'] = mpp
    _write(out, layout, contents, names, workers)
    warnings = [*layout.warnings, *_name_unread(layout, known)]
    if not val:
        empty = 'the val split is empty'
        warnings.append(empty if given else f'{empty}: {explain_empty_val(names, val_ratio, group_by)}')
    return Conversion(records, train, val, test, layout.class_names, warnings, parts, given is not None)


def _cells(records: dict[str, ImageRecord], layout: Layout) -> dict[str, list[int]]:
    """Cells of each class in each image."""
    categories = range(1, len(layout.class_names) + 1)
    return {
        name: [len(record.instances[each].rles) if each in record.instances else 0 for each in categories]
        for name, record in records.items()
    }


def _check_target(layout: Layout, out: Path, overwrite: bool) -> None:
    if out.resolve() == layout.source.resolve():
        raise InputError(out, 'is the source itself', 'choose another folder for --out')
    for path in (out / 'annotations', out / 'images'):
        if os.path.lexists(path) and not overwrite:
            raise InputError(path, 'exists', 'add --overwrite or choose another folder for --out')
    images, pixels = out / 'images', out / _PIXELS
    if images.is_dir() and not images.is_symlink():
        raise InputError(images, 'is a folder, not a link to the source', 'move it away or choose another --out')
    if not layout.has_image_files and os.path.lexists(pixels) and not _owns_pixels(out):
        raise InputError(pixels, 'is not a folder that mmcell wrote', 'move it away or choose another --out')


def _check_apart(layout: Layout, out: Path, known: Iterable[Path] | None) -> None:
    """Refuse to write between the files of the source: the next conversion would read what this one writes."""
    inner = out.resolve()
    if layout.source.resolve() in inner.parents:
        for path in known or ():
            if inner in path.resolve().parents or inner == path.resolve():
                raise InputError(out, f'holds {path.name}, which is a part of the source', 'choose another --out')


def _check_cells(layout: Layout, records: Iterable[ImageRecord]) -> None:
    crowds = 0
    for record in records:
        if any(len(instances.rles) for instances in record.instances.values()):
            return
        crowds += sum(len(regions.rles) for regions in record.crowds.values())
    if crowds:
        problem = f'holds {crowds} crowd regions and no cells: there is nothing to train on'
        raise InputError(layout.source, problem, 'annotate single cells')


def _name_unread(layout: Layout, known: Iterable[Path] | None) -> list[str]:
    """A warning with the files of the source that nobody reads, if there are any."""
    unread = [] if known is None else find_unread(layout.source, known)
    return [f'{len(unread)} files of the source are not read: {list_names(unread)}'] if unread else []


def _owns_pixels(out: Path) -> bool:
    """Whether an earlier conversion wrote images below `out`."""
    images = out / 'images'
    return images.is_symlink() and images.readlink() == Path(_PIXELS) and images.is_dir()


def _read(layout: Layout, name: str) -> ImageRecord | InputError:
    try:
        record = layout.read(name)
        try:
            relative_name(record.file_name)
        except ValueError:
            problem, cure = (
                'has a name that the json cannot hold',
                'rename it in UTF-8 and without backslashes',
            )
            raise InputError(layout.source / record.file_name, problem, cure) from None
        # As what will be written of it: what holds for every layout, whatever it was read from.
        document = _annotated({name: record}, [name], layout, 'rgb')
        raise_first(layout.source / record.file_name, find_problems(document, training=True))
        return replace(record, pieces=_count_pieces(record))
    except InputError as error:
        return error


def _count_pieces(record: ImageRecord) -> NDArray[np.int64]:
    masks = decode([rle for instances in record.instances.values() for rle in instances.rles], record.size)
    return np.bincount(find_parts(masks).part_owners, minlength=len(masks))


def _read_all(layout: Layout, names: list[str], workers: int | None) -> list[ImageRecord]:
    """Read all images, in the order of their names, whatever the order in which workers finish."""
    results = list(_map('reading', _read, layout, names, workers))
    raise_all([result for result in results if isinstance(result, InputError)])
    return results


def _map(
    doing: str, function: Callable[[Layout, str], Any], layout: Layout, names: list[str], workers: int | None
) -> Iterator[Any]:
    """Call a function for every name, in processes if there are several, and show the progress."""
    if workers is not None and workers < 1:
        raise InputError('--workers', f'{workers} is out of range', 'give at least 1')
    workers = min(workers or len(os.sched_getaffinity(0)), len(names))
    progress = partial(tqdm, total=len(names), desc=doing, unit='image', file=sys.stderr, disable=None)
    if workers == 1:
        yield from progress(map(partial(function, layout), names))
        return
    # Which image each process works on, by the order in which they start; -1 for none.
    current, started = multiprocessing.Array('q', [-1] * workers), multiprocessing.Value('q', 0)
    # The layout travels once to a worker and not with every name: it may hold all annotations.
    pool = ProcessPoolExecutor(workers, initializer=_keep, initargs=(layout, current, started))
    try:
        futures = [pool.submit(_call, function, index, name) for index, name in enumerate(names)]
        for future in progress(futures):
            yield future.result()
    except BrokenProcessPool:
        suspects = ', '.join(names[index] for index in sorted(current[:]) if index >= 0) or 'starting'
        problem = f'a process that was {doing} one of these images was killed'
        raise InputError(suspects, problem, 'free memory, or give fewer --workers') from None
    finally:
        pool.shutdown(cancel_futures=True)


def _keep(layout: Layout, current: Any, started: Any) -> None:
    global _layout, _note
    _layout = layout
    with started.get_lock():
        slot, started.value = started.value, started.value + 1

    def _note(index: int) -> None:
        current[slot] = index


def _call(function: Callable[[Layout, str], Any], index: int, name: str) -> Any:
    _note(index)
    result = function(_layout, name)
    _note(-1)
    return result


def _image(image_id: int, file_name: str, size: tuple[int, int]) -> dict[str, Any]:
    return {'id': image_id, 'file_name': file_name, 'height': int(size[0]), 'width': int(size[1])}


def _annotated(
    records: dict[str, ImageRecord], names: list[str], layout: Layout, channel_order: ChannelOrder
) -> dict[str, Any]:
    # Ids count over all images, so that an image has the same id in train or val as in trainval.
    ids = {name: number for number, name in enumerate(sorted(records), start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for name in names:
        record = records[name]
        images.append(_image(ids[name], record.file_name, record.size))
        for iscrowd, by_category in ((0, record.instances), (1, record.crowds)):
            for category, instances in sorted(by_category.items()):
                for box, area, rle in zip(instances.boxes.tolist(), instances.areas.tolist(), instances.rles):
                    annotations.append(
                        {
                            'id': len(annotations) + 1,
                            'image_id': ids[name],
                            'category_id': category,
                            'bbox': box,
                            'area': area,
                            'iscrowd': iscrowd,
                            'segmentation': rle,
                        }
                    )
    return _dataset(images, annotations, layout, channel_order)


def _dataset(
    images: list[dict], annotations: list[dict], layout: Layout, channel_order: ChannelOrder
) -> dict[str, Any]:
    return {
        'info': {
            'description': f'converted by mmcell from {readable(layout.source.name)}',
            'channel_order': channel_order,
        },
        'categories': [{'id': number, 'name': name} for number, name in enumerate(layout.class_names, start=1)],
        'images': images,
        'annotations': annotations,
    }


def _write(out: Path, layout: Layout, contents: dict[str, dict], names: list[str], workers: int | None) -> None:
    """Write all of it beside the target, then put it there."""
    work = _work_folder(out)
    try:
        for name, content in contents.items():
            write_json(work / 'annotations' / f'{name}.json', content)
        if not layout.has_image_files:
            for _ in _map('writing', partial(_write_pixels, work / _PIXELS), layout, names, workers):
                pass
        target = layout.source.resolve() if layout.has_image_files else _PIXELS
        (work / 'images').symlink_to(target, target_is_directory=True)
        _publish(work, out)
    except OSError as error:
        raise InputError(out, f'cannot be written ({error.strerror})', 'choose another --out or free space') from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _work_folder(out: Path) -> Path:
    """A new folder beside `out`, or in it where nothing can be written beside it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(out, f'cannot be written ({error.strerror})', 'choose a writable place for --out') from None
    reason: str | None = None
    for parent in (out.parent, out):
        prefix = f'.{out.name}.convert'
        try:
            remove_leftovers(parent, prefix)
            work = Path(tempfile.mkdtemp(prefix=f'{prefix}{os.getpid()}.', dir=parent))
            work.chmod(0o777 & ~current_umask())
        except OSError as error:
            reason = error.strerror
        else:
            return work
    raise InputError(out, f'cannot be written ({reason})', 'choose a writable place for --out')


def _publish(work: Path, out: Path) -> None:
    """Put a conversion into its place: in one step, unless `out` holds other things or cannot be moved."""
    ours = {path.name for path in work.iterdir()} | {_PIXELS}
    movable = work.parent != out and not out.is_symlink() and not os.path.ismount(out)
    if movable and (not out.exists() or {path.name for path in out.iterdir()} <= ours):
        replace_folder(out, work)
        return
    obsolete = _owns_pixels(out) and not (work / _PIXELS).exists()
    # The annotations last, since they are what says that there is a conversion.
    for name in (_PIXELS, 'images', 'annotations'):
        if os.path.lexists(work / name):
            replace_folder(out / name, work / name)
    if obsolete:
        (out / _PIXELS).replace(work / _PIXELS)


def _write_pixels(folder: Path, layout: Layout, name: str) -> None:
    import imagecodecs  # It takes long to import, and few layouts need it.

    write_bytes(folder / f'{name}.png', bytes(imagecodecs.png_encode(layout.pixels(name))))
