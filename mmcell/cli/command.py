"""What every command-line tool shares: one-line errors, exit statuses, a parser that shows an example."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mmcell.errors import InputError, InputErrors, Interrupted

#: What a process of several says when another one has gone; mmcell.cli.torchrun then looks for that one's error.
LOST = 'lost the connection to another process'


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help ends with an example.

    Args:
        description: What the tool does, one sentence.
        example: A command line that works when typed from the repository root; `mmcell infer --help` shows it in that
            form.
        commands: What else can be typed, and what each of it does, for the help.
    """

    def __init__(self, description: str, example: str, commands: Mapping[str, str] | None = None) -> None:
        if Path(sys.argv[0]).name.startswith('mmcell '):
            example = re.sub(r'python tools/(\w+)\.py', r'mmcell \1', example)
        listed = ''.join(f'  {name:14}{what}\n' for name, what in (commands or {}).items())
        super().__init__(
            description=description,
            epilog=(f'tools:\n{listed}\n' if listed else '') + f'example:\n  {example}',
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2; argparse prints the whole usage first."""
        _report(f'{message}; see {self.prog} --help')
        raise SystemExit(2)


def score(text: str) -> float:
    """A score given as an argument, from 0 to 1; for `type=` of :meth:`Parser.add_argument`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:  # Written so that NaN is refused, too.
        raise argparse.ArgumentTypeError(f'{text[:40]!r} is not a number from 0 to 1')
    return value


def mpp(text: str) -> float:
    """Microns per pixel given as an argument; for `type=` of :meth:`Parser.add_argument`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.01 <= value <= 10:  # Written so that NaN is refused, too.
        raise argparse.ArgumentTypeError(f'{text[:40]!r} is not a number of microns from 0.01 to 10')
    return value


def add_base_argument(parser: Parser, **more: Any) -> None:
    """Add `--base`."""
    what = 'put CONFIG, an ablation, over this config instead of the one that it is over'
    parser.add_argument('--base', metavar='CONFIG', **{'help': what, **more})


def add_fold_argument(parser: Parser) -> None:
    """Add `--fold`."""
    what = 'train and validate on fold K of tools/convert.py --folds, from 0'
    parser.add_argument('--fold', type=int, metavar='K', help=what)


def add_verbose_argument(parser: Parser) -> None:
    """Add `--verbose`."""
    what = "show MMEngine's whole log, which otherwise goes to the work folder alone"
    parser.add_argument('--verbose', action='store_true', help=what)


def add_run_arguments(parser: Parser) -> None:
    """Add the arguments that MMDetection's own tools have too, and those that choose a base and a fold."""
    # Imported here: most tools have no use for it.
    from mmengine.config import DictAction

    class Options(DictAction):
        def __call__(self, parser: Parser, namespace: argparse.Namespace, values: list[str], *rest: object) -> None:
            if bad := [value for value in values if '=' not in value]:
                parser.error(f'argument --cfg-options: {bad[0]!r} is not KEY=VALUE')
            super().__call__(parser, namespace, values, *rest)

    parser.add_argument('config', metavar='CONFIG', help='config file')
    add_base_argument(parser)
    add_fold_argument(parser)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='override settings, for instance train_cfg.max_epochs=2 model.backbone.depth=101',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher (default: none)'
    )
    parser.add_argument(
        '--skip-checks', action='store_true', help='do not check that data, config and checkpoint fit together first'
    )
    add_verbose_argument(parser)
    # torch.distributed.launch passes the rank as an argument, torchrun as a variable.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by the launcher')


def run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a tool's `main` and turn its outcome into an exit status.

    0 on success, 2 on bad input (one line per error on standard error), 130 on Ctrl-C, 143
    for a training that was asked to end by SIGTERM. Anything else is our bug and
    keeps its traceback; processes of torchrun leave that to it, which prints the first alone.
    """
    try:
        main(argv)
        sys.stdout.flush()
    except (InputError, InputErrors) as error:
        _report(str(error))
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
            _report(str(cause))
            raise SystemExit(2) from None
        if isinstance(error, ImportError) and not str(error.name).startswith('mmcell'):
            reason = ' '.join(str(error).split())[:200]
            _report(f'a package is missing or broken: {reason}; tools/doctor.py says which, and how to cure it')
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


def _explain(error: RuntimeError) -> InputError | None:
    """What the data workers say about it, if there are any."""
    notes = sys.modules.get('mmcell.datasets.worker_notes')
    return None if notes is None else notes.explain(error)


def _is_lost_connection(error: Exception) -> bool:
    """Whether torch says that another process is gone. Of gloo's errors it does not: they are plain RuntimeErrors."""
    distributed = sys.modules.get('torch.distributed')
    return distributed is not None and isinstance(error, getattr(distributed, 'DistError', ()))


def _report(message: str) -> None:
    """Print an error, one line or several; processes of torchrun leave it to that, or each would print it."""
    if 'TORCHELASTIC_ERROR_FILE' in os.environ:
        _leave(message)
        return
    for line in message.splitlines():
        print(f'error: {line}', file=sys.stderr)


def _leave(message: str | dict[str, Any]) -> None:
    """Leave an error for torchrun, in the file and the form in which it looks for one."""
    now = time.time()
    content = {'message': message, 'timestamp': int(now), 'time': now}
    Path(os.environ['TORCHELASTIC_ERROR_FILE']).write_text(json.dumps(content))
