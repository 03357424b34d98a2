"""Does a checkpoint hold the state of a training that goes on from it, and what of the config does it not follow?"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.optim.scheduler import _ParamScheduler
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.registry import PARAM_SCHEDULERS
from torch import Tensor, nn
from torch.optim import Optimizer

from mmcell.errors import InputError, show
from mmcell.io.limits import MAX_SEED

#: Settings of an optimizer that change how fast it works, not what it does, and those that a schedule changes.
_NO_MATTER = frozenset('params param_names foreach fused capturable differentiable lr initial_lr'.split())
#: Those that not every device has.
_FAST = frozenset(('foreach', 'fused', 'capturable'))
#: More than any count of a training.
_ENDLESS = 2**53
#: The kinds of what hooks note of a training, by what the names begin with.
_KINDS: dict[str, Any] = {
    'best_score': (Real, Tensor, np.ndarray),
    'best_ckpt': (str, type(None)),
    'last_ckpt': (str, type(None)),
    'keep_ckpt_ids': list,
    'outdated_ckpts': list,
}
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
    if not all(isinstance(count, int) and 0 <= count < _ENDLESS for count in counts):
        lacks = 'how far it was trained'
    elif not _are_logs(hub):
        lacks = 'the logs of its training'
    elif not isinstance(content.get('state_dict'), Mapping):
        lacks = 'a state_dict'
    elif broken := _find_broken(content):
        problem = f'has a broken state of the training: {broken}'
        return [InputError(path, problem, f'start from its weights instead: --cfg-options load_from={path}')]
    if not lacks:
        return []
    problem = f'holds weights without training state: it does not say {lacks}'
    if lacks != 'how far it was trained':
        problem = f'holds weights without training state: it lacks {lacks}'
    return [InputError(path, problem, f'start from it instead: --cfg-options load_from={path}, without --resume')]


def _are_logs(hub: Any) -> bool:
    parts: list[Any] = (
        [hub.get(key) for key in ('log_scalars', 'runtime_info', 'resumed_keys')] if isinstance(hub, dict) else [0]
    )
    named = all(isinstance(part, dict) and all(isinstance(name, str) for name in part) for part in parts)
    # What is there is kept: MMEngine stops where that is said to be otherwise.
    return (
        named
        and all(map(_is_log, parts[0].values()))
        and all(parts[2].get(name, True) is True for name in (*parts[0], *parts[1]))
    )


def _is_log(value: Any) -> bool:
    if not isinstance(value, HistoryBuffer):
        return False
    numbers, counts = (vars(value).get(name) for name in ('_log_history', '_count_history'))
    sound = all(
        isinstance(each, np.ndarray) and each.ndim == 1 and each.dtype.kind in 'fiu' for each in (numbers, counts)
    )
    return sound and len(numbers) == len(counts) and isinstance(vars(value).get('max_length'), int)


def _find_broken(content: Mapping[str, Any]) -> str:
    """What of a training's state is of a kind that nothing writes; empty if nothing is."""
    meta, info, exact = content['meta'], content['message_hub']['runtime_info'], content.get('exact_resume', {})
    if not isinstance(meta.get('seed'), int | None) or not 0 <= (meta.get('seed') or 0) <= MAX_SEED:
        return f'its seed is {show(meta["seed"])}'
    for name, value in info.items():
        kind = next((kind for start, kind in _KINDS.items() if name.startswith(start)), object)
        sound = isinstance(value, kind)
        if not sound or (name == 'keep_ckpt_ids' and not all(isinstance(each, int) for each in value)):
            return f'{show(name)} is {show(value)}'
    if not isinstance(exact, Mapping):
        return f'exact_resume is {show(exact)}'
    for name in ('batches_done', 'sampler_seed'):
        if not isinstance(exact.get(name), int | None) or not 0 <= (exact.get(name) or 0) < _ENDLESS:
            return f'{name} is {show(exact[name])}'
    for name in ('ema_state_dict', 'gradients'):
        if not isinstance(content.get(name, {}), Mapping):
            return f'{name} is {show(content[name])}'
    return ''


