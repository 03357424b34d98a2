"""Draw synthetic H&E-like tissue with exact masks, in the `class_tiff` layout."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, run
from mmcell.cli.values import any_path, seed, whole
from mmcell.synthetic import write_class_tiff


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Draw H&E-like tissue with four classes of cells, for `convert.py class_tiff`. The same '
        'arguments give the same bytes.',
        'python tools/synthesize.py --out build/synthetic --images 30 --size 256 256 --cells 45 --seed 0',
    )
    parser.add_argument('--out', required=True, type=any_path, help='folder to make')
    parser.add_argument('--images', type=whole(1), default=30, help='images with masks (default: %(default)s)')
    parser.add_argument('--test-images', type=whole(0), help='images without masks (default: a fifth of --images)')
    parser.add_argument(
        '--size',
        type=whole(64, 2**15),
        nargs=2,
        default=(256, 256),
        metavar=('H', 'W'),
        help='in pixels (default: 256 256)',
    )
    parser.add_argument(
        '--cells', type=whole(1), default=45, help='cells in each image, where they fit (default: %(default)s)'
    )
    parser.add_argument('--seed', type=seed, default=0, help='default: %(default)s')
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier set')
    args = parser.parse_args(argv)

    num_test_images = -(-args.images // 5) if args.test_images is None else args.test_images
    totals = write_class_tiff(
        args.out, args.images, tuple(args.size), args.cells, args.seed, num_test_images, args.overwrite
    )
    per_class = ' / '.join(str(count) for count in totals)
    print(
        f'{args.out}: {args.images} images with {per_class} cells of class 1 / 2 / 3 / 4, {num_test_images} test images'
    )


if __name__ == '__main__':
    run(main)
