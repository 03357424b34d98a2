"""Compare two configs."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, add_base_argument, add_fold_argument, run
from mmcell.cli.values import any_path


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Print how two configs differ, one setting per line.',
        'python tools/diff.py configs/cell/mask_rcnn.py configs/cell/mask_rcnn_cbam.py',
    )
    parser.add_argument('old', type=any_path, metavar='CONFIG_A', help='config to start from')
    parser.add_argument('new', type=any_path, metavar='CONFIG_B', help='config to compare with it')
    what = 'use this config as the base of both, except of itself; given twice: the bases of CONFIG_A and of CONFIG_B'
    add_base_argument(parser, action='append', default=[], help=what)
    add_fold_argument(parser)
    args = parser.parse_args(argv)
    if len(args.base) > 2:
        parser.error('--base is for CONFIG_A and CONFIG_B: give it twice at most')

    from mmcell.config import diff_bases, diff_configs, load_config, over_or_itself

    bases = args.base * 2 if len(args.base) == 1 else args.base or [None, None]
    old, new = (
        load_config(path, base=over_or_itself(path, base), fold=args.fold)
        for path, base in zip((args.old, args.new), bases)
    )
    for line in [*diff_bases(old, new), *diff_configs(old, new)]:
        print(line)


if __name__ == '__main__':
    run(main)
