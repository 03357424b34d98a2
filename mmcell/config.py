"""Configs: loading them with one-line errors, and saying how two of them differ."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmcell.errors import InputError, raise_all

#: What mmengine's runner and mmdet's tools read; mmengine ignores everything else without a word.
SETTINGS = frozenset(
    'model work_dir train_dataloader val_dataloader test_dataloader train_cfg val_cfg test_cfg auto_scale_lr '
    'optim_wrapper param_scheduler val_evaluator test_evaluator default_hooks custom_hooks data_preprocessor load_from '
    'resume launcher env_cfg log_processor log_level visualizer default_scope randomness experiment_name '
    'custom_imports runner_type strategy compile tta_model tta_pipeline sync_bn find_unused_parameters '
    'model_wrapper_cfg activation_checkpointing'.split()
)
#: Variables that base configs define and other settings are made of; changing one alone has no effect.
VARIABLES = frozenset('data_root dataset_type train_pipeline test_pipeline vis_backends backend_args'.split())


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Load a config, override settings and check that every top-level key means something.

    Args:
        path: The config file.
        options: Settings by dotted key, as `--cfg-options` gives them.

    Raises:
        InputError: If the file cannot be loaded, an option does not fit, or a top-level key is unknown. Keys that start
            with an underscore are a config's own variables and always fine.
        InputErrors: If several keys are unknown.
    """
    # mmengine announces each use of MMCELL_DATA on standard output, where tools/diff.py writes its result. A runner has
    # a logger of its own, so this silences no run.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    try:
        config = Config.fromfile(path)
    except Exception as error:  # A config is code: anything can go wrong in it.
        problem = 'does not exist' if not Path(path).exists() else f'cannot be loaded ({type(error).__name__}: {error})'
        raise InputError(path, problem, 'check the path' if 'exist' in problem else 'mend the config') from None
    try:
        config.merge_from_dict(dict(options or {}))
    except Exception as error:
        raise InputError(
            '--cfg-options', f'{type(error).__name__}: {error}', 'check the keys against the config'
        ) from None
    known = SETTINGS | VARIABLES
    unknown = [key for key in config if key not in known and not key.startswith('_')]
    raise_all([InputError(path, f'has the unknown setting {key!r}', _advice(key)) for key in unknown])
    return config


def _advice(key: str) -> str:
    near = difflib.get_close_matches(key, sorted(SETTINGS | VARIABLES), n=1)
    variable = f'call it _{key} if it is a variable of the config'
    return f'did you mean {near[0]!r}? Else {variable}' if near else f'remove it, or {variable}'


def diff_configs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two configs, one setting a line.

    `key: old -> new` for a changed value, `+ key: value` and `- key: value` for one that only one side has. Elements of
    lists of dicts, such as the transforms of a pipeline, are aligned first. Variables are left out: what they are used
    for shows up itself.

    Args:
        old: The config to start from.
        new: The config to compare with it.
    """
    return _diff_mappings(_settings(old), _settings(new), '')


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    skipped = VARIABLES | {'work_dir'}
    return {
        key: _without_scopes(value) for key, value in config.items() if key not in skipped and not key.startswith('_')
    }


def _without_scopes(value: Any) -> Any:
    """`value` without what MMEngine notes at each part that comes from a `package::` config."""
    if isinstance(value, Mapping):
        return {key: _without_scopes(item) for key, item in value.items() if key != '_scope_'}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_scopes(item) for item in value)
    return value


def _diff_mappings(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> list[str]:
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        name = f'{prefix}{key}'
        if key not in new:
            lines.append(f'- {name}: {_show(old[key])}')
        elif key not in old:
            lines.append(f'+ {name}: {_show(new[key])}')
        else:
            lines += _diff_values(old[key], new[key], name)
    return lines


def _diff_values(old: Any, new: Any, name: str) -> list[str]:
    if _show(old) == _show(new):
        return []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _diff_mappings(old, new, f'{name}.')
    if _is_list_of_dicts(old) and _is_list_of_dicts(new):
        return _diff_lists(old, new, name)
    return [f'{name}: {_show(old)} -> {_show(new)}']


def _diff_lists(old: Sequence[Any], new: Sequence[Any], name: str) -> list[str]:
    # Aligned by type, so that a changed argument reads as that and not as one element less and one more.
    matcher = difflib.SequenceMatcher(
        None, [_type(item) for item in old], [_type(item) for item in new], autojunk=False
    )
    lines = []
    for tag, start, end, new_start, new_end in matcher.get_opcodes():
        if tag == 'equal':
            for offset in range(end - start):
                index = new_start + offset
                lines += _diff_values(old[start + offset], new[index], f'{name}[{index}]')
            continue
        lines += [f'- {name}[{index}]: {_show(old[index])}' for index in range(start, end)]
        lines += [f'+ {name}[{index}]: {_show(new[index])}' for index in range(new_start, new_end)]
    return lines


def _is_list_of_dicts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, Mapping) for item in value)


def _type(item: Mapping[str, Any]) -> str:
    return str(item.get('type'))


def _show(value: Any) -> str:
    """A value as one would write it in a config; tuples and lists look alike, since configs treat them alike."""
    if isinstance(value, Mapping):
        return f'dict({", ".join(f"{key}={_show(item)}" for key, item in value.items())})'
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(_show(item) for item in value)}]'
    return repr(value)
