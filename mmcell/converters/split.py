"""Splitting images into train and val, as the course report did, and into folds; without leaking groups."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

import numpy as np

from mmcell.errors import InputError


def split_names(
    names: Sequence[str], val_ratio: float = 0.2, seed: int = 42, group_by: str | None = None
) -> tuple[list[str], list[str]]:
    """Split names into train and val.

    The rule of the course report: names sorted, shuffled by Python's `random` seeded with `seed`, the first
    `int(val_ratio * n)` are val. With `group_by` whole groups are shuffled instead and taken in turn as long as they
    fit into that number, so that images of one patient or slide never stand on both sides. Where every image is a
    group of its own, both rules agree.

    Args:
        names: Names of the images, unique.
        val_ratio: Share of the images that go to val, 0 to 1.
        seed: Seed of the shuffle.
        group_by: Regular expression searched in each name; its first group, or the whole match, is the group's key.

    Returns:
        Sorted names of train and of val.

    Raises:
        InputError: If `val_ratio` is out of range, or `group_by` is not a regular expression or misses a name.
    """
    if not 0 <= val_ratio < 1:
        raise InputError('--val-ratio', f'{val_ratio} is out of range', 'give a share of at least 0 and below 1')
    groups = _groups(names, group_by)
    keys = sorted(groups)
    random.Random(seed).shuffle(keys)
    wanted = int(val_ratio * len(names))
    val: set[str] = set()
    for key in keys:
        if len(val) + len(groups[key]) <= wanted:
            val.update(groups[key])
    return [name for name in sorted(names) if name not in val], sorted(val)


def explain_empty_val(names: Sequence[str], val_ratio: float, group_by: str | None = None) -> str:
    """Why :func:`split_names` finds no val image, and what to do about it; arguments as there."""
    groups = _groups(names, group_by)
    if val_ratio == 0:
        return 'as --val-ratio 0 requests'
    if len(names) == 1:
        return 'one image cannot be split; annotate another one, or cut it into two'
    if len(groups) == 1:
        return f"all {len(names)} images are of one group; --group-by '.*' splits them image by image"
    smallest = min(map(len, groups.values()))
    share = next(share for share in range(1, 100) if int(share / 100 * len(names)) >= smallest)
    return f'give --val-ratio {share / 100} or more'


def split_folds(
    names: Sequence[str],
    folds: int,
    cells: Mapping[str, Sequence[int]],
    seed: int = 42,
    group_by: str | None = None,
) -> list[list[str]]:
    """Split names into folds of about as many images each, and of each class about as many cells.

    Groups are shuffled, and given out by falling number of images, each to a fold that has the fewest images so far;
    of several such, to the one where the cells of each class then come out most even. Of as many groups of one size as
    there are folds, those with much of a class come first, while there is a choice. The folds differ by no more images
    than the largest group has.

    Args:
        names: Names of the images, unique.
        folds: Number of folds.
        cells: Cells of each class in each image.
        seed: Seed of the shuffle.
        group_by: See :func:`split_names`.

    Returns:
        Sorted names of each fold; none is empty.

    Raises:
        InputError: If there are less than two folds or more folds than groups, or `group_by` is not a regular
            expression or misses a name.
    """
    groups = _groups(names, group_by)
    if not 2 <= folds <= len(groups):
        kind = 'images' if group_by is None else 'groups of images'
        cure = f'give 2 to {len(groups)}' if len(groups) > 1 else 'leave it out'
        raise InputError('--folds', f'{folds} folds cannot be made of {len(groups)} {kind}', cure)
    keys = sorted(groups)
    random.Random(seed).shuffle(keys)
    keys.sort(key=lambda key: -len(groups[key]))
    # In shares of all cells of a class, so that a rare class counts as much as a frequent one.
    total = np.maximum(np.sum([cells[name] for name in names], axis=0), 1)
    shares = {key: np.sum([cells[name] for name in groups[key]], axis=0) / total for key in keys}
    parts: list[list[str]] = [[] for _ in range(folds)]
    held = np.zeros((folds, len(total)))
    for start in range(0, len(keys), folds):
        for key in sorted(keys[start : start + folds], key=lambda key: (-len(groups[key]), -max(shares[key]))):
            # What the squares of the shares would rise by: most where the fold has much of what the group has.
            rises = held @ shares[key]
            fold = min(range(folds), key=lambda index: (len(parts[index]), rises[index]))
            parts[fold] += groups[key]
            held[fold] += shares[key]
    return [sorted(part) for part in parts]


def _groups(names: Sequence[str], group_by: str | None) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(_group(name, group_by), []).append(name)
    return groups


def _group(name: str, group_by: str | None) -> str:
    if group_by is None:
        return name
    try:
        match = re.search(group_by, name)
    except re.error as error:
        raise InputError('--group-by', f'{group_by!r} is not a regular expression ({error})', 'fix it') from None
    if match is None:
        raise InputError('--group-by', f'{group_by!r} does not match the image {name}', 'widen the expression')
    key = match[1] if match.re.groups else match[0]
    return key if key is not None else match[0]
