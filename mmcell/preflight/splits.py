"""The data sets that a run will read, as its config names them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcell.coco.schema import category_names
from mmcell.config import title
from mmcell.errors import InputError
from mmcell.io.files import read_json
from mmcell.preflight.annotations import check_classes, check_listing


@dataclass(frozen=True)
class Split:
    """One annotation file of one dataloader.

    Args:
        name: 'train', 'val' or 'test': the dataloader that reads it.
        ann_file: The annotation file.
        images: The folder that its file names are relative to.
        picked: The classes that the config picks and orders, or None for all in the order of their ids.
        content: The annotation file's content.
    """

    name: str
    ann_file: Path
    images: Path
    picked: tuple[str, ...] | None
    content: Mapping[str, Any]

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the file's categories, as the metrics count them."""
        return category_names(self.content)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of the labels that a model learns."""
        return self.picked or self.categories


def read_splits(config: Config, names: Iterable[str]) -> tuple[list[Split], list[InputError]]:
    """Read the annotation files of some dataloaders, each file once.

    Args:
        config: The config.
        names: Which of 'train', 'val' and 'test'. One without a dataloader is passed over.

    Returns:
        Those whose images and categories can be read, and an error for each file of which they cannot.
    """
    splits, errors = [], []
    contents: dict[Path, Any] = {}
    for name in names:
        loader = config.get(f'{name}_dataloader') or {}
        for dataset in find_datasets(loader.get('dataset') or {}):
            root = dataset.get('data_root') or ''
            path = Path(os.path.join(root, dataset['ann_file']))  # noqa: PTH118 as mmengine joins them
            if path not in contents:
                try:
                    contents[path] = read_json(path)
                    problems = check_listing(path, contents[path])
                except InputError as error:
                    problems = [error]
                errors += problems
                if problems:
                    contents[path] = None
            if contents[path] is not None:
                prefix = (dataset.get('data_prefix') or {}).get('img') or ''
                picked = (dataset.get('metainfo') or {}).get('classes')
                images = Path(os.path.join(root, prefix))  # noqa: PTH118
                splits.append(Split(name, path, images, tuple(picked) if picked else None, contents[path]))
    return splits, errors


def find_datasets(dataset: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Configs of the data sets with COCO json in a data set config, which may wrap or join several."""
    if str(dataset.get('ann_file', '')).endswith('.json'):
        yield dataset
    for inner in [dataset.get('dataset'), *(dataset.get('datasets') or ())]:
        if isinstance(inner, Mapping):
            yield from find_datasets(inner)


def check_splits(config: Config, splits: Sequence[Split], scored: str | None) -> list[InputError]:
    """Check that splits have annotations where these are needed, the same classes, and are scored by their own truth.

    Args:
        config: The config.
        splits: The data of the run.
        scored: The split that evaluators score; None if none does.
    """
    errors = []
    for split in splits:
        if split.name in ('train', scored) and (problem := find_no_cells(split.content)):
            purpose = 'to train on' if split.name == 'train' else 'to score against'
            cure = (
                f'choose another {split.name}_dataloader.dataset.ann_file, convert again with another --seed or '
                '--val-ratio, or annotate more images'
            )
            errors.append(InputError(split.ann_file, f'{problem} {purpose}', cure))
        if missing := sorted(set(split.classes) - set(split.categories)):
            problem = f'has no class {missing[0]!r}, which {split.name}_dataloader picks'
            errors.append(InputError(split.ann_file, problem, f'choose from {", ".join(split.categories)}'))
    errors += check_classes([(split.ann_file, split.classes) for split in splits])
    return errors + _check_evaluators(config, [split for split in splits if split.name == scored])


def find_seen(scored: Sequence[Split], trained: Sequence[Split]) -> list[str]:
    """A warning for each annotation file that is scored and lists images which the config trains on.

    Args:
        scored: What is scored.
        trained: What is trained on.
    """
    seen = {path: split.ann_file for split in trained for path in _image_paths(split)}
    warnings = []
    for split in scored:
        known = [path for path in _image_paths(split) if path in seen]
        if known:
            count = f'{len(known)} of its {len(split.content["images"])} images'
            where = f'the config trains on ({seen[known[0]]})'
            warnings.append(f'{split.ann_file}: {count} are among those that {where}: scores on them are too high')
    return warnings


def _image_paths(split: Split) -> list[Path]:
    folder = split.images.resolve()
    return [folder / image['file_name'] for image in split.content['images']]


def find_no_cells(content: Mapping[str, Any]) -> str:
    """What is wrong with an annotation file without a cell; '' if there is one, or something that may be one."""
    annotations = content.get('annotations')
    if not annotations:
        return 'has no annotations'
    if isinstance(annotations, list) and all(isinstance(one, dict) and one.get('iscrowd') == 1 for one in annotations):
        return f'has {len(annotations)} crowd regions (iscrowd 1) and no cells'
    return ''


def _check_evaluators(config: Config, splits: Sequence[Split]) -> list[InputError]:
    """What is scored has to be the truth of the images that are predicted, label by label."""
    if not splits:
        return []
    name, errors = splits[0].name, []
    evaluators = config.get(f'{name}_evaluator') or []
    for evaluator in [evaluators] if isinstance(evaluators, Mapping) else evaluators:
        path = evaluator.get('ann_file')
        if path is None:
            continue
        same = [split for split in splits if os.path.realpath(split.ann_file) == os.path.realpath(path)]
        if not same:
            problem = f'scores {name} against {Path(path)} ({evaluator.get("type")}), but predicts {splits[0].ann_file}'
            cure = f'give {name}_evaluator and {name}_dataloader.dataset the same ann_file'
            errors.append(InputError(title(config), problem, cure))
        elif same[0].classes != same[0].categories:
            problem = (
                f'picks the classes {", ".join(same[0].classes)} for {name}, but {name}_evaluator counts by the '
                f'categories of {same[0].ann_file}: {", ".join(same[0].categories)}'
            )
            errors.append(InputError(title(config), problem, 'write a json that has the picked classes only'))
    return list({str(error): error for error in errors}.values())