def check_tensors(path: str | Path, content: Mapping[str, Any], model: nn.Module) -> list[InputError]:
    """Refuse an average of the weights, or gradients that wait, that are not of the model's shapes.

    Args:
        path: The checkpoint, for errors.
        content: Its content.
        model: The model; its weights may be without memory.
    """
    average, gradients = (_shapes(content.get(name, {})) for name in ('ema_state_dict', 'gradients'))
    weights = {f'module.{name}': shape for name, shape in _shapes(model.state_dict()).items()}
    parameters = _shapes(dict(model.named_parameters()))
    wrong = [str(name) for name, _ in average.items() ^ {'steps': (), **weights}.items()] if average else []
    # Those of other names stay where they are.
    wrong += [name for name, shape in gradients.items() if parameters.get(name, shape) != shape]
    if not wrong:
        return []
    problem = f'holds an average of the weights, or gradients, of another model: {show(min(wrong))} does not fit'
    return [InputError(path, problem, f'start from its weights instead: --cfg-options load_from={path}')]


def _shapes(values: Mapping[Any, Any]) -> dict[Any, tuple[int, ...] | None]:
    return {name: tuple(value.shape) if torch.is_tensor(value) else None for name, value in values.items()}


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
        return [], [f'{path}: has no optimizer state: training continues without its running averages']
    wrapper = build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))
    if not isinstance(wrapper, OptimWrapper):  # several of them
        return [], []
    state = content['optimizer']
    saved = state.get('param_groups') if isinstance(state, Mapping) else None
    own = wrapper.optimizer.param_groups
    cure = f'resume with the optimizer that it was trained with, or start from it: load_from={path}'
    if not isinstance(saved, list) or not all(isinstance(each, Mapping) and 'params' in each for each in saved):
        return [InputError(path, 'has a broken state of the optimizer', cure)], []
    if broken := _find_broken_state(wrapper.optimizer, state):
        return [InputError(path, f'has a broken state of the optimizer: {broken}', cure)], []
    names, theirs = ({key for group in groups for key in group} for groups in (own, saved))
    if names - theirs and theirs - names - {'initial_lr', 'param_names'}:
        only = ', '.join(sorted(theirs - names - {'initial_lr', 'param_names'})[:3])
        problem = f'is of another optimizer than {type(wrapper.optimizer).__name__}: one that has {only}'
        return [InputError(path, problem, cure)], []
    sizes, found = ([len(group['params']) for group in groups] for groups in (own, saved))
    if sizes != found:
        problem = f'has the optimizer state of {sum(found)} weights in {len(found)} groups'
        return [InputError(path, f'{problem}, not of {sum(sizes)} in {len(sizes)}', cure)], []
    if not _try_step(wrapper.optimizer) and (broken := _try_step(wrapper.optimizer, state)):
        return [InputError(path, f'has a broken state of the optimizer: {broken}', cure)], []
    scaled = (config.get('auto_scale_lr') or {}).get('enable', False)
    lines = [_overruled(ours, other, scaled) for ours, other in zip(own, saved, strict=True)]
    changed = list(dict.fromkeys(line for each in lines for line in each))
    if not changed:
        return [], []
    more = f' and {len(changed) - 3} more' if len(changed) > 3 else ''
    return [], [f'{path}: the optimizer goes on with {", ".join(changed[:3])}{more}; load_from takes the config']


