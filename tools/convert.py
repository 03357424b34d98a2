"""Convert a data set to COCO json."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, run
from mmcell.cli.values import any_path, mpp, number, pattern, seed, whole
from mmcell.converters.base import find_layout, layout_names
from mmcell.converters.convert import convert
from mmcell.converters.summary import summarise


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Convert a data set to DST/annotations/{train,val,trainval,test}.json and the link DST/images, with --folds '
        'also fold0_train.json, fold0_val.json and so on; nothing is written unless all of it is valid.',
        'python tools/convert.py class_tiff path/to/data --out data/cell',
    )
    parser.add_argument(
        'layout',
        metavar='LAYOUT',
        help=f'layout of the source: {", ".join(layout_names())}; or package.module.Class of your own',
    )
    parser.add_argument('source', type=any_path, metavar='SRC', help='folder of the data set')
    parser.add_argument('--out', required=True, type=any_path, metavar='DST', help='folder to write to')
    parser.add_argument('--val-ratio', type=number(0, 1), default=0.2, help='share of images for val (default: 0.2)')
    parser.add_argument('--seed', type=seed, default=42, help='seed of the split (default: 42)')
    parser.add_argument(
        '--group-by',
        type=pattern,
        metavar='REGEX',
        help='keep images whose names agree in this on one side (default: none; the patient for monusac_xml)',
    )
    parser.add_argument(
        '--folds',
        type=whole(2),
        metavar='K',
        help='also split all annotated images into K folds; --fold of train.py and test.py chooses one',
    )
    parser.add_argument('--classes', nargs='+', default=(), metavar='NAME', help='names of the classes, in order')
    parser.add_argument(
        '--channel-order', choices=['rgb', 'bgr'], default='rgb', help='order of the colors in the image files'
    )
    parser.add_argument(
        '--mpp', type=mpp, metavar='MICRONS', help='microns per pixel of the images: 0.25 at 40x, 0.5 at 20x'
    )
    parser.add_argument('--workers', type=whole(1, 1024), help='processes (default: one per core)')
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier conversion')
    args = parser.parse_args(argv)

    conversion = convert(
        find_layout(args.layout)(args.source, args.classes),
        args.out,
        val_ratio=args.val_ratio,
        seed=args.seed,
        group_by=args.group_by,
        folds=args.folds,
        workers=args.workers,
        channel_order=args.channel_order,
        mpp=args.mpp,
        overwrite=args.overwrite,
    )
    print(summarise(conversion, args.channel_order))


if __name__ == '__main__':
    run(main)
