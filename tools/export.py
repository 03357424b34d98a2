"""Write cells for QuPath, as tables, or as label maps."""

from __future__ import annotations

from collections.abc import Sequence

from mmcell.cli.command import Parser, run
from mmcell.cli.values import any_path, score


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Write the cells of results, each once, as GeoJSON for QuPath, as a table (CSV, Parquet), or as label maps.',
        'python tools/export.py submission/test-results.json --to geojson --images data/cell/annotations/test.json '
        '--out build/geojson',
    )
    parser.add_argument('results', type=any_path, metavar='RESULTS', help='results json, as tools/test.py writes it')
    parser.add_argument('--to', required=True, choices=['geojson', 'csv', 'parquet', 'labels'], help='format to write')
    parser.add_argument(
        '--images', required=True, type=any_path, metavar='JSON', help='COCO json of the images; needs no annotations'
    )
    parser.add_argument('--out', required=True, type=any_path, metavar='DIR', help='folder to write to')
    parser.add_argument('--score-thr', type=score, help='lowest score to write (default: that of the model, or 0.5)')
    args = parser.parse_args(argv)

    # Imported here: --help and bad arguments answer at once.
    from mmcell.coco.threshold import choose_threshold, recorded_threshold
    from mmcell.report.export import export_results

    score_thr, line = choose_threshold(args.score_thr, recorded_threshold(args.results))
    paths = export_results(args.results, args.images, args.out, args.to, score_thr)
    print(line)
    print(f'wrote {len(paths)} files to {args.out}' if len(paths) > 1 else f'wrote {paths[0]}')


if __name__ == '__main__':
    run(main)
