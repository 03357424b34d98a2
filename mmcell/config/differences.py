"""How two configs differ."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from mmcell.config.loading import VARIABLES
from mmcell.config.runs import base_of


def diff_bases(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The bases that two configs were put over, if they differ, as one line of :func:`diff_configs`."""
    before, after = ({'base': base} if (base := base_of(one)) else {} for one in (old, new))
    return _diff_mappings(before, after, '')


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
