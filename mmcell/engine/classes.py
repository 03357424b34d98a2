"""What the classes of a model are called, and how many it tells apart."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmcell.config import title
from mmcell.errors import InputError
from mmcell.io.limits import MAX_MPP, MIN_MPP


def dataset_meta(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """What training recorded of its data in a checkpoint; empty if it recorded nothing."""
    meta = content.get('meta')
    found = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def recorded_classes(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the classes that training recorded in a checkpoint, None if it recorded none.

    MMDetection 2 called them `CLASSES`, and kept them in `meta` itself.
    """
    meta = content.get('meta')
    places = [dataset_meta(content), meta if isinstance(meta, Mapping) else {}]
    for names in (place.get(key) for place in places for key in ('classes', 'CLASSES')):
        names = (names,) if isinstance(names, str) else names
        if isinstance(names, (list, tuple)) and names and all(map(_is_name, names)) and len(set(names)) == len(names):
            return tuple(names)
    return None


def _is_name(value: Any) -> bool:
    """Whether an annotation file could call a class so."""
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def recorded_mpp(content: Mapping[str, Any]) -> float | None:
    """The microns per pixel that training recorded of its images in a checkpoint, None if it recorded none."""
    value = dataset_meta(content).get('mpp')
    return float(value) if isinstance(value, (int, float)) and MIN_MPP <= value <= MAX_MPP else None


def find_num_classes(value: Any, where: str = 'model', in_head: bool = False) -> Iterator[tuple[str, int]]:
    """Dotted key and value of every `num_classes` of a head, but for the RPN's: it tells objects from none.

    Args:
        value: The config of a model, or of a part of one.
        where: Its key.
        in_head: Whether it is part of a head.
    """
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from find_num_classes(item, f'{where}.{index}', in_head)
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == 'num_classes' and in_head:
                yield f'{where}.{key}', item
            elif key not in ('rpn_head', 'semantic_head'):
                yield from find_num_classes(item, f'{where}.{key}', in_head or key.endswith('_head'))


def name_classes(config: Config, path: str | Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a model's classes: as training recorded them, as the config says, or numbered, with a warning.

    Args:
        config: The config; `metainfo=dict(classes=…)` of its test data may name them, as everywhere in MMDetection.
        path: The checkpoint, for messages.
        content: Its content.

    Raises:
        InputError: If there are more or fewer names than classes, or nothing says how many these are.
    """
    counts = {number for _, number in find_num_classes(config.model)}
    names, where = recorded_classes(content), path
    if names is None:
        given = (config.test_dataloader.dataset.get('metainfo') or {}).get('classes')
        names, where = (None, path) if given is None else (tuple(given), title(config))
    if names is not None:
        if counts and counts != {len(names)}:
            problem = f'names {len(names)} classes ({", ".join(names)[:80]}), the model tells {_listed(counts)} apart'
            raise InputError(where, problem, 'give the config and the names of this checkpoint')
        return names
    if len(counts) != 1:
        cure = 'name them: --cfg-options test_dataloader.dataset.metainfo.classes'
        raise InputError(path, f'names no classes, and the config tells {_listed(counts)} apart', cure)
    (count,) = counts
    numbered = tuple(f'class {number}' for number in range(1, count + 1))
    text = (
        f'{path}: names no classes: they are {numbered[0]}{f" to {numbered[-1]}" if count > 1 else ""}; '
        'to name them, set test_dataloader.dataset.metainfo.classes in the config'
    )
    if is_main_process():
        warnings.warn(text, stacklevel=2)
    return numbered


def _listed(counts: set[int]) -> str:
    return ' and '.join(map(str, sorted(counts))) or 'no number of them'
