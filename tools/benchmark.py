"""Measure ours beside stock MMDetection."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmcell.cli.command import Parser, run

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ stands beside tools/, in no package

_ONLY = {
    'source': ('convert',),
    'images': ('convert', 'eval'),
    'config': ('train',),
    'steps': ('train',),
    'checkpoint': ('train',),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Measure time and peak memory of ours beside stock MMDetection, in one run.',
        'python tools/benchmark.py load --cells 250 1000 --sides 1024',
    )
    parser.add_argument('subject', choices=['convert', 'load', 'assign', 'targets', 'paste', 'eval', 'train'])
    parser.add_argument(
        '--cells', type=int, nargs='+', default=[100, 250, 500, 1000, 2000, 4000], metavar='N', help='cells in an image'
    )
    parser.add_argument(
        '--sides', type=int, nargs='+', default=[512, 1024, 2048], metavar='PX', help='side of an image'
    )
    parser.add_argument('--repeats', type=int, default=3, help='turns of each side (default: %(default)s)')
    parser.add_argument('--limit-s', type=float, help='skip stock where a run takes longer (default: 30; train: 3600)')
    parser.add_argument(
        '--limit-gb', type=float, default=8, help='skip stock where it takes more memory (default: %(default)s)'
    )
    parser.add_argument('--source', type=Path, help='convert: a folder in the class_tiff layout instead of drawn cells')
    parser.add_argument('--images', type=int, help='convert: first N images of --source; eval: N images (default: 4)')
    parser.add_argument(
        '--config', type=Path, help='train: config (default: configs/demo/mask_rcnn_synthetic.py); data: MMCELL_DATA'
    )
    parser.add_argument('--steps', type=int, help='train: N steps and N validation images instead of an epoch')
    parser.add_argument('--checkpoint', type=Path, help='train: weights to start from')
    parser.add_argument(
        '--write',
        nargs='?',
        type=Path,
        const=Path('docs/performance.md'),
        metavar='FILE',
        help='put the table into FILE (default: docs/performance.md)',
    )
    args = parser.parse_args(argv)
    for name, subjects in _ONLY.items():
        if getattr(args, name) is not None and args.subject not in subjects:
            parser.error(f'--{name} is for {" and ".join(subjects)} only')
    numbers = [*args.cells, *args.sides, args.repeats, args.images, args.steps, args.limit_s, args.limit_gb]
    if min(number for number in numbers if number is not None) <= 0:
        parser.error('numbers must be greater than 0')

    # Imported here: --help and bad arguments answer without torch.
    from benchmarks import Limits, Options, compare

    with tempfile.TemporaryDirectory(prefix='mmcell-') as scratch:
        options = Options(
            args.cells,
            args.sides,
            Path(scratch),
            source=args.source,
            images=args.images,
            config=args.config or Path('configs/demo/mask_rcnn_synthetic.py'),
            steps=args.steps,
            checkpoint=args.checkpoint,
        )
        limits = Limits(args.limit_s, 1000 * args.limit_gb)
        report = compare(args.subject, options, args.repeats, limits, _command(args.subject, argv))
    report.show()
    if args.write:
        report.write(args.write)
        print(f'wrote {args.write}')


def _command(subject: str, argv: Sequence[str] | None) -> str:
    """The command line to repeat this with."""
    command = shlex.join(['python', 'tools/benchmark.py', *(sys.argv[1:] if argv is None else argv)])
    data = os.environ.get('MMCELL_DATA')
    return f'MMCELL_DATA={shlex.quote(data)} {command}' if subject == 'train' and data else command


if __name__ == '__main__':
    run(main)
