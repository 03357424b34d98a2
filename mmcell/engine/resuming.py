"""Does a checkpoint hold the state of a training that goes on from it, and what of the config does it not follow?"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.optim.scheduler import _ParamScheduler
from torch import nn

from mmcell.errors import InputError, show

#: Settings of an optimizer that change how fast it works, not what it does, and those that a schedule changes.
_NO_MATTER = frozenset('params param_names foreach fused capturable differentiable lr initial_lr'.split())
#: What a scheduler is given that is no setting of the schedule.
_NO_SETTING = frozenset(('self', 'optimizer', 'last_step', 'verbose', 'args', 'kwargs'))


def check_state(path: str | Path, content: Mapping[str, Any]) -> list[InputError]:
    """Refuse a checkpoint that one can start from, but not go on with: what mmengine reads on resuming is not there.

    Args:
        path: The checkpoint, for errors.
        content: Its content.
    """
    meta, hub = content.get('meta'), content.get('message_hub')
    counts = [meta.get(key) for key in ('epoch', 'iter')] if isinstance(meta, Mapping) else [None]
    lacks = ''
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        lacks = 'how far it was trained'
    elif not _are_logs(hub):
        lacks = 'the logs of its training'
    elif not isinstance(content.get('state_dict'), Mapping):
        lacks = 'a state_dict'
    if not lacks:
        return []
    problem = f'holds weights without the state of a training: it does not say {lacks}'
    if lacks != 'how far it was trained':
        problem = f'holds weights without the state of a training: it lacks {lacks}'
    return [InputError(path, problem, f'start from it instead: --cfg-options load_from={path}, without --resume')]


def _are_logs(hub: Any) -> bool:
    parts: list[Any] = (
        [hub.get(key) for key in ('log_scalars', 'runtime_info', 'resumed_keys')] if isinstance(hub, dict) else [0]
    )
    return all(isinstance(part, dict) for part in parts) and all(
        isinstance(each, HistoryBuffer) and '_log_history' in vars(each) for each in parts[0].values()
    )


def check_optimizer(
    config: Config, path: str | Path, content: Mapping[str, Any], model: nn.Module
) -> tuple[list[InputError], list[str]]:
    """Compare the state of the optimizer in a checkpoint with the optimizer of the config.

    Args:
        config: The config.
        path: The checkpoint, for errors.
        content: Its content.
        model: The model; its weights may be without memory.

    Returns:
        An error if the state is another optimizer's; warnings if there is none, or if settings of the config do not
        count because the state brings its own.
    """
    if 'optimizer' not in content:
        return [], [f'{path}: has no state of the optimizer: it goes on without the averages that it had']
    wrapper = build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))
    if not isinstance(wrapper, OptimWrapper):  # several of them
        return [], []
    state = content['optimizer']
    saved = state.get('param_groups') if isinstance(state, Mapping) else None
    own = wrapper.optimizer.param_groups
    cure = f'resume with the optimizer that it was trained with, or start from it: load_from={path}'
    if not isinstance(saved, list) or not all(isinstance(each, Mapping) and 'params' in each for each in saved):
        return [InputError(path, 'has a broken state of the optimizer', cure)], []
    names, theirs = ({key for group in groups for key in group} for groups in (own, saved))
    if names - theirs and theirs - names - {'initial_lr', 'param_names'}:
        only = ', '.join(sorted(theirs - names - {'initial_lr', 'param_names'})[:3])
        problem = f'is of another optimizer than {type(wrapper.optimizer).__name__}: one that has {only}'
        return [InputError(path, problem, cure)], []
    sizes, found = ([len(group['params']) for group in groups] for groups in (own, saved))
    if sizes != found:
        problem = f'has the optimizer state of {sum(found)} weights in {len(found)} groups'
        return [InputError(path, f'{problem}, not of {sum(sizes)} in {len(sizes)}', cure)], []
    scaled = (config.get('auto_scale_lr') or {}).get('enable', False)
    lines = [_overruled(ours, other, scaled) for ours, other in zip(own, saved, strict=True)]
    changed = list(dict.fromkeys(line for each in lines for line in each))
    if not changed:
        return [], []
    more = f' and {len(changed) - 3} more' if len(changed) > 3 else ''
    return [], [f'{path}: the optimizer goes on with {", ".join(changed[:3])}{more}; load_from takes the config']


def _overruled(own: Mapping[str, Any], saved: Mapping[str, Any], scaled: bool) -> Iterator[str]:
    if not scaled and 'initial_lr' in saved and saved['initial_lr'] != own['lr']:
        yield f'lr {show(saved["initial_lr"])} of the checkpoint, not {show(own["lr"])}'
    for key, value in own.items():
        if key not in _NO_MATTER and key in saved and _plain(saved[key]) != _plain(value):
            yield f'{key} {show(saved[key])} of the checkpoint, not {show(value)}'


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def compare_schedules(
    path: str | Path, own: Sequence[_ParamScheduler], saved: Any
) -> tuple[list[InputError], list[str]]:
    """Compare the schedulers of a run with the states of them in a checkpoint, which replace their settings.

    Args:
        path: The checkpoint, for errors.
        own: The schedulers, as the config has them.
        saved: The checkpoint's states; None if it has none.

    Returns:
        An error if the states are of other schedulers; a line for each that changes what the config or what the
        checkpoint says.
    """
    if saved is None:
        return [], [f'{path}: has no state of the schedule: the rate begins anew']
    cure = f'resume with the param_scheduler that it was trained with, or start from it: load_from={path}'
    if not isinstance(saved, (list, tuple)) or len(saved) != len(own):
        count = len(saved) if isinstance(saved, (list, tuple)) else 'another kind of'
        return [InputError(path, f'has the state of {count} schedulers, the config {len(own)}', cure)], []
    lines = []
    for scheduler, state in zip(own, saved, strict=True):
        fresh = scheduler.state_dict()
        if not isinstance(state, Mapping) or set(fresh) != set(state):
            return [InputError(path, f'has the state of another scheduler than {type(scheduler).__name__}', cure)], []
        changed = [
            f'{key} {show(state[key])} -> {show(fresh[key])}'
            for key in sorted(_settings(type(scheduler)) & set(fresh))
            if _plain(state[key]) != _plain(fresh[key])
        ]
        if not changed:
            continue
        what = f'{type(scheduler).__name__}: {", ".join(changed[:3])}'
        if getattr(scheduler, 'follows_config', False):
            lines.append(f'the schedule is that of the config from here on ({what})')
        else:
            lines.append(
                f'the schedule goes on as {path} has it, not as the config ({what}); '
                'behind its end the rate stays: start from the weights, load_from, for a whole one'
            )
    return [], lines


def _settings(kind: type) -> set[str]:
    """Names of what a scheduler and those that it is derived from are given."""
    names = {
        name
        for base in kind.__mro__
        if base is not object and '__init__' in vars(base)
        for name in inspect.signature(vars(base)['__init__']).parameters
    }
    # How long it takes goes by another name in ours.
    return names - _NO_SETTING | {'steps'}
