"""What every command-line tool shares: one-line errors, exit statuses, a parser that shows an example."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from mmcell.cli.values import any_path, options_action, whole
from mmcell.errors import InputError, InputErrors, Interrupted, shorten

#: What a process of several says when another one has gone; mmcell.cli.torchrun then looks for that one's error.
LOST = 'lost the connection to another process'
#: Errors of a disk or a path, wherever they come up, that are no bug of ours.
_SURROUNDINGS = frozenset(
    (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EIO,
        errno.EFBIG,
        errno.EMFILE,
    )
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help ends with an example.

    Args:
        description: What the tool does, one sentence.
        example: A command line that works when typed from the repository root; `mmcell infer --help` shows it in that
            form.
        commands: What else can be typed, and what each of it does, for the help.
    """

    def __init__(self, description: str, example: str, commands: Mapping[str, str] | None = None) -> None:
        listed = ''.join(f'  {name:14}{what}\n' for name, what in (commands or {}).items())
        super().__init__(
            description=description,
            epilog=(f'tools:\n{listed}\n' if listed else '') + f'example:\n  {example}',
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, which takes `--seed=--` for a list."""
        for word in sys.argv[1:] if args is None else args:
            if re.fullmatch(r'--[\w-]+=--', word):
                self.error(f'argument {word[:-3]}: -- is not a value')
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        """The help, which names the tools as this one was called."""
        return as_called(super().format_help())

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2; argparse prints the whole usage first."""
        _report(shorten(f'{message}; see {self.prog} --help'))
        raise SystemExit(2)


def add_base_argument(parser: Parser, **more: Any) -> None:
    """Add `--base`."""
    what = 'use this config as the base of CONFIG instead of its own'
    parser.add_argument('--base', type=any_path, metavar='CONFIG', **{'help': what, **more})


def add_options_argument(parser: Parser, what: str, name: str = '--cfg-options') -> None:
    """Add `--cfg-options`, or another one of `KEY=VALUE`."""
    parser.add_argument(name, nargs='+', action=options_action(), metavar='KEY=VALUE', help=what)


def add_fold_argument(parser: Parser) -> None:
    """Add `--fold`."""
    what = 'train and validate on fold K of tools/convert.py --folds, from 0'
    parser.add_argument('--fold', type=whole(0), metavar='K', help=what)


def add_verbose_argument(parser: Parser) -> None:
    """Add `--verbose`."""
    what = "show MMEngine's full log, which otherwise goes only to the work folder"
    parser.add_argument('--verbose', action='store_true', help=what)


def add_run_arguments(parser: Parser) -> None:
    """Add the arguments that MMDetection's own tools have too, and those that choose a base and a fold."""
    parser.add_argument('config', type=any_path, metavar='CONFIG', help='config file')
    add_base_argument(parser)
    add_fold_argument(parser)
    add_options_argument(parser, 'override settings, for instance train_cfg.max_epochs=2 model.backbone.depth=101')
    parser.add_argument('--skip-checks', action='store_true', help='skip the checks of data, config and checkpoint')
    add_verbose_argument(parser)
    add_launcher_argument(parser)


def add_launcher_argument(parser: Parser) -> None:
    """Add `--launcher`, and what launchers add."""
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher (default: none)'
    )
    # torch.distributed.launch passes the rank as an argument, torchrun as a variable.
    parser.add_argument('--local-rank', '--local_rank', type=whole(0), default=0, help='set by the launcher')


