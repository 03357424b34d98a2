"""Where the time of a training step or a prediction goes: the operators that take most of it.

    python -m benchmarks.profile train --cells 1000
    python -m benchmarks.profile infer --cells 1000 --config configs/small/mask_rcnn_aug_lite.py

Ours alone, one thread, on a drawn image that is seen at 800 x 800 px; a second run is profiled. Shares are those of the
time that an operator itself takes, backward ones included.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmcell.cli.command import Parser, run


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = Parser(__doc__, 'python -m benchmarks.profile train --cells 1000')
    parser.add_argument('subject', choices=['train', 'infer'])
    parser.add_argument('--cells', type=int, default=1000, help='cells in the image (default: %(default)s)')
    parser.add_argument('--side', type=int, default=1024, help='side of the image (default: %(default)s)')
    parser.add_argument('--config', type=Path, help='whose model (default: configs/cell/mask_rcnn.py)')
    parser.add_argument('--base', type=Path, metavar='CONFIG', help='put --config over this one')
    parser.add_argument('--rows', type=int, default=10, help='operators to show (default: %(default)s)')
    args = parser.parse_args(argv)

    # Imported here: --help and bad arguments answer without torch.
    import torch
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.infer import Infer, drawn_inputs
    from benchmarks.measure import OURS
    from benchmarks.train import Train

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix='mmcell-') as scratch:
        inputs = drawn_inputs(Path(scratch) / 'data', args.cells, args.side)
        inputs |= {'config': args.config, 'base': args.base}
        task = (Train if args.subject == 'train' else Infer)(inputs, OURS)
        task.run()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            task.run()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print(f'{total / 1e6:.2f} s\n\n| operator | calls | ms | % |\n| --- | ---: | ---: | ---: |')
    for event in events[: args.rows]:
        took = event.self_cpu_time_total
        print(f'| `{event.key}` | {event.count} | {took / 1e3:.0f} | {100 * took / total:.1f} |')


if __name__ == '__main__':
    run(main)
