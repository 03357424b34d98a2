"""Types and arguments in a config that nothing knows, each with the nearest known name.

mmengine finds them as well, with a traceback, one at a time and some only when the first batch is due.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import mmdet.registry
from mmengine.config import Config
from mmengine.registry import Registry
from torch.utils.data import DataLoader

from mmcell.config import title
from mmcell.errors import InputError

#: Registries that the dicts of each setting are built by, and what the code that builds them takes away first.
_SETTINGS: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    'model': (('MODELS', 'TASK_UTILS'), frozenset()),
    'optim_wrapper': (('OPTIM_WRAPPERS', 'OPTIMIZERS'), frozenset(('constructor', 'paramwise_cfg'))),
    'param_scheduler': (('PARAM_SCHEDULERS',), frozenset(('convert_to_iter_based',))),
    'default_hooks': (('HOOKS',), frozenset(('priority',))),
    'custom_hooks': (('HOOKS',), frozenset(('priority',))),
    'visualizer': (('VISUALIZERS', 'VISBACKENDS'), frozenset()),
    'log_processor': (('LOG_PROCESSORS',), frozenset()),
    **{f'{split}_cfg': (('LOOPS',), frozenset()) for split in ('train', 'val', 'test')},
    **{f'{split}_evaluator': (('METRICS',), frozenset()) for split in ('val', 'test')},
    **{
        f'{split}_dataloader': (('DATASETS', 'TRANSFORMS', 'DATA_SAMPLERS'), frozenset())
        for split in ('train', 'val', 'test')
    },
}

#: What is built by functions that take some arguments away, such as norm_cfg's requires_grad, or from no registry.
_OPAQUE = frozenset(
    'norm_cfg conv_cfg act_cfg upsample_cfg init_cfg dcn roi_layer nms merge_nms_cfg collate_fn worker_init_fn '
    'paramwise_cfg metainfo data_prefix filter_cfg backend_args loss_scale'.split()
)

#: What mmengine takes from a dataloader beside the arguments of torch's.
_LOADER = frozenset(('dataset', 'num_batch_per_epoch'))

#: How alike an unknown name has to be to a known one of a class that hands unknown names on to others.
_VERY_ALIKE = 0.85


def check_arguments(config: Config, skip: Iterable[str] = ()) -> list[InputError]:
    """Check that every type in the config is registered and knows the arguments that it is given.

    Classes that take `**kwargs` are followed up to those that they hand them to. Where that cannot be told, only
    names that are almost one of the known ones are errors.

    Args:
        config: The config.
        skip: Settings to leave out, since the run does not build them.
    """
    problems: list[tuple[str, str]] = []
    for key, (registries, extra) in _SETTINGS.items():
        if key in config and key not in skip:
            problems += _check(config[key], key, [getattr(mmdet.registry, name) for name in registries], extra)
            if key.endswith('_dataloader') and isinstance(config[key], Mapping):
                known = {*inspect.signature(DataLoader).parameters, *_LOADER}
                problems += _unknown(config[key], key, known, cutoff=0.0)
    return [InputError(title(config), problem, cure) for problem, cure in problems]


def _check(value: Any, where: str, registries: list[Registry], extra: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Problem and cure of everything wrong in a value of a config."""
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _check(item, f'{where}.{index}', registries, extra)
    if not isinstance(value, Mapping):
        return
    if 'type' in value:
        kind = value['type']
        if isinstance(kind, str):
            kind = next(filter(None, (registry.get(kind) for registry in registries)), None)
        if kind is None:
            yield _unregistered(value['type'], where, registries)
        elif isinstance(kind, type):
            known, complete = list_arguments(kind)
            yield from _unknown(value, where, {*known, *extra, 'type', '_scope_'}, 0.0 if complete else _VERY_ALIKE)
    for key, item in value.items():
        if key not in _OPAQUE:
            yield from _check(item, f'{where}.{key}', registries, extra)


def _unknown(value: Mapping[str, Any], where: str, known: set[str], cutoff: float) -> Iterator[tuple[str, str]]:
    for key in value:
        if key in known:
            continue
        near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=max(cutoff, 0.6))
        if near or not cutoff:
            cure = f'did you mean {near[0]!r}?' if near else f'choose from {", ".join(sorted(known - {"_scope_"}))}'
            yield f'{where} has the unknown argument {key!r}', cure


def _unregistered(kind: str, where: str, registries: Iterable[Registry]) -> tuple[str, str]:
    names = set()
    for registry in registries:
        while registry is not None:
            names |= registry.module_dict.keys()
            registry = registry.parent
    near = difflib.get_close_matches(kind, sorted(names), n=1)
    cure = f'did you mean {near[0]!r}?' if near else 'register it, and name its module in custom_imports'
    return f'{where} has the unknown type {kind!r}', cure


@cache
def list_arguments(kind: type) -> tuple[frozenset[str], bool]:
    """Names of the arguments of a class, those that it hands on to its base classes included.

    Returns:
        The names, and whether these are all: False if the class keeps `**kwargs`, or hands them to something else.
    """
    names: set[str] = set()
    for base in inspect.getmro(kind):
        if '__init__' not in vars(base):
            continue
        try:
            parameters = list(inspect.signature(vars(base)['__init__']).parameters.values())[1:]
        except (ValueError, TypeError):
            return frozenset(names), False
        if base is object:
            break
        names |= {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        rest = [one.name for one in parameters if one.kind is one.VAR_KEYWORD]
        if not rest:
            break
        taken = _taken_from(base, rest[0])
        if taken is None:
            return frozenset(names), False
        names |= taken
    return frozenset(names), True


def _taken_from(kind: type, rest: str) -> set[str] | None:
    """Names that a constructor takes out of its `**rest`; None unless all else of it goes to the base class."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(vars(kind)['__init__'])))
    except (OSError, TypeError, SyntaxError):
        return None
    names: set[str] = set()
    harmless: set[ast.expr] = set()
    handed_on = False
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if ast.unparse(called).startswith('super(') and ast.unparse(called).endswith(').__init__'):
            here = [one.value for one in node.keywords if one.arg is None and ast.unparse(one.value) == rest]
            harmless.update(here)
            handed_on = handed_on or bool(here)
        elif isinstance(called, ast.Attribute) and ast.unparse(called.value) == rest:
            if called.attr in ('get', 'setdefault', 'pop') and isinstance(node.args[0], ast.Constant):
                harmless.add(called.value)
                names.add(str(node.args[0].value))
    uses = {node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == rest}
    return names if handed_on and uses <= harmless else None
