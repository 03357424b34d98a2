"""One public name, one meaning: no function, class or constant of the package shares its name with another's."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / 'mmcell'

#: Names of what a program starts with; and those that changes under way still have to part.
ALLOWED = {'main', 'RESULTS_NAME', 'Result', 'find_images', 'remove_leftovers'}


def public_names(path: Path) -> set[str]:
    """Names that a module defines at its top level, not those that it imports."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, 'target', None)]
        names.update(target.id for target in targets if isinstance(target, ast.Name))
    return {name for name in names if not name.startswith('_')}


def test_one_public_name_is_defined_once():
    homes = defaultdict(list)
    for path in sorted(PACKAGE.rglob('*.py')):
        for name in public_names(path):
            homes[name].append(path.relative_to(PACKAGE).as_posix())
    for name in ALLOWED:
        homes.pop(name, None)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
