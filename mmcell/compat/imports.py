"""Do something just before or just after a module is imported, by whomever."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Watch(MetaPathFinder):
    """Is asked first for every module that is imported, and acts on one of them, once."""

    def __init__(
        self, name: str, before: Callable[[], None] | None, after: Callable[[ModuleType], None] | None
    ) -> None:
        self.name, self.before, self.after = name, before, after

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        if self.before is not None:
            self.before()
        spec = find_spec(fullname)
        if spec is not None and self.after is not None:
            loader: Any = spec.loader
            execute, after = loader.exec_module, self.after

            def execute_and_act(module: ModuleType) -> None:
                execute(module)
                after(module)

            loader.exec_module = execute_and_act
        return spec


def before_import(name: str, action: Callable[[], None]) -> None:
    """Call `action` before the module `name` is first imported; never, if it is already."""
    if name not in sys.modules:
        _watch(_Watch(name, action, None))


def after_import(name: str, action: Callable[[ModuleType], None]) -> None:
    """Call `action` with the module `name` once it is imported: at once, if it is already."""
    if name in sys.modules:
        action(sys.modules[name])
    else:
        _watch(_Watch(name, None, action))


def _watch(watch: _Watch) -> None:
    if not any(vars(each) == vars(watch) for each in sys.meta_path if isinstance(each, _Watch)):
        sys.meta_path.insert(0, watch)
