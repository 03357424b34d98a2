"""Fuse the results of several models, folds or scales."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, run
from mmcell.cli.values import any_path, number, score, whole


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Fuse results of the same images into one file: predictions that agree become one, whose score says how many '
        'agree. Writes DIR/results.json, or with --format-only a validated submission.',
        'python tools/fuse.py fold0/test-results.json fold1/test-results.json '
        '--images data/cell/annotations/test.json --format-only --out build/fused',
    )
    parser.add_argument(
        'results', nargs='+', type=any_path, metavar='RESULTS', help='results json, as tools/test.py writes it'
    )
    parser.add_argument('--out', required=True, type=any_path, metavar='DIR', help='folder to write to')
    parser.add_argument(
        '--images',
        type=any_path,
        metavar='JSON',
        help='COCO json of the images, to check the results against; needs no annotations',
    )
    parser.add_argument(
        '--format-only',
        action='store_true',
        help='write DIR/test-results.json and DIR/test-results.zip, validated; needs --images',
    )
    parser.add_argument(
        '--method',
        choices=['wbf', 'nms'],
        default='wbf',
        help='average predictions that agree (weighted boxes fusion), or keep the best of them (default: %(default)s)',
    )
    parser.add_argument(
        '--iou-thr',
        type=number(0, 1, above=True),
        default=0.55,
        help='least IoU of two masks that are one cell (default: %(default)s)',
    )
    parser.add_argument(
        '--weights',
        type=number(0, above=True),
        nargs='+',
        metavar='W',
        help='weight of each file (default: all equal)',
    )
    parser.add_argument('--score-thr', type=score, default=0.0, help='lowest score to write (default: %(default)s)')
    parser.add_argument(
        '--max-per-img', type=whole(1), metavar='N', help='write the best N of each image (default: all)'
    )
    args = parser.parse_args(argv)
    if args.format_only and not args.images:
        parser.error('--format-only needs --images')
    if args.weights and len(args.weights) != len(args.results):
        parser.error(f'--weights needs one number for each of {len(args.results)} files, not {len(args.weights)}')

    # Imported here: --help and bad arguments answer at once.
    from mmcell.coco.fuse import fuse_files

    for path in fuse_files(
        args.results,
        args.out,
        images_json=args.images,
        submission=args.format_only,
        weights=args.weights,
        iou_thr=args.iou_thr,
        method=args.method,
        score_thr=args.score_thr,
        max_per_img=args.max_per_img,
    ):
        print(f'wrote {path}')


if __name__ == '__main__':
    run(main)
