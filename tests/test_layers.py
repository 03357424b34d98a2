"""The house has floors: nobody imports upwards, neighbors of some floors keep apart, and there are no circles.

Imports are read from the source, those inside functions too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for path in (ROOT / 'mmcell').rglob('*.py')
    if '.mim' not in path.parts
}
#: From the ground. Compat, palette and synthetic tissue lean on little and are leant on by much.
FLOORS = (
    {'structures', 'compat', 'config'},
    {'io', 'coco', 'visualization'},
    {'datasets', 'models', 'converters', 'evaluation', 'synthetic'},
    {'report', 'engine'},
    {'preflight', 'ablation', 'cli'},
)
#: Packages that do not import each other although they stand on one floor.
APART = {'datasets', 'models', 'converters', 'evaluation', 'synthetic'}
#: The modules that stand in no package; all may import them.
LOOSE = {'mmcell', 'mmcell.errors', 'mmcell.registry'}
#: What :func:`mmcell.compat.install` puts in place of mmengine's own, imported only when mmengine calls it.
EXCEPTIONS = {('mmcell.compat.checkpoints', 'mmcell.io.checkpoints')}


def imports_of(path: Path) -> set[str]:
    """Modules of ours that a module imports; of `from package import name` the module `package.name`, if it is one."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path}: write the whole name of {node.module}'
            full = {f'{node.module}.{alias.name}' for alias in node.names}
            names |= {name if name in SOURCES else node.module for name in full}
    return names


EDGES = sorted((module, name) for module, path in SOURCES.items() for name in imports_of(path) if name in SOURCES)


def package(module: str) -> str:
    return module.split('.')[1] if '.' in module else ''


def floor(module: str) -> int:
    return next(number for number, packages in enumerate(FLOORS) if package(module) in packages)


def test_every_package_has_a_floor():
    assert {package(module) for module in SOURCES if module not in LOOSE} == set().union(*FLOORS)


def test_loose_modules_are_few_and_import_none_but_loose_ones():
    assert {module for module in SOURCES if module.count('.') < 2 and not is_package(module)} | {'mmcell'} == LOOSE
    assert [edge for edge in EDGES if edge[0] in LOOSE and edge[1] not in LOOSE] == []


def is_package(module: str) -> bool:
    return SOURCES[module].name == '__init__.py'


def test_nobody_imports_upwards():
    inner = [edge for edge in EDGES if not LOOSE & set(edge) and edge not in EXCEPTIONS]
    assert [edge for edge in inner if floor(edge[1]) > floor(edge[0])] == []
    assert [edge for edge in inner if package(edge[0]) != package(edge[1]) and APART >= set(map(package, edge))] == []


def test_structures_import_nothing_of_ours():
    assert [edge for edge in EDGES if package(edge[0]) == 'structures' and package(edge[1]) != 'structures'] == []


@pytest.mark.parametrize('whole', [False, True], ids=['modules', 'packages'])
def test_there_are_no_circles(whole):
    edges = {edge for edge in EDGES if edge not in EXCEPTIONS and not LOOSE & set(edge)}
    if whole:
        edges = {tuple(map(package, edge)) for edge in edges}
        edges = {edge for edge in edges if edge[0] != edge[1]}
    # What imports nothing that is left goes, until nothing does; the rest are circles and what imports them.
    while True:
        importing = {one for one, _ in edges}
        kept = {edge for edge in edges if edge[1] in importing}
        if kept == edges:
            break
        edges = kept
    assert edges == set()


def test_tools_and_benchmarks_are_never_imported():
    names = {name.split('.')[0] for path in SOURCES.values() for name in imports_of(path)}
    assert not names & {'tools', 'benchmarks', 'tests', 'configs'}


def test_only_tools_make_a_process_theirs():
    """Importing `mmcell.cli` installs what `mmcell.compat` changes, so a plugin must not lead to it."""
    leading = {one for one, other in EDGES if package(other) == 'cli' and package(one) != 'cli'}
    assert leading <= {'mmcell.preflight.doctor'}  # in its main function
