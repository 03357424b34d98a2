"""Compare two configs."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, run


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Say how two configs differ, one setting a line.',
        'python tools/diff.py configs/cell/mask_rcnn.py configs/cell/mask_rcnn_cbam.py',
    )
    parser.add_argument('old', metavar='CONFIG_A', help='config to start from')
    parser.add_argument('new', metavar='CONFIG_B', help='config to compare with it')
    args = parser.parse_args(argv)

    from mmcell.config import diff_configs, load_config

    for line in diff_configs(load_config(args.old), load_config(args.new)):
        print(line)


if __name__ == '__main__':
    run(main)
