"""Annotation files: everything that is wrong with one, before a run reads it.

What goes wrong many times over is one error that names the first and says how many more there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmcell.coco.schema import Problem, find_problems
from mmcell.errors import InputError


def check_listing(path: str | Path, content: Any) -> list[InputError]:
    """Check the images and categories of an annotation file: what the other checks take for granted.

    Args:
        path: The file, for errors.
        content: Its content.
    """
    return _summarise(path, find_problems({**content, 'annotations': []} if isinstance(content, dict) else content))


def check_annotations(path: str | Path, content: Any) -> list[InputError]:
    """Check all of an annotation file; arguments as :func:`check_listing`."""
    return _summarise(path, find_problems(content, training=True))


def check_classes(files: Sequence[tuple[str | Path, tuple[str, ...]]]) -> list[InputError]:
    """Check that annotation files, given with their classes, have those of the first."""
    errors = []
    for path, classes in files[1:]:
        first, wanted = files[0]
        if classes != wanted:
            problem = f'has the classes {", ".join(classes)}, but {first} {", ".join(wanted)}'
            errors.append(InputError(path, problem, 'convert both with the same --classes'))
    return errors


def _summarise(path: str | Path, problems: Iterable[Problem]) -> list[InputError]:
    by_rule: dict[str, list[Problem]] = {}
    for problem in problems:
        by_rule.setdefault(problem.cure, []).append(problem)
    errors = []
    for first, *others in by_rule.values():
        more = f' (and {len(others)} more like this)' if others else ''
        errors.append(Problem(first.at, first.problem + more, first.cure).as_error(path))
    return errors
