"""Keeps messages off the terminal that nobody who runs a tool can act on.

Each is named by its exact text; anything else that a library says, and the same message in other words after an
update, is shown. A message that one can act on never belongs here.
"""

from __future__ import annotations

import builtins
import functools
import logging
import sys
import threading
import warnings
from typing import Any

from mmcell.compat.imports import after_import

#: How the one message begins that mmengine prints without a logger and that is no warning.
LOADING = 'Loads checkpoint by '
#: Longest warning on the terminal, in characters; the log file has all of it.
MAX_LENGTH = 300

#: What MMDetection and MMEngine say at every start.
MESSAGES = frozenset(
    {
        # mmdet.datasets, twice: an optional package of its makers' own. Meant for debugging (it passes that level), but
        # printed, because it names no logger.
        'Could not import OneDL. Skipping OneDL datasets.',
        # mmengine's CheckpointHook, before training, about itself: no setting of the hook avoids it.
        '"FileClient" will be deprecated in future. Please use io functions in '
        'https://onedl-mmengine.readthedocs.io/en/latest/api/fileio.html#file-io',
        '"HardDiskBackend" is the alias of "LocalBackend" and the former will be deprecated in future.',
    }
)


def _print(*values: object, **options: Any) -> None:
    if len(values) == 1 and (values[0] in MESSAGES or (_shortens and str(values[0]).startswith(LOADING))):
        return
    builtins.print(*values, **options)


def _handle(self: logging.Logger, record: logging.LogRecord) -> None:
    if record.getMessage() not in MESSAGES:
        logging.Logger.handle(self, record)


def silence() -> None:
    """Drop :data:`MESSAGES` in this process, and what tifffile logs about a broken file that we refuse ourselves."""
    after_import('mmengine.logging.logger', _silence_mmengine)
    logging.getLogger('tifffile').setLevel(logging.CRITICAL)
    # torch, of a checkpoint that is no checkpoint: we refuse it in one line that says so.
    warnings.filterwarnings('ignore', 'Detected pickle protocol', UserWarning, r'torch\._weights_only_unpickler')


def _silence_mmengine(module: Any) -> None:
    # The two ways out of mmengine's `print_log`; neither has a setting, and a run makes loggers of its own.
    module.print = _print
    module.MMLogger.handle = _handle


def shorten_terminal(shorten: bool = True) -> None:
    """Choose what MMEngine's loggers say on the terminal; their files get everything, whatever is chosen.

    Args:
        shorten: Only warnings and errors, a line each on standard error, in the form of our own; so are Python's
            warnings, each once. Else all, as MMEngine and Python do.
    """
    global _shortens
    _shortens = shorten
    shows: Any = _show_warning if shorten else _PYTHON_SHOWS
    warnings.showwarning = shows
    threading.excepthook = _tell_of_thread if shorten else threading.__excepthook__
    after_import('mmengine.logging.logger', _choose_handlers)


_shortens = False
_PYTHON_SHOWS: Any = warnings.showwarning


@functools.cache  # once for each text, whatever line it comes from
def _write_warning(text: str) -> None:
    _write('warning', text)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    _write_warning(str(message))


def _write(level: str, text: str, more: str = '') -> None:
    from tqdm import tqdm  # here: the doctor has to start without it

    text = ' '.join(text.split())
    if len(text) > MAX_LENGTH:
        text = f'{text[:MAX_LENGTH]} …{more}'
    tqdm.write(f'{level}: {text}', file=sys.stderr)  # above a progress bar, if there is one


def _tell_of_thread(args: threading.ExceptHookArgs) -> None:
    """One line where a full disk ends a thread, such as TensorBoard's that writes its curves."""
    if isinstance(args.exc_value, OSError):
        _write_warning(f'a thread that writes files ended ({args.exc_value})')
    else:
        threading.__excepthook__(args)


def _tell_of_broken_log(record: logging.LogRecord) -> None:
    """Instead of logging's traceback at each record that a full disk does not take."""
    _write_warning(f'the log cannot be written ({sys.exc_info()[1]})')


def _choose_handlers(module: Any) -> None:
    call_all = module.MMLogger.callHandlers
    if call_all.__module__ == module.__name__:  # not ours yet

        def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
            if _shortens:
                _call_handlers(self, record)
            else:
                call_all(self, record)

        module.MMLogger.callHandlers = call_handlers


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    for handler in logger.handlers:
        if record.levelno < handler.level:
            continue
        if type(handler) is not logging.StreamHandler:  # a file, or what somebody else has attached
            if isinstance(handler, logging.FileHandler):
                handler.handleError = _tell_of_broken_log  # type: ignore[method-assign]
            handler.handle(record)
        elif record.levelno >= logging.WARNING and handler.filter(record):  # it drops repeated ones
            _write(record.levelname.lower(), record.getMessage(), more=' (the full text is in the log file)')
