"""Write one HTML page that shows results."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, run
from mmcell.cli.values import any_path, score, whole


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Write one self-contained HTML page about results: numbers, training curves, and a viewer for the cells.',
        'python tools/report.py work_dirs/mask_rcnn/test/val-results.json --truth data/cell/annotations/val.json '
        '--runs work_dirs/mask_rcnn --out report.html',
    )
    parser.add_argument('results', type=any_path, metavar='RESULTS', help='results json, as tools/test.py writes it')
    parser.add_argument('--truth', type=any_path, metavar='JSON', help='COCO json of the images with annotations')
    parser.add_argument(
        '--images', type=any_path, metavar='JSON', help='COCO json of the images (default: that of --truth)'
    )
    parser.add_argument(
        '--image-root',
        type=any_path,
        metavar='DIR',
        help='folder of the images (default: images/ beside the folder of the json)',
    )
    parser.add_argument(
        '--runs', nargs='+', type=any_path, default=[], metavar='DIR', help='work directories whose curves are shown'
    )
    parser.add_argument(
        '--score-thr', type=score, help='lowest score that is counted (default: that of the model, or 0.5)'
    )
    parser.add_argument('--max-images', type=whole(0), default=20, help='images to show (default: 20, the worst)')
    parser.add_argument('--title', help='heading of the page (default: the path of RESULTS)')
    parser.add_argument('--out', required=True, type=any_path, metavar='HTML', help='page to write')
    args = parser.parse_args(argv)
    if not args.truth and not args.images:
        parser.error('one of --truth and --images is needed')

    # Imported here: --help and bad arguments answer at once.
    from mmcell.coco.threshold import choose_threshold, recorded_threshold
    from mmcell.report.page import write_report

    score_thr, line = choose_threshold(args.score_thr, recorded_threshold(args.results))
    path = write_report(
        args.results,
        args.out,
        truth=args.truth,
        images=args.images,
        image_root=args.image_root,
        runs=args.runs,
        score_thr=score_thr,
        max_images=args.max_images,
        title=args.title or args.results,
    )
    print(line)
    print(f'wrote {path} ({path.stat().st_size / 1e6:.1f} MB)')


if __name__ == '__main__':
    run(main)
