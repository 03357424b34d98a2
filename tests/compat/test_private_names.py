"""The list of other packages' private names is what our code uses, and the installed releases have them.

What our code uses is found in two ways. In the source: an attribute `x._name`, a `getattr` with such a name, an import
or a dotted text with such a part, unless some module of ours defines that name itself. On the classes: what one of ours
overrides of another package's base. So a private name of theirs escapes that we also define, unless it is overridden.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import mmcell
from mmcell.compat.private_names import PRIVATE_NAMES

SOURCES = sorted(path for path in Path(mmcell.__file__).parent.rglob('*.py') if '.mim' not in path.parts)
LISTED = {name.name for name in PRIVATE_NAMES}
#: What Python's own machinery and mmengine's singletons put into every class.
MACHINERY = {'_abc_impl', '_instance_dict'}


def is_private(name: str) -> bool:
    return bool(re.fullmatch(r'_[A-Za-z]\w*', name))


def resolve(path: str) -> object:
    """The module, or the class in it."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition('.')
        return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize('private', PRIVATE_NAMES, ids=lambda private: f'{private.owner}.{private.name}')
def test_the_installed_releases_have_it(private):
    owner = resolve(private.owner)
    found = hasattr(owner, private.name)
    if not found and inspect.ismodule(owner):
        found = importlib.util.find_spec(f'{private.owner}.{private.name}') is not None
    if not found and inspect.isclass(owner):  # what only instances have
        bases = [base for base in owner.__mro__ if base.__module__ != 'builtins']
        found = any(re.search(rf'self\.{private.name}\b', inspect.getsource(base)) for base in bases)
    assert found, (
        f'{private.owner} has no {private.name} in the installed release. We use it because: {private.reason}. '
        'Find what takes its place before you raise the pin.'
    )


@cache
def trees() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in SOURCES if path.name != 'private_names.py']


def defined() -> set[str]:
    names = set()
    for node in (node for tree in trees() for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ('self', 'cls'):
                names.add(node.attr)
    return names


def used() -> Iterator[str]:
    for node in (node for tree in trees() for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in alias.name.split('.'))
        elif isinstance(node, ast.ImportFrom):
            yield from (part for alias in node.names for part in f'{node.module}.{alias.name}'.split('.'))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ('getattr', 'hasattr'):
            yield from (argument.value for argument in node.args[1:2] if isinstance(argument, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value.replace('\\', '')
            if re.fullmatch(r'(torch|mmengine|mmdet|mmcv)(\.\w+)+', text):
                yield from text.split('.')


def overridden() -> Iterator[tuple[str, str]]:
    """Private names of ours on a class of another package, and what overrides them."""
    for path in SOURCES:
        name = '.'.join(path.relative_to(Path(mmcell.__file__).parents[1]).with_suffix('').parts)
        module = importlib.import_module(name.removesuffix('.__init__'))
        classes = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == name]
        for ours in classes:
            theirs = [base for base in ours.__mro__ if not base.__module__.startswith(('mmcell', 'builtins', 'abc'))]
            for attribute in filter(is_private, vars(ours)):
                if any(attribute in vars(base) for base in theirs):
                    yield attribute, f'{name}.{ours.__name__}'


def test_none_is_used_that_is_not_listed():
    strange = {name for name in used() if is_private(name)} - defined() - LISTED
    assert not strange, f'list {sorted(strange)} in mmcell/compat/private_names.py, or use what is public'
    strange = {f'{where}.{name}' for name, where in overridden() if name not in LISTED | MACHINERY}
    assert not strange, f'{sorted(strange)} override private names: list them in mmcell/compat/private_names.py'


def test_none_is_listed_that_is_not_used():
    everything = {*used(), *(name for name, _ in overridden())}
    assert not LISTED - everything, f'{sorted(LISTED - everything)}: gone from our code, so from the list too'