def run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a tool's `main` and turn its outcome into an exit status.

    0 on success, 2 on bad input (one line per error on standard error), 130 on Ctrl-C and 143 on SIGTERM (one line,
    which for a training says how to go on). Anything else is our bug and keeps its traceback; processes of torchrun
    leave that to it, which prints the first alone.
    """
    if hasattr(sys.stdout, 'reconfigure'):  # A path that is no UTF-8 can be written, and so it can be named.
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        with _stopped_by_exception():
            main(argv)
        sys.stdout.flush()
    except (InputError, InputErrors) as error:
        _report(error.brief())
        raise SystemExit(2) from None
    except Interrupted as stop:
        if stop.message:
            print(stop.message, file=sys.stderr)
        raise SystemExit(stop.status) from None
    except KeyboardInterrupt:
        print('error: interrupted', file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader went away (`| head`): not an error, and flushing again at exit would raise once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        if isinstance(error, RuntimeError) and (cause := _explain(error)) is not None:
            _report(cause.brief())
            raise SystemExit(2) from None
        if isinstance(error, OSError) and error.errno in _SURROUNDINGS:
            where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else 'the disk'
            cure = 'choose another place or free space'
            if error.filename is None and _is_full('/dev/shm'):  # Locks between processes lie there.
                where, cure = '/dev/shm', 'start the container with --shm-size=8g or --ipc=host'
            _report(InputError(where, f'cannot be used ({error.strerror})', cure).brief())
            raise SystemExit(2) from None
        if isinstance(error, ImportError) and not str(error.name).startswith('mmcell'):
            reason = ' '.join(str(error).split())[:200]
            _report(f'a package is missing or broken: {reason}; tools/doctor.py says which, and how to fix it')
            raise SystemExit(2) from None
        if _is_lost_connection(error):
            _report(LOST)
        elif 'TORCHELASTIC_ERROR_FILE' in os.environ:
            details = {'py_callstack': traceback.format_exc(), 'timestamp': str(int(time.time()))}
            _leave({'message': f'{type(error).__name__}: {error}', 'extraInfo': details})
        else:
            raise
        raise SystemExit(1) from None
    raise SystemExit(0)


@contextmanager
def _stopped_by_exception() -> Iterator[None]:
    """Have SIGTERM end this process as Ctrl-C does, with a line and nothing half-written; a second one ends it at once.

    Processes of torchrun are left as they are: it stops them by this signal, and looks for it.

    Raises:
        Interrupted: Within.
    """
    if 'TORCHELASTIC_ERROR_FILE' in os.environ or threading.current_thread() is not threading.main_thread():
        yield
        return
    parent = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != parent:  # a process that loads data
            signal.raise_signal(number)
        raise Interrupted(number, 'error: stopped by SIGTERM')

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_full(folder: str) -> bool:
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False


def _explain(error: RuntimeError) -> InputError | None:
    """What the data workers say about it, if there are any."""
    notes = sys.modules.get('mmcell.datasets.worker_notes')
    return None if notes is None else notes.explain(error)


def _is_lost_connection(error: Exception) -> bool:
    """Whether torch says that another process is gone. Of gloo's errors it does not: they are plain RuntimeErrors."""
    distributed = sys.modules.get('torch.distributed')
    return distributed is not None and isinstance(error, getattr(distributed, 'DistError', ()))


#: A tool, as messages name it.
_TOOL = re.compile(r'(?<![\w./-])(?:python )?tools/(\w+)\.py\b')


def as_called(text: str) -> str:
    """A text in which `python tools/infer.py` is `mmcell infer` if this tool was called so."""
    if not Path(sys.argv[0]).name.startswith('mmcell '):
        return text
    folder = Path(__file__).parents[1] / '.mim/tools'
    return _TOOL.sub(lambda tool: f'mmcell {tool[1]}' if (folder / f'{tool[1]}.py').exists() else tool[0], text)


def _report(message: str) -> None:
    """Print an error, one line or several; processes of torchrun leave it to that, or each would print it."""
    message = as_called(message)
    if 'TORCHELASTIC_ERROR_FILE' in os.environ:
        _leave(message)
        return
    for line in message.splitlines():
        # Names of files may hold what a terminal obeys.
        print('error:', ''.join(each if each.isprintable() else ascii(each)[1:-1] for each in line), file=sys.stderr)


def _leave(message: str | dict[str, Any]) -> None:
    """Leave an error for torchrun, in the file and the form in which it looks for one."""
    now = time.time()
    content = {'message': message, 'timestamp': int(now), 'time': now}
    Path(os.environ['TORCHELASTIC_ERROR_FILE']).write_text(json.dumps(content))
