"""Make a trained model one that mmcell comes with."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, add_options_argument, run
from mmcell.cli.values import any_path, mpp, score


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Write the weights of a checkpoint to mmcell/weights/NAME.safetensors, in half precision and without pickle, '
        'with what should be known about them, and their SHA-256 to mmcell/weights/SHA256SUMS.',
        'python tools/publish_model.py work_dirs/consep/epoch_215.pth consep data/cell/annotations/trainval.json '
        '--score-thr 0.6 --mpp 0.25',
    )
    parser.add_argument('checkpoint', type=any_path, metavar='CKPT', help='checkpoint file')
    parser.add_argument('name', metavar='NAME', help='name of the model; its config is configs/models/NAME.py')
    parser.add_argument('annotations', type=any_path, metavar='JSON', help='annotation file that it was trained on')
    parser.add_argument(
        '--score-thr', type=score, help='score from which cells are counted (default: what val found in the training)'
    )
    parser.add_argument(
        '--mpp',
        type=mpp,
        metavar='MICRONS',
        help='microns per pixel of the images that it was trained on (default: what tools/convert.py recorded)',
    )
    add_options_argument(parser, 'other facts about the model', '--facts')
    args = parser.parse_args(argv)

    # Imported here: --help and bad arguments answer without torch.
    from mmcell.engine.publish import publish

    lines = publish(
        args.checkpoint, args.name, args.annotations, score_thr=args.score_thr, mpp=args.mpp, facts=args.facts
    )
    print('\n'.join(lines))


if __name__ == '__main__':
    run(main)
