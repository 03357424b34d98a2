"""Find the cells in any images."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, add_base_argument, run, score
from mmcell.errors import raise_all


def main(argv: Sequence[str] | None = None) -> None:
    # Imported here, as in mmcell.cli.command: only tools that run models need it.
    from mmengine.config import DictAction

    parser = Parser(
        'Find the cells in any images: DIR/results.json, images.json, counts.csv, cells.parquet and overlays/*.png. '
        'An image that cannot be read is named on standard error; the others are done, and the exit status is 2. '
        'However it ends, the same command goes on from there.',
        'python tools/infer.py configs/cell/mask_rcnn.py work_dirs/mask_rcnn/epoch_60.pth slides/ --out build/cells',
    )
    parser.add_argument('config', metavar='CONFIG', help='config file')
    add_base_argument(parser)
    parser.add_argument('checkpoint', metavar='CKPT', help='checkpoint file')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='TIFF, PNG or JPEG, or a folder that holds some')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to write to')
    parser.add_argument(
        '--score-thr', type=score, help='lowest score to count and draw (default: what val found, else 0.5)'
    )
    parser.add_argument(
        '--channel-order',
        choices=['rgb', 'bgr'],
        default='rgb',
        help='order of the colours in the files (default: rgb)',
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1 … (default: an accelerator if there is one)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override settings of the config'
    )
    args = parser.parse_args(argv)

    # Imported here: --help and bad arguments answer without torch.
    from mmcell.config import load_config
    from mmcell.engine.inference import infer

    lines, errors = infer(
        load_config(args.config, args.cfg_options, args.base),
        args.checkpoint,
        args.images,
        args.out,
        score_thr=args.score_thr,
        channel_order=args.channel_order,
        device=args.device,
    )
    print('\n'.join(lines))
    raise_all(errors)


if __name__ == '__main__':
    run(main)
