"""What every command-line tool shares: one-line errors, exit statuses, a parser that shows an example."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from mmcell.errors import InputError, InputErrors, Interrupted

#: What a process of several says when another one has gone; mmcell.cli.torchrun then looks for that one's error.
LOST = 'lost the connection to another process'
#: How gloo and NCCL say that.
_LOST = re.compile('closed by peer|reset by peer|Broken pipe|remote process exited')


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help ends with an example.

    Args:
        description: What the tool does, one sentence.
        example: A command line that works when typed from the repository root.
    """

    def __init__(self, description: str, example: str) -> None:
        super().__init__(
            description=description,
            epilog=f'example:\n  {example}',
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2; stock prints the whole usage first."""
        _report(f'{message}; see {self.prog} --help')
        raise SystemExit(2)


def add_run_arguments(parser: Parser) -> None:
    """Add the arguments that MMDetection's own tools have too."""
    # Imported here: most tools have no use for it.
    from mmengine.config import DictAction

    class Options(DictAction):
        def __call__(self, parser: Parser, namespace: argparse.Namespace, values: list[str], *rest: object) -> None:
            if bad := [value for value in values if '=' not in value]:
                parser.error(f'argument --cfg-options: {bad[0]!r} is not KEY=VALUE')
            super().__call__(parser, namespace, values, *rest)

    parser.add_argument('config', metavar='CONFIG', help='config file')
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
    # torch.distributed.launch passes the rank as an argument, torchrun as a variable.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by the launcher')


def run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a tool's `main` and turn its outcome into an exit status.

    0 on success, 2 on bad input (one line per error on standard error), 130 on Ctrl-C, 143
    for a training that was asked to end by SIGTERM. Anything else is our bug and
    keeps its traceback.
    """
    try:
        main(argv)
        sys.stdout.flush()
    except (InputError, InputErrors) as error:
        _report(str(error))
        raise SystemExit(2) from None
    except RuntimeError as error:
        # torch hands an error of a worker process on as the text of its traceback.
        _, found, message = str(error).rpartition('mmcell.errors.InputError: ')
        if found:
            _report(message.splitlines()[0])
            raise SystemExit(2) from None
        if 'mmcell.datasets.worker_notes' in sys.modules:
            images = sys.modules['mmcell.datasets.worker_notes'].find_images(str(error))
            if images is not None:
                problem = 'a data worker was killed while it loaded this; '
                cure = 'free memory, or set num_workers=0 in the dataloader of the config to see why'
                _report(f'{", ".join(images) or "data"}: {problem}{cure}')
                raise SystemExit(2) from None
        if _is_one_of_several() and _LOST.search(str(error)):
            _report(LOST)
            raise SystemExit(1) from None
        raise
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
    raise SystemExit(0)


def _is_one_of_several() -> bool:
    return int(os.environ.get('WORLD_SIZE', 1)) > 1


def _report(message: str) -> None:
    """Print an error, one line or several; processes of torchrun leave it to that, or each would print it."""
    if file := os.environ.get('TORCHELASTIC_ERROR_FILE'):
        Path(file).write_text(json.dumps({'message': message, 'timestamp': int(time.time())}))
        return
    for line in message.splitlines():
        print(f'error: {line}', file=sys.stderr)
