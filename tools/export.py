"""Write cells for QuPath, as tables, or as label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmcell.cli.command import Parser, run
from mmcell.cli.values import any_path, score


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        'Write the cells of results, each once, as GeoJSON for QuPath, as a table (CSV, Parquet, AnnData), or as label '
        'maps; those of a slide, from its cells.parquet, also as a page.',
        'python tools/export.py submission/test-results.json --to geojson --images data/cell/annotations/test.json '
        '--out build/geojson',
    )
    parser.add_argument(
        'results', type=any_path, metavar='RESULTS', help="results json, as tools/test.py writes it, or a slide's table"
    )
    formats = ['geojson', 'csv', 'parquet', 'labels', 'h5ad', 'page']
    parser.add_argument('--to', required=True, choices=formats, help='format to write')
    parser.add_argument('--images', type=any_path, metavar='JSON', help='COCO json of the images of a results json')
    parser.add_argument('--slide', type=any_path, help='the slide of a table, for labels and page')
    parser.add_argument('--out', required=True, type=any_path, metavar='DIR', help='folder to write to')
    parser.add_argument(
        '--score-thr', type=score, help='lowest score to write (default: that of the model, or 0.5; all of a table)'
    )
    args = parser.parse_args(argv)
    is_table = Path(args.results).suffix == '.parquet'
    if args.to == 'page' and not is_table:
        parser.error(f'argument --to: a page is not written of {args.results}, but of the cells.parquet of a slide')
    if (args.images is None) != is_table:
        parser.error('--images belongs to a results json, which needs it')
    if args.slide is not None and (not is_table or args.to not in ('labels', 'page')):
        parser.error('--slide is for --to page, which shows it, and for --to labels of a table')
    if args.slide is None and is_table and args.to == 'labels':
        parser.error('--to labels needs --slide, whose size the label map has')

    # Imported here: --help and bad arguments answer at once.
    from mmcell.coco.threshold import choose_threshold, recorded_threshold
    from mmcell.report.export import export_results, export_table

    if is_table:
        paths = export_table(args.results, args.out, args.to, args.slide, args.score_thr)
        print('\n'.join(f'wrote {path}' for path in paths))
        return
    score_thr, line = choose_threshold(args.score_thr, recorded_threshold(args.results))
    paths = export_results(args.results, args.images, args.out, args.to, score_thr)
    print(line)
    print(f'wrote {len(paths)} files to {args.out}' if len(paths) > 1 else f'wrote {paths[0]}')


if __name__ == '__main__':
    run(main)
