"""Train, test and compare several configs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmcell.cli.command import Parser, add_base_argument, add_verbose_argument, run
from mmcell.cli.values import any_path, key_value, seed, whole
from mmcell.errors import raise_all


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Train and test each config in D/<its name>, then write D/ablation.md, D/ablation.csv and curves. Finished '
        'work is not repeated, and interrupted training continues.',
        'python tools/ablate.py configs/cell/mask_rcnn.py configs/cell/mask_rcnn_cbam.py --work-dir work_dirs/cbam',
    )
    parser.add_argument(
        'configs', nargs='+', type=any_path, metavar='CONFIG', help='config file; the first is the baseline'
    )
    what = 'use this config as the base of every CONFIG but itself'
    add_base_argument(parser, help=what)
    parser.add_argument(
        '--work-dir',
        type=any_path,
        metavar='D',
        help='parent of the runs (default: work_dirs/ablation[-over-BASE])',
    )
    parser.add_argument(
        '--seeds', nargs='+', type=seed, default=(), metavar='N', help='train each config with each seed'
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument('--fold', type=whole(0), metavar='K', help='train and validate on fold K alone')
    choice.add_argument(
        '--folds',
        action='store_true',
        help='train each config on each fold of tools/convert.py --folds K, and also score all folds as one set',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        type=key_value,
        default=(),
        metavar='KEY=VALUE',
        help='override settings in every config',
    )
    parser.add_argument('--dry-run', action='store_true', help='only print what is done and what is left to do')
    add_verbose_argument(parser)
    args = parser.parse_args(argv)

    # Imported here: --help and bad arguments answer without torch.
    from mmcell.ablation import runs
    from mmcell.ablation.table import compare
    from mmcell.config import base_name
    from mmcell.io.files import check_writable

    work_dir = args.work_dir or 'work_dirs/ablation' + (f'-over-{base_name(args.base)}' if args.base else '')
    folds = args.folds if args.fold is None else (args.fold,)
    check_writable(work_dir)
    experiments = runs.list_experiments(args.configs, work_dir, args.seeds, args.cfg_options, folds, args.base)
    for experiment in experiments:
        print(runs.describe(experiment, runs.find_progress(experiment)), flush=True)
    if args.dry_run:
        return
    errors = runs.run_experiments(experiments, work_dir, Path(__file__).parent, args.verbose)
    for path in compare(experiments, work_dir):
        print(f'wrote {path}')
    raise_all(errors)


if __name__ == '__main__':
    run(main)
