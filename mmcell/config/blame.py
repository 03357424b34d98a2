"""Errors of what a config asks for, as one line that names the config."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config

from mmcell.config.runs import title
from mmcell.errors import InputError, InputErrors, shorten


@contextmanager
def blame(config: Config, what: str) -> Iterator[None]:
    """Whatever goes wrong within is the config's fault: while something is built of it, which can hold anything.

    Args:
        config: The config.
        what: What its problem is then, such as 'has a model that cannot be built'.

    Raises:
        InputError: Instead of any other exception; those of files and disks pass.
    """
    try:
        yield
    except (InputError, InputErrors, OSError):
        raise
    except Exception as error:
        reason = shorten(f'{type(error).__name__}: {error}', 150)
        raise InputError(title(config), f'{what} ({reason})', 'fix the config, or leave out the option') from error
