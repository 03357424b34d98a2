"""What may be given for an argument: for `type=` and `action=` of :meth:`Parser.add_argument`.

A wrong value is then one line that names the argument, before anything is read or written.
"""

from __future__ import annotations

import argparse
import errno
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcell.io.limits import MAX_MPP, MAX_SEED, MIN_MPP

#: Most bytes of a path on Linux, and of a name in one.
_MAX_PATH, _MAX_NAME = 4095, 255


def any_path(text: str) -> str:
    """A path that a file system could hold; an empty one would be the working folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError('a path cannot be empty')
    data = os.fsencode(text)
    if b'\0' in data or len(data) > _MAX_PATH or any(len(name) > _MAX_NAME for name in data.split(b'/')):
        raise argparse.ArgumentTypeError(f'{_shown(text)} is too long for a path, or holds a null character')
    try:
        Path(text).stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise argparse.ArgumentTypeError(f'{_shown(text)} is a circular link') from None
    return text


def number(least: float, most: float = math.inf, above: bool = False) -> Callable[[str], float]:
    """A number in a range, never NaN or infinite.

    Args:
        least: The smallest.
        most: The largest.
        above: Whether it must be larger than `least`.
    """
    what = f'a number {"above" if above else "from"} {least:g}' + (f' to {most:g}' if most < math.inf else '')

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least <= value <= most and math.isfinite(value)) or (above and value == least):  # NaN is refused, too
            raise argparse.ArgumentTypeError(f'{_shown(text)} is not {what}')
        return value

    return parse


#: A score.
score = number(0, 1)
#: Microns per pixel.
mpp = number(MIN_MPP, MAX_MPP)


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """A whole number in a range."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f'{_shown(text)} is not a whole number from {least} to {most}')
        return value

    return parse


#: A seed.
seed = whole(0, MAX_SEED)


def pattern(text: str) -> str:
    """A regular expression."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f'{_shown(text)} is not a regular expression ({error})') from None
    return text


def key_value(text: str) -> str:
    """`KEY=VALUE` as MMEngine reads it, with brackets in pairs."""
    # Imported here: most tools have no use for it.
    from mmengine.config import DictAction

    key, equals, _ = text.partition('=')
    if not equals or not all(key.split('.')):
        raise argparse.ArgumentTypeError(f'{_shown(text)} is not KEY=VALUE')
    try:
        DictAction(['--option'], 'option')(argparse.ArgumentParser(), argparse.Namespace(), [text])
    except (AssertionError, ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f'{_shown(text)} has brackets that do not match') from None
    return text


def options_action() -> type[argparse.Action]:
    """MMEngine's `KEY=VALUE`, for `action=`; texts keep their spaces, and in quotes their commas: paths have both."""
    from mmengine.config import DictAction

    class Options(DictAction):
        @staticmethod
        def _parse_iterable(val: str) -> Any:
            quoted = len(val) > 1 and val[0] == val[-1] and val[0] in '\'"'
            text = val[1:-1] if quoted else val
            value = DictAction._parse_iterable(val)
            if text[:1] + text[-1:] in ('[]', '()') or (',' in text and not quoted):
                return value
            return text if isinstance(value, (str, list)) else value

        def __call__(
            self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: list[str], *rest: Any
        ) -> None:
            try:
                super().__call__(parser, namespace, [key_value(value) for value in values], *rest)
            except argparse.ArgumentTypeError as error:
                raise argparse.ArgumentError(self, str(error)) from None

    return Options


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f'{text[:39]}…')
