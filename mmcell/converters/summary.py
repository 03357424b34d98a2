"""The summary of a conversion: what is in the data, and what looks wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from mmcell.converters.base import ImageRecord
from mmcell.converters.convert import Conversion
from mmcell.converters.listing import list_names
from mmcell.io.images import ChannelOrder
from mmcell.io.output_names import readable

#: Cells below this area in pixels are most often specks of an annotation tool.
SMALL_AREA = 10
#: A class with fewer cells than this share of the most frequent one learns badly without care.
RARE_SHARE = 0.1
#: A cell in more pieces than this is none: of 18,665 in CoNSeP and DSB 2018 five are in more than one, none in four.
MAX_PIECES = 4
#: Hematoxylin absorbs red and lets blue pass (Ruifrok & Johnston 2001), so nuclei are bluer than red by this at least.
MIN_BLUENESS = 0.0


def summarise(conversion: Conversion, channel_order: ChannelOrder = 'rgb') -> str:
    """Images, cells per class, percentiles of cells per image and of sizes, then the warnings; lines of text.

    Args:
        conversion: What :func:`convert` returned.
        channel_order: The order that the user declared for the image files.
    """
    records = list(conversion.records.values())
    train, val = len(conversion.train), len(conversion.val)
    test = 'no test list' if conversion.test is None else f'{len(conversion.test)} test'
    counts = ', '.join(f'{name} {count}' for name, count in zip(conversion.class_names, _counts(conversion)))
    lines = [
        f'images            {len(records)} annotated ({train} train, {val} val), {test}',
        f'cells per class   {counts}',
        f'cells per image   {_percentiles(cell_count(record) for record in records)}',
        f'sqrt(area) in px  {_percentiles(np.sqrt(_areas(records)))}',
        f'image height      {_percentiles(record.size[0] for record in records)}',
        f'image width       {_percentiles(record.size[1] for record in records)}',
    ]
    lines += [_fold_line(conversion, index) for index in range(len(conversion.folds))]
    crowds = sum(len(regions.rles) for record in records for regions in record.crowds.values())
    if crowds:
        lines.append(f'crowd regions     {crowds}, ignored in training and scoring')
    lines += [f'warning: {warning}' for warning in [*conversion.warnings, *_warnings(conversion, channel_order)]]
    # Names of files may hold bytes that are no UTF-8.
    return readable('\n'.join(lines))


def cell_count(record: ImageRecord) -> int:
    """Number of instances of all classes."""
    return sum(len(instances.rles) for instances in record.instances.values())


def _areas(records: Iterable[ImageRecord]) -> np.ndarray:
    areas = [instances.areas for record in records for instances in record.instances.values()]
    return np.concatenate([np.zeros(0, dtype=np.int64), *areas])


def _counts(conversion: Conversion, names: Iterable[str] | None = None) -> list[int]:
    records = [conversion.records[name] for name in (conversion.records if names is None else names)]
    return [
        sum(len(record.instances[category].rles) for record in records if category in record.instances)
        for category in range(1, len(conversion.class_names) + 1)
    ]


def _fold_line(conversion: Conversion, index: int) -> str:
    names = conversion.folds[index]
    counts = ', '.join(f'{name} {count}' for name, count in zip(conversion.class_names, _counts(conversion, names)))
    return f'fold {index}            {len(names)} val images: {counts}'


def _percentiles(values: Iterable[float]) -> str:
    values = np.fromiter(values, dtype=np.float64)
    if not len(values):
        return 'none'
    low, quarter, median, three_quarters, high = np.percentile(values, [0, 25, 50, 75, 100])
    return f'min {low:.4g}, 25% {quarter:.4g}, median {median:.4g}, 75% {three_quarters:.4g}, max {high:.4g}'


def _warnings(conversion: Conversion, channel_order: ChannelOrder) -> list[str]:
    warnings = []
    records = list(conversion.records.values())
    blueness = np.array([record.blueness for record in records])
    blueness = blueness[np.isfinite(blueness)] * (-1 if channel_order == 'bgr' else 1)
    if len(blueness) and np.median(blueness) < MIN_BLUENESS:
        other = 'rgb' if channel_order == 'bgr' else 'bgr'
        warnings.append(
            f'red and blue look swapped: nuclei are {-np.median(blueness):.0f} steps redder than blue, hematoxylin is '
            f'the other way round; look at an image, then convert with --channel-order {other}'
        )
    empty = sum(record.empty for record in records)
    if empty:
        warnings.append(f'{empty} annotations hold no pixel (outlines too small or outside the image) and are left out')
    notes: Counter[str] = Counter()
    for record in records:
        notes.update(record.notes)
    warnings += [f'{count} {words}' for words, count in notes.items()]
    small = int((_areas(records) < SMALL_AREA).sum())
    if small:
        warnings.append(f'{small} cells are smaller than {SMALL_AREA} px')
    counts = _counts(conversion)
    rare = [
        f'{name} ({count})'
        for name, count in zip(conversion.class_names, counts)
        if count < RARE_SHARE * max(counts, default=0)
    ]
    if rare:
        warnings.append(f'classes with under {RARE_SHARE:.0%} of the cells of the most frequent one: {", ".join(rare)}')
    transparent = sum(not record.opaque for record in records)
    if transparent:
        warnings.append(f'{transparent} images have an alpha channel that is not opaque; it is composed on white')
    if dark := sum(record.dark for record in records):
        warnings.append(f'{dark} images are nearly black, as 12 bits are that are stored in 16: scale them to all 16')
    return [*warnings, *_pieces(records), *_parts_without(conversion)]


def _pieces(records: Iterable[ImageRecord]) -> list[str]:
    """Whether masks look like foreground or classes, where each cell should have an id of its own."""
    pieces = [record.pieces for record in records if record.pieces is not None and len(record.pieces)]
    found = np.concatenate([np.zeros(0, dtype=np.int64), *pieces])
    cure = 'if masks hold foreground or classes, not one id per cell, label their connected components first'
    several = int((found > 1).sum())
    if (found > MAX_PIECES).any() or several > len(found) / 2:
        return [f'{several} of {len(found)} cells are in several pieces, up to {found.max()}; {cure}']
    if len(pieces) > 2 and all(len(some) == 1 for some in pieces):
        return [f'each of {len(pieces)} images holds a single cell; {cure}']
    return []


def _parts_without(conversion: Conversion) -> list[str]:
    """Whether train or val lacks the cells of a class, or all cells."""
    total = np.array(_counts(conversion))
    if not total.any():
        return ['no image holds a cell: there is nothing to train on']
    cure = 'the source defines the val images' if conversion.split_is_given else 'choose another --seed or --val-ratio'
    warnings = []
    for part, names, effect in (
        ('train', conversion.train, 'it cannot be learned'),
        ('val', conversion.val, 'it gets no score'),
    ):
        counts = np.array(_counts(conversion, names))
        missing = [name for name, here, all_ in zip(conversion.class_names, counts, total) if all_ and not here]
        if names and missing:
            what = f'cells of {list_names(missing)}' if counts.any() else 'cell'
            warnings.append(f'{part} holds no {what}: {effect}; {cure}')
    return warnings
