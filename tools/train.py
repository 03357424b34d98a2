"""Train a model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from mmcell.cli.command import Parser, add_run_arguments, run
from mmcell.cli.values import any_path


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Train a model; checkpoints, logs and TensorBoard curves go to the work folder.',
        'python tools/train.py configs/cell/mask_rcnn_cbam.py --cfg-options train_cfg.max_epochs=20',
    )
    add_run_arguments(parser)
    parser.add_argument(
        '--work-dir',
        type=any_path,
        metavar='D',
        help='folder for the run (default: work_dirs/CONFIG[-over-BASE][-foldK])',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        type=any_path,
        const='auto',
        metavar='CKPT',
        help='resume from a checkpoint, or from the latest one',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in mixed precision (needs an accelerator, or a CPU with AVX512-BF16 or AMX)',
    )
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the global batch size'
    )
    args = parser.parse_args(argv)

    # Imported here: --help and bad arguments answer without torch.
    from mmcell.compat.messages import shorten_terminal
    from mmcell.config import blame
    from mmcell.engine import launch
    from mmcell.engine.hooks.interruption import interruptible
    from mmcell.engine.hooks.progress import progress

    shorten_terminal(not args.verbose)
    config = launch.config_from(args)
    with blame(config, 'cannot be run'):
        config.work_dir = launch.choose_work_dir(config, args)
        notes = [*launch.choose_checkpoint(config, args.resume), launch.choose_precision(config, args.amp)]
    if not args.skip_checks:
        from mmcell.preflight.run import check_training

        check_training(config)
    if args.auto_scale_lr:
        launch.scale_learning_rate(config)
    for note in filter(None, notes):
        print(note)
    with launch.sole(config, 'training'):
        runner = launch.build_runner(config, 'train_loop', 'val_loop')
        with interruptible(runner, sys.argv[1:] if argv is None else argv), progress(runner, not args.verbose) as shown:
            runner.train()
        for line in shown.summarise(runner, partial(launch.suggest_test, args)):
            print(line)


if __name__ == '__main__':
    run(main)