def _find_broken_state(optimizer: Optimizer, state: Mapping[str, Any]) -> str:
    """What of it torch would take over and fail with at the first step; empty if there is nothing."""
    own = optimizer.param_groups
    for group, ours in zip(state['param_groups'], own):
        for key, value in ours.items():
            if key in group and key not in ('params', 'param_names') and not _is_alike(group[key], value):
                return f'{key} is {show(group[key])}'
            if key == 'lr' and group.get(key, 0) < 0:
                return f'{key} is {show(group[key])}'
            if key in ('capturable', 'differentiable') and group.get(key) and not value:
                return f'{key} is {show(group[key])}, which the config does not say'
        if not isinstance(group['params'], list):
            return f'params is {show(group["params"])}'
    each, sizes = state.get('state', {}), [value.numel() for group in own for value in group['params']]
    numbers = [number for group in state['param_groups'] for number in group['params']]
    if not isinstance(each, Mapping) or not all(isinstance(number, int) for number in numbers):
        return 'it is of no weights'
    for number, size in zip(numbers, sizes):
        values = each.get(number, {})
        for name, value in values.items() if isinstance(values, Mapping) else [('', values)]:
            if not isinstance(name, str) or not isinstance(value, (Tensor, float, int, type(None))):
                return f'{show(name)} of weight {number} is {show(value)}'
            # As large as the weight, a number, or rows and columns.
            if isinstance(value, Tensor) and value.numel() > max(size, 1):
                return f'{show(name)} of weight {number} has {value.numel()} numbers for {size}'
            if not _is_finite(value):
                return f'{show(name)} of weight {number} is not finite'
            if name == 'step' and not _is_count(value):
                return f'step of weight {number} is {show(value)}'
    return ''


def _is_finite(value: Tensor | float | None) -> bool:
    return value is None or (
        bool(value.isfinite().all()) if isinstance(value, Tensor) else -_ENDLESS < value < _ENDLESS
    )


def _is_count(value: Tensor | float | None) -> bool:
    one = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return isinstance(one, (int, float)) and 0 <= one < _ENDLESS


def _try_step(optimizer: Optimizer, state: Mapping[str, Any] | None = None) -> str:
    """What goes wrong in a step from a state, or in a first step; empty if nothing does.

    Tried on shapes alone, without memory or arithmetic: what the optimizer needs is there, and of the right shape.
    """
    kind: Any = type(optimizer)
    groups = []
    for group in optimizer.param_groups:
        params = [nn.Parameter(torch.empty(value.shape, device='meta')) for value in group['params']]
        for value in params:
            value.grad = torch.zeros_like(value)
        settings = {key: group[key] for key in optimizer.defaults if key in group and key not in _FAST}
        groups.append({**settings, 'params': params})
    try:
        trial = kind(groups)
        if state is not None:
            trial.load_state_dict(_without_numbers(state))
            for values in trial.state.values():  # one of the counters may have followed the weights
                values.update({name: torch.ones(()) for name, value in values.items() if _is_number(value)})
        trial.step()
    except Exception as error:  # whatever an optimizer raises
        return f'no step follows from it ({type(error).__name__}: {show(str(error))})'
    return ''


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.dim()


