"""What a run was started with beside its config file, the base and the fold, and the name that they give it."""

from __future__ import annotations

import ast
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcell.errors import InputError

#: The variable of a config that says it; dumped configs and checkpoints have it too.
_RECORD = '_run'
#: Characters of a dumped config that are looked through: ours have twenty thousand.
_MAX_TEXT = 2**20
_FOLD = re.compile('^fold[0-9]+_')
#: Configs below it are known by the names of their folder and file.
_SHIPPED = Path(__file__).resolve().parents[1].joinpath('.mim', 'configs').resolve()


def record(config: Config, base: str | Path | None, fold: int | None) -> None:
    """Write base and fold into a config; what is None stays as it is, as it does in a dumped config."""
    given = {'base': None if base is None else _show(base), 'fold': fold}
    kept = config.get(_RECORD) or {}
    config[_RECORD] = {key: kept.get(key) if value is None else value for key, value in given.items()}


def base_of(config: Mapping[str, Any]) -> str | None:
    """The base that a config was put over, from the working folder; None for the one that its file names."""
    return (config.get(_RECORD) or {}).get('base')


def fold_of(config: Mapping[str, Any]) -> int | None:
    """The fold that a config was put on; None for the split that its file names."""
    return (config.get(_RECORD) or {}).get('fold')


def title(config: Config) -> str:
    """What to call a config in a message: its file, and the base that it was put over."""
    base = base_of(config)
    return config.filename if base is None else f'{config.filename} over {base}'


def run_name(config: Config) -> str:
    """Name of a run, and of its folder: no two bases and no two folds share one."""
    base, fold = base_of(config), fold_of(config)
    over = '' if base is None else f'-over-{base_name(base)}'
    return f'{Path(config.filename).stem}{over}' + ('' if fold is None else f'-fold{fold}')


def base_name(base: str | Path) -> str:
    """A name for a base: its folder and stem, and if it is none of our configs a number that its path alone has."""
    path = Path(base).resolve()
    name = f'{path.parent.name}_{path.stem}'
    return name if path.parent.parent == _SHIPPED else f'{name}_{zlib.crc32(bytes(path)):08x}'


def choose_fold(config: Config, fold: int) -> None:
    """Point the datasets for training and validation, and the metrics of validation, at a fold.

    `train.json` becomes `fold0_train.json`, as `tools/convert.py --folds` names them, and so does `trainval.json`: what
    is trained on all images is trained on all but those of the fold's val.

    Raises:
        InputError: If a dataset or the metrics name no annotation file.
    """
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator'):
        parts = list(_with_ann_file(config.get(key)))
        if not parts:
            cure = 'leave out --fold, or inherit from configs/_base_/dataset.py'
            raise InputError(f'{key} of {title(config)}', 'names no annotation file', cure)
        for part in parts:
            folder, slash, name = part['ann_file'].rpartition('/')
            name = _FOLD.sub('', name)
            part['ann_file'] = f'{folder}{slash}fold{fold}_{"train.json" if name == "trainval.json" else name}'


def check_fold(config: Config) -> None:
    """Refuse a fold that is not there.

    Raises:
        InputError: If so, with the folds that there are.
    """
    if fold_of(config) is None:
        return
    for part in _with_ann_file(config.val_dataloader):
        path = Path(part.get('data_root') or '', part['ann_file'])
        if not path.is_file():
            name = _FOLD.sub('', path.name)
            folds = sorted(int(one.name[4 : -len(name) - 1]) for one in path.parent.glob(f'fold[0-9]*_{name}'))
            there = f'choose --fold from {", ".join(map(str, folds))}, or ' if folds else ''
            raise InputError(path, 'does not exist', f'{there}convert the data with --folds K')


def _with_ann_file(value: Any) -> Iterator[Any]:
    """All dicts within a setting that name an annotation file."""
    if isinstance(value, Mapping):
        if isinstance(value.get('ann_file'), str):
            yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _with_ann_file(item)


def read_record(text: str) -> dict[str, Any] | None:
    """Base and fold as a dumped config says them, without running it; None if it says nothing or is none."""
    if len(text) > _MAX_TEXT:
        return None
    try:
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == _RECORD:
                if isinstance(node.value, ast.Call):
                    found = {str(each.arg): ast.literal_eval(each.value) for each in node.value.keywords}
                    base, fold = found.get('base'), found.get('fold')
                    sound = isinstance(base, str | None) and isinstance(fold, int | None) and '\0' not in (base or '')
                    return {'base': base, 'fold': fold} if sound else None
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    return None


def _show(path: str | Path) -> str:
    """A path from the working folder, if it lies in there."""
    path = Path(path)
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
