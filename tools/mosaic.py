"""Lay annotated images together into large ones."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, run
from mmcell.cli.values import any_path, pattern, seed, whole


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Lay images of the class_tiff layout side by side into large, dense ones, in the same layout.',
        'python tools/mosaic.py path/to/data --out build/mosaic --size 2000 --images 2 --match slide07',
    )
    parser.add_argument(
        'source', type=any_path, metavar='SRC', help='folder that holds train/<name>/{image,class*}.tif'
    )
    parser.add_argument('--out', required=True, type=any_path, metavar='DIR', help='folder to make')
    parser.add_argument(
        '--size', type=whole(1, 2**15), default=2000, metavar='PX', help='height and width (default: 2000)'
    )
    parser.add_argument('--images', type=whole(1), default=1, metavar='N', help='how many (default: 1)')
    parser.add_argument('--seed', type=seed, default=0, help='of the order (default: 0)')
    parser.add_argument('--match', type=pattern, default='', metavar='REGEX', help='only images whose name matches')
    args = parser.parse_args(argv)

    # Imported here: --help and bad arguments answer at once.
    from mmcell.synthetic.mosaic import write_mosaics

    counts = write_mosaics(args.source, args.out, args.size, args.images, args.seed, args.match)
    cells = ', '.join(map(str, counts))
    print(f'wrote {len(counts)} images of {args.size} x {args.size} with {cells} cells to {args.out}')


if __name__ == '__main__':
    run(main)
