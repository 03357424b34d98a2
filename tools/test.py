"""Test a model: the metrics, or a submission."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, add_run_arguments, run
from mmcell.cli.values import any_path, score


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Score a model on the val images, or with --format-only write its predictions on the test images as '
        'test-results.json and test-results.zip, validated.',
        'python tools/test.py configs/cell/mask_rcnn.py work_dirs/mask_rcnn/epoch_60.pth --format-only --out build/out',
    )
    add_run_arguments(parser)
    parser.add_argument('checkpoint', type=any_path, metavar='CKPT', help='checkpoint file')
    parser.add_argument(
        '--out',
        type=any_path,
        metavar='DIR',
        help='folder to write to (default: work_dirs/CONFIG[-over-BASE][-foldK]/test)',
    )
    parser.add_argument('--format-only', action='store_true', help='write a submission; no annotations are needed')
    parser.add_argument(
        '--split', choices=['val', 'test'], help='images to predict on (default: test with --format-only, else val)'
    )
    parser.add_argument('--show-dir', type=any_path, metavar='DIR', help='also draw the predictions on the images')
    parser.add_argument('--score-thr', type=score, help='lowest score to draw (default: that of the model, else 0.5)')
    args = parser.parse_args(argv)

    # Imported here: --help and bad arguments answer without torch.
    from mmcell.compat.messages import shorten_terminal
    from mmcell.engine import launch, testing
    from mmcell.preflight.run import check_testing

    shorten_terminal(not args.verbose)
    for line in testing.test(
        launch.config_from(args),
        args.checkpoint,
        out=args.out,
        format_only=args.format_only,
        split=args.split or ('test' if args.format_only else 'val'),
        show_dir=args.show_dir,
        score_thr=args.score_thr,
        check=None if args.skip_checks else check_testing,
        verbose=args.verbose,
    ):
        print(line)


if __name__ == '__main__':
    run(main)
