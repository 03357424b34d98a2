"""Labels that a config gives its transforms, compared with the data: what is rare in one is frequent in another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmcell.config import title
from mmcell.errors import InputError
from mmcell.preflight.splits import Split

#: A class with this share of the cells is not rare: with four classes as frequent as each other it would be a quarter.
_FREQUENT = 0.25


def check_labels(config: Config, splits: Sequence[Split]) -> tuple[list[InputError], list[str]]:
    """Check the labels that transforms of the training are given by number.

    Args:
        config: The config.
        splits: The data of the run.

    Returns:
        An error for each transform with labels that the data do not have, or with weights for another number of
        classes; a warning for each that favors classes that are frequent, or not there.
    """
    splits = [split for split in splits if split.name == 'train']
    if not splits:
        return [], []
    classes, cells = splits[0].classes, _count(splits)
    errors, warnings = [], []
    for where, step in _find_steps(config.get('train_dataloader') or {}, 'train_dataloader'):
        labels, weights = step.get('classes'), step.get('class_weights')
        if step.get('type') == 'CopyPasteCells' and labels is not None:
            key = f'{where}.classes'
            wrong = [label for label in labels if label not in range(len(classes))]
            if wrong:
                problem = (
                    f'{key} = {list(labels)}, but the data have the labels 0 to {len(classes) - 1}: {_list(classes)}'
                )
                errors.append(InputError(title(config), problem, _cure(key, classes, cells)))
            else:
                warnings += _name_frequent(key, labels, classes, cells)
        elif step.get('type') == 'RandomZoomCrop' and weights is not None and len(weights) != len(classes):
            problem = f'{where}.class_weights has {len(weights)} entries for {len(classes)} classes: {_list(classes)}'
            errors.append(InputError(title(config), problem, 'give one weight per class, in this order'))
    return errors, warnings


def _name_frequent(key: str, labels: Sequence[int], classes: Sequence[str], cells: Sequence[int]) -> list[str]:
    total = sum(cells)
    favored = [
        f'{classes[label]} ({cells[label] / total:.0%} of the cells)'
        for label in labels
        if total and (not cells[label] or cells[label] > _FREQUENT * total)
    ]
    if not favored or len(classes) == 1:
        return []
    return [f'{key} = {list(labels)} pastes {_list(favored)}; {_cure(key, classes, cells)}']


def _cure(key: str, classes: Sequence[str], cells: Sequence[int]) -> str:
    """How to name the rare classes of the data."""
    rare = [label for label, count in enumerate(cells) if 0 < count <= _FREQUENT * sum(cells)]
    if not rare:
        return 'no class of these data is rare: train a config without it'
    return f'rare here: {_list([classes[label] for label in rare])}, --cfg-options "{key}=[{",".join(map(str, rare))}]"'


def _list(names: Sequence[str]) -> str:
    text = ', '.join(names)
    return text if len(text) <= 100 else f'{text[:99]}…'


def _count(splits: Sequence[Split]) -> list[int]:
    """Cells of each class in all of train."""
    counts: Counter[str] = Counter()
    for split in splits:
        names = {one['id']: one['name'] for one in split.content['categories']}
        annotations = split.content.get('annotations')
        # What is broken is found by other checks.
        for one in annotations if isinstance(annotations, list) else ():
            if isinstance(one, dict) and not one.get('iscrowd') and isinstance(one.get('category_id'), int):
                counts[names.get(one['category_id'], '')] += 1
    return [counts[name] for name in splits[0].classes]


def _find_steps(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every dict with a type in a dataloader, and where it stands."""
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _find_steps(item, f'{where}.{index}')
    if isinstance(value, Mapping):
        if 'type' in value:
            yield where, value
        for key, item in value.items():
            yield from _find_steps(item, f'{where}.{key}')
