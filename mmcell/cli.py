"""What every command-line tool shares: one-line errors, exit statuses, a parser that shows an example."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from mmcell.errors import InputError, InputErrors


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
        print(f'error: {message}; see {self.prog} --help', file=sys.stderr)
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

    0 on success, 2 on bad input (one line per error on standard error), 130 on Ctrl-C. Anything else is our bug and
    keeps its traceback.
    """
    try:
        main(argv)
        sys.stdout.flush()
    except (InputError, InputErrors) as error:
        for line in str(error).splitlines():
            print(f'error: {line}', file=sys.stderr)
        raise SystemExit(2) from None
    except RuntimeError as error:
        # torch hands an error of a worker process on as the text of its traceback.
        _, found, message = str(error).rpartition('mmcell.errors.InputError: ')
        if not found:
            raise
        print(f'error: {message.splitlines()[0]}', file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print('error: interrupted', file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader went away (`| head`): not an error, and flushing again at exit would raise once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    raise SystemExit(0)
