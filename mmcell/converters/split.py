"""Splitting images into train and val, as the reference did, and without leaking groups."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from mmcell.errors import InputError


def split_names(
    names: Sequence[str], val_ratio: float = 0.2, seed: int = 42, group_by: str | None = None
) -> tuple[list[str], list[str]]:
    """Split names into train and val.

    The reference's rule: names sorted, shuffled by Python's `random` seeded with `seed`, the first
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
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(_group(name, group_by), []).append(name)
    keys = sorted(groups)
    random.Random(seed).shuffle(keys)
    wanted = int(val_ratio * len(names))
    val: set[str] = set()
    for key in keys:
        if len(val) + len(groups[key]) <= wanted:
            val.update(groups[key])
    return [name for name in sorted(names) if name not in val], sorted(val)


def _group(name: str, group_by: str | None) -> str:
    if group_by is None:
        return name
    try:
        match = re.search(group_by, name)
    except re.error as error:
        raise InputError('--group-by', f'{group_by!r} is not a regular expression ({error})', 'mend it') from None
    if match is None:
        raise InputError('--group-by', f'{group_by!r} does not match the image {name}', 'widen the expression')
    key = match[1] if match.re.groups else match[0]
    return key if key is not None else match[0]
