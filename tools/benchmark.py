"""Measure mmcell beside MMDetection and torchvision."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from mmcell.cli.command import Parser, add_options_argument, run
from mmcell.cli.values import any_path, number, whole
from mmcell.io.files import check_writable

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ stands beside tools/, in no package

_ONLY = {
    'source': ('convert', 'infer', 'model'),
    'images': ('convert', 'eval', 'infer'),
    'config': ('train', 'infer'),
    'base': ('train', 'infer'),
    'cfg_options': ('infer',),
    'checkpoint': ('train', 'infer'),
    'steps': ('train',),
    'amp': ('train',),
    'torchvision': ('train', 'infer', 'model'),
    'model': ('model',),
}
_WITH_CONFIG = ('base', 'cfg_options', 'checkpoint', 'steps', 'amp')


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Measure time and peak memory of mmcell beside MMDetection and torchvision, in one run.',
        'python tools/benchmark.py load --cells 250 1000 --sides 1024',
    )
    subjects = ['convert', 'load', 'assign', 'targets', 'paste', 'eval', 'train', 'infer', 'model']
    parser.add_argument('subject', choices=subjects)
    parser.add_argument(
        '--cells',
        type=whole(1),
        nargs='+',
        default=[100, 250, 500, 1000, 2000, 4000],
        metavar='N',
        help='cells in an image',
    )
    parser.add_argument(
        '--sides', type=whole(1, 2**15), nargs='+', default=[512, 1024, 2048], metavar='PX', help='side of an image'
    )
    parser.add_argument('--repeats', type=whole(1), default=3, help='runs of each side (default: %(default)s)')
    parser.add_argument('--threads', type=whole(1, 1024), default=1, help='threads of each side (default: %(default)s)')
    parser.add_argument(
        '--limit-s',
        type=number(0, above=True),
        help='skip other sides whose run takes longer (default: 30; train, infer: 300 and more)',
    )
    parser.add_argument(
        '--limit-gb',
        type=number(0, above=True),
        default=8,
        help='skip other sides that take more memory (default: %(default)s)',
    )
    parser.add_argument(
        '--source',
        type=_file,
        help='convert: a folder in the class_tiff layout instead of drawn cells; infer, model: a folder of *.tif',
    )
    parser.add_argument(
        '--images', type=whole(1), help='convert, infer: first N images of --source; eval: N images (default: 4)'
    )
    parser.add_argument(
        '--torchvision',
        type=_file,
        metavar='PYTHON',
        help='train, infer, model: Python of an environment with torchvision, pycocotools, tifffile and imagecodecs; '
        'model: beside it MONAI, if it is there',
    )
    parser.add_argument(
        '--config',
        type=_file,
        help='instead of drawn cells: train on what MMCELL_DATA names, infer on the images of --source',
    )
    parser.add_argument('--base', type=_file, metavar='CONFIG', help='put --config over this one')
    add_options_argument(parser, 'infer: override settings of --config')
    parser.add_argument('--checkpoint', type=_file, help='train, infer: weights to start from')
    parser.add_argument('--model', metavar='NAME', help='model: a model that comes with mmcell (default: consep)')
    parser.add_argument('--steps', type=whole(1), help='train: N steps and N validation images instead of an epoch')
    parser.add_argument('--amp', action='store_true', default=None, help='train: ours in bfloat16')
    parser.add_argument(
        '--write',
        nargs='?',
        type=_file,
        const=Path('docs/results/benchmarks.md'),
        metavar='FILE',
        help='put the table into FILE (default: docs/results/benchmarks.md)',
    )
    args = parser.parse_args(argv)
    for name, measured in _ONLY.items():
        if getattr(args, name) is not None and args.subject not in measured:
            parser.error(f'--{name.replace("_", "-")} is for {" and ".join(measured)} only')
        if getattr(args, name) is not None and name in _WITH_CONFIG and args.config is None:
            parser.error(f'--{name.replace("_", "-")} needs --config')
    if args.config is not None and args.torchvision is not None:
        parser.error('--torchvision is for drawn cells, without --config')

    if args.write is not None:
        check_writable(args.write.parent, [args.write.name])

    # Imported here: --help and bad arguments answer without torch.
    from benchmarks.compare import compare
    from benchmarks.measure import Limits, Options

    with tempfile.TemporaryDirectory(prefix='mmcell-') as scratch:
        options = Options(
            args.cells,
            args.sides,
            Path(scratch),
            source=args.source,
            images=args.images,
            config=args.config,
            base=args.base,
            options=args.cfg_options,
            steps=args.steps,
            checkpoint=args.checkpoint,
            amp=bool(args.amp),
            torchvision=args.torchvision,
            model=args.model or 'consep',
        )
        limits = Limits(args.limit_s, 1000 * args.limit_gb)
        report = compare(args.subject, options, args.repeats, limits, _command(args, argv), args.threads)
    report.show()
    if args.write:
        report.write(args.write)
        print(f'wrote {args.write}')


def _file(text: str) -> Path:
    return Path(any_path(text))


def _command(args: Namespace, argv: Sequence[str] | None) -> str:
    """The command line to repeat this with."""
    command = shlex.join(['python', 'tools/benchmark.py', *(sys.argv[1:] if argv is None else argv)])
    data = os.environ.get('MMCELL_DATA')
    return f'MMCELL_DATA={shlex.quote(data)} {command}' if args.subject == 'train' and args.config and data else command


if __name__ == '__main__':
    run(main)
