"""torchrun with errors of one line: `python -m mmcell.cli.torchrun` takes torchrun's arguments.

torchrun answers any failure of a process with a traceback of its own and a table; an error that all processes run into
then fills a screen. Processes are started and watched by torchrun itself; only what is said about a failure is ours.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmcell.cli.command import LOST

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure


def main(argv: Sequence[str] | None = None) -> int:
    """Run torchrun.

    Args:
        argv: Arguments of torchrun; None takes those of this process.

    Returns:
        0, or the exit status of the process that failed first; 128 + n for a signal n, as in a shell.
    """
    logging.disable(logging.ERROR)  # torchrun's own messages, not those of the processes
    for library in ('OMP', 'MKL'):
        os.environ.setdefault(f'{library}_NUM_THREADS', '1')  # the default of torchrun and mmengine, who warn of it
    from torch.distributed import DistNetworkError, run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.run(run.parse_args(argv))
    except ChildFailedError as error:
        lines, status = describe_failure(error)
    except SignalException as error:
        lines, status = [f'stopped by {error.sigval.name}'], 128 + error.sigval
    except DistNetworkError as error:
        cure = 'check MASTER_ADDR, or choose another PORT'
        lines, status = [f'the processes cannot connect ({str(error).splitlines()[0]}); {cure}'], 2
    else:
        return 0
    for line in lines:
        print(f'error: {line}', file=sys.stderr)
    return status


def describe_failure(error: ChildFailedError) -> tuple[list[str], int]:
    """What to print about processes of this machine that failed, and the exit status.

    Bad input is the cause if a process names some, else that a process was killed, else what failed first: an error is
    left in a file before its process ends, and the others notice that end within milliseconds. Processes that lost
    their connection to another one, or that torchrun stopped thereafter, count only where there is nothing else.
    """

    def order(item: tuple[int, ProcessFailure]) -> tuple[int, float, int]:
        rank, failure = item
        message = _message(failure)
        if message == LOST or (message is None and failure.exitcode == -signal.SIGTERM):
            kind = 3
        elif isinstance(message, str):
            kind = 0
        else:
            kind = 1 if message is None and failure.exitcode < 0 else 2
        # torchrun itself counts whole seconds.
        return kind, failure.error_file_data.get('time', failure.timestamp), rank

    rank, failure = min(error.failures.items(), key=order)
    message = _message(failure)
    status = failure.exitcode
    where = f'rank {rank} (local rank {failure.local_rank} on {socket.gethostname()})'
    if message == LOST:
        return [f'{where} {LOST}; look for the error of that process on the other machines'], 1
    if isinstance(message, str):
        return message.splitlines(), max(status, 2)  # torchrun may have stopped it on its way out
    if message is not None:
        print(message['extraInfo']['py_callstack'], end='', file=sys.stderr)
        status = max(status, 1)
    if status < 0:
        name = failure.signal_name()
        return [f'{where} was killed by {name} (exitcode {status}); the others were stopped'], 128 - status
    return [f'{where} failed with exit status {status}, see above; the others were stopped'], status


def _message(failure: ProcessFailure) -> str | dict | None:
    """What the process left for us by :func:`mmcell.cli.command.run`: a line or more, or a traceback in a dict."""
    message = failure.error_file_data['message']
    return message if message != '<NONE>' else None


if __name__ == '__main__':
    raise SystemExit(main())
