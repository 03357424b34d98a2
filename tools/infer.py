"""Find the cells in any images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmcell.cli.command import Parser, add_base_argument, add_launcher_argument, add_options_argument, run
from mmcell.cli.values import any_path, mpp, score, whole
from mmcell.errors import raise_all


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Find the cells in any images: DIR/results.json, images.json, counts.csv, cells.parquet and overlays/*.png. '
        'An image that cannot be read is named on standard error; the others are done, and the exit status is 2. '
        'If it was interrupted, the same command continues from there.',
        'python tools/infer.py --model consep image.png --out build/cells\n'
        '  python tools/infer.py configs/cell/mask_rcnn.py work_dirs/mask_rcnn/epoch_60.pth slides/ --out build/cells',
    )
    parser.add_argument(
        'images',
        nargs='+',
        type=any_path,
        metavar='IMAGE',
        help='image or slide, or a folder that holds some; without --model a config and its checkpoint come first',
    )
    parser.add_argument('--model', metavar='NAME', help='a model that comes with its weights: see docs/models/')
    add_base_argument(parser)
    parser.add_argument('--out', required=True, type=any_path, metavar='DIR', help='folder to write to')
    parser.add_argument(
        '--score-thr', type=score, help='lowest score to count and draw (default: that of the model, else 0.5)'
    )
    parser.add_argument(
        '--channel-order',
        choices=['rgb', 'bgr'],
        default='rgb',
        help='order of the colors in the files (default: rgb)',
    )
    parser.add_argument('--mpp', type=mpp, metavar='MICRONS', help='microns per pixel (default: what the files say)')
    parser.add_argument(
        '--trained-mpp',
        type=mpp,
        metavar='MICRONS',
        help='microns per pixel of the training images (default: what the checkpoint records)',
    )
    parser.add_argument('--level', type=whole(0), help='level of slides to predict on, instead of resampling them')
    parser.add_argument(
        '--roi', type=any_path, metavar='GEOJSON', help='look at these polygons of a slide only, as QuPath exports them'
    )
    parser.add_argument('--everywhere', action='store_true', help='do not leave out the empty glass of slides')
    parser.add_argument('--device', help='cpu, cuda, cuda:1 … (default: an accelerator if there is one)')
    add_launcher_argument(parser)
    add_options_argument(parser, 'override settings of the config')
    parser.usage = '%(prog)s (CONFIG CKPT | --model NAME) IMAGE [IMAGE ...] --out DIR [options]'
    args = parser.parse_intermixed_args(argv)
    if args.model is None and len(args.images) < 3:
        parser.error('the following arguments are required: CONFIG CKPT IMAGE, or --model NAME IMAGE')

    # Imported here: --help and bad arguments answer without torch.
    from mmcell.config import load_config
    from mmcell.engine.inference import infer
    from mmcell.engine.launch import join
    from mmcell.engine.slide_plan import SlideOptions
    from mmcell.io.shipped import find_config

    join(args.launcher, args.local_rank)
    named = args.model is not None
    config, checkpoint, *images = [find_config(args.model), args.model, *args.images] if named else args.images
    lines, errors = infer(
        load_config(config, args.cfg_options, args.base),
        checkpoint,
        images,
        args.out,
        score_thr=args.score_thr,
        channel_order=args.channel_order,
        device=args.device,
        look=SlideOptions(args.mpp, args.trained_mpp, args.level, args.roi and Path(args.roi), args.everywhere),
    )
    if lines:
        print('\n'.join(lines))
    raise_all(errors)


if __name__ == '__main__':
    run(main)