def _without_numbers(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state whose arrays have shapes alone, of an optimizer that works on any device; counters stay."""
    each = {
        number: {
            name: value.to('meta') if isinstance(value, Tensor) and not _is_number(value) else value
            for name, value in values.items()
        }
        for number, values in state.get('state', {}).items()
    }
    groups = [{**group, **{key: False for key in _FAST & set(group)}} for group in state['param_groups']]
    return {'state': each, 'param_groups': groups}


def _is_alike(value: Any, ours: Any) -> bool:
    """Whether a setting of an optimizer, or a part of a scheduler's state, is of the kind that it has."""
    if isinstance(ours, (tuple, list)):
        return isinstance(value, (tuple, list)) and len(value) == len(ours) and all(map(_is_alike, value, ours))
    if isinstance(ours, (bool, int, float)):
        if isinstance(value, Tensor):
            return value.numel() == 1
        return isinstance(value, (bool, int, float)) and -_ENDLESS < value < _ENDLESS
    arrays = (Tensor, np.ndarray)
    return isinstance(ours, arrays) or not isinstance(value, arrays)


def _overruled(own: Mapping[str, Any], saved: Mapping[str, Any], scaled: bool) -> Iterator[str]:
    if not scaled and 'initial_lr' in saved and saved['initial_lr'] != own['lr']:
        yield f'lr {show(saved["initial_lr"])} of the checkpoint, not {show(own["lr"])}'
    for key, value in own.items():
        if key not in _NO_MATTER and key in saved and _plain(saved[key]) != _plain(value):
            yield f'{key} {show(saved[key])} of the checkpoint, not {show(value)}'


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def check_schedules(config: Config, path: str | Path, content: Mapping[str, Any], model: nn.Module) -> list[InputError]:
    """Refuse a state of the schedule that the config's schedulers cannot go on from, before a run is built.

    Args:
        config: The config.
        path: The checkpoint, for errors.
        content: Its content.
        model: The model; its weights may be without memory.
    """
    own, saved = config.get('param_scheduler'), content.get('param_schedulers')
    own = [own] if isinstance(own, Mapping) and 'type' in own else own
    wrapper = build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))
    # There may be some for each of several optimizers.
    if saved is None or not isinstance(own, list) or not isinstance(wrapper, OptimWrapper):
        return []
    # The kinds of what they hold depend neither on the length of an epoch nor on that of the training.
    given = dict(optimizer=wrapper, epoch_length=1)
    schedulers = [PARAM_SCHEDULERS.build({'end': INF, **copy.deepcopy(each)}, default_args=given) for each in own]
    if errors := compare_schedules(path, schedulers, saved)[0]:
        return errors
    for scheduler, state in zip(schedulers, saved, strict=True):
        if broken := _try_schedule(scheduler, state):
            problem = f'has a broken state of {type(scheduler).__name__}: {broken}'
            return [InputError(path, problem, _schedule_cure(path))]
    return []


def _try_schedule(scheduler: _ParamScheduler, state: Mapping[str, Any]) -> str:
    """What goes wrong in a step of a scheduler from a state; empty if nothing does."""
    try:
        scheduler.load_state_dict(copy.deepcopy(dict(state)))
        scheduler.step()
        values = scheduler.get_last_value()
    except Exception as error:  # whatever a scheduler raises
        return f'no step follows from it ({type(error).__name__}: {show(str(error))})'
    wrong = [value for value in values if not 0 <= value < _ENDLESS]
    return f'its next {scheduler.param_name} is {show(wrong[0])}' if wrong else ''


def _schedule_cure(path: str | Path) -> str:
    return f'resume with the param_scheduler that it was trained with, or start from it: load_from={path}'


def _compare_counts(path: str | Path, own: int, saved: Any) -> list[InputError]:
    if isinstance(saved, (list, tuple)) and len(saved) == own and all(isinstance(each, Mapping) for each in saved):
        return []
    count = len(saved) if isinstance(saved, (list, tuple)) else 'another kind of'
    return [InputError(path, f'has the state of {count} schedulers, the config {own}', _schedule_cure(path))]


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
        return [], [f'{path}: has no schedule state: the learning rate starts over']
    cure = _schedule_cure(path)
    if errors := _compare_counts(path, len(own), saved):
        return errors, []
    lines = []
    for scheduler, state in zip(own, saved, strict=True):
        fresh = scheduler.state_dict()
        if set(fresh) != set(state):
            return [InputError(path, f'has the state of another scheduler than {type(scheduler).__name__}', cure)], []
        if broken := [key for key, value in fresh.items() if not _is_alike(state[key], value)]:
            problem = f'has a broken state of {type(scheduler).__name__}: {broken[0]} is {show(state[broken[0]])}'
            return [InputError(path, problem, cure)], []
        changed = [
            f'{key} {show(state[key])} -> {show(fresh[key])}'
            for key in sorted(_settings(type(scheduler)) & set(fresh))
            if _plain(state[key]) != _plain(fresh[key])
        ]
        if not changed:
            continue
        what = f'{type(scheduler).__name__}: {", ".join(changed[:3])}'
        if getattr(scheduler, 'follows_config', False):
            lines.append(f'from here on the schedule follows the config ({what})')
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
