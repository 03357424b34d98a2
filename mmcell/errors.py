"""Errors that a user can fix: one line that names the file, the problem and the cure."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxdict, _REPR.maxlong, _REPR.maxstring = 2, 4, 2, 20, 40


#: Characters of a line on standard error, with 'error: ' in front.
MAX_LINE = 300 - len('error: ')


class InputError(Exception):
    """Bad input from outside: a file, a folder, an argument.

    Tools print it as one line on standard error and exit with status 2, without a traceback.

    Args:
        where: The file, folder or argument at fault.
        problem: What is wrong with it.
        cure: What the user can do about it.
    """

    def __init__(self, where: str | Path, problem: str, cure: str) -> None:
        self.where, self.problem, self.cure = str(where), problem, cure
        super().__init__(where, problem, cure)

    def __str__(self) -> str:
        # Messages of libraries that end up in `problem` may span lines; the promise is one line.
        return ' '.join(f'{self.where}: {self.problem}; {self.cure}'.split())

    def brief(self) -> str:
        """As text, of at most :data:`MAX_LINE` characters: first paths and problems are shortened, then a long cure."""
        line = str(self)
        if len(line) <= MAX_LINE:
            return line
        where = shorten(self.where, MAX_LINE // 2)
        room = MAX_LINE - len(where) - 4
        problem = shorten(self.problem, max(room - len(self.cure), room // 2))
        return shorten(f'{where}: {problem}; {shorten(self.cure, room - len(problem))}')


class InputErrors(Exception):
    """Several independent input errors, so that a user can fix all of them at once.

    Args:
        errors: At least one :class:`InputError`.
    """

    max_shown = 20

    def __init__(self, errors: Sequence[InputError]) -> None:
        if not errors:
            raise ValueError('InputErrors needs at least one error')
        self.errors = list(errors)
        super().__init__(self.errors)

    def __str__(self) -> str:
        return self._list(str)

    def brief(self) -> str:
        """As text, each line as :meth:`InputError.brief` gives it."""
        return self._list(InputError.brief)

    def _list(self, show: Callable[[InputError], str]) -> str:
        lines = [show(error) for error in self.errors[: self.max_shown]]
        if len(self.errors) > self.max_shown:
            lines.append(f'and {len(self.errors) - self.max_shown} more errors like these')
        return '\n'.join(lines)


class Interrupted(KeyboardInterrupt):
    """A run was told to stop, by Ctrl-C or `kill`.

    Args:
        number: The signal; the exit status is 128 more, as shells have it.
        message: One line on how to go on; empty to say nothing.
    """

    def __init__(self, number: int, message: str) -> None:
        self.status, self.message = 128 + number, message
        super().__init__(message)

    def __str__(self) -> str:
        return self.message


def set_up_again() -> str:
    """The cure for a package that is missing or broken: the set-up of a clone, or for a wheel where to read on."""
    if Path(__file__).resolve().parents[1].joinpath('tools/setup.sh').is_file():
        return 'run tools/setup.sh --force'
    return 'install what docs/environments.md lists under "With pip"'


def raise_all(errors: Sequence[InputError]) -> None:
    """Raise nothing for no errors, the error itself for one, :class:`InputErrors` for several."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputErrors(errors)


def shorten(text: str, most: int = MAX_LINE) -> str:
    """A text as one line of at most so many characters; what is too much goes from its middle.

    >>> shorten('a very   long path to a file', 21)
    'a very lon… to a file'
    """
    text = ' '.join(text.split())
    half = (max(most, 20) - 1) // 2
    return text if len(text) <= most else f'{text[:half]}…{text[-half:]}'


def show(value: Any) -> str:
    """A value from outside for a message: at most 80 characters, however long or deeply nested it is."""
    try:
        text = _REPR.repr(value)
    except ValueError:  # An integer of thousands of digits is not written out.
        text = f'a {type(value).__name__} of enormous numbers'
    return text if len(text) <= 80 else f'{text[:77]}...'
