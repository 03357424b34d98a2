"""One self-contained page on a results file: numbers, curves, and a viewer for the cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from mmcell.coco.cells import true_cells
from mmcell.coco.results import Result, open_results
from mmcell.coco.threshold import DEFAULT_THRESHOLD
from mmcell.evaluation.matching import find_overlap, match_cells
from mmcell.io.files import write_bytes
from mmcell.report.figures import draw_charts, line_style
from mmcell.report.image_set import ImageSet
from mmcell.report.reliability import draw_reliability
from mmcell.report.rendering import data_uri, describe_class, render, to_json
from mmcell.report.scalars import read_run
from mmcell.report.scores import score_results
from mmcell.structures.cells import NO_CLASS, Cells
from mmcell.structures.outlines import smooth_rings

#: A page stays below 25 MB: its images get what the cells leave of this many bytes.
PAGE_BYTES = 24_000_000
#: Base64 turns three bytes into four.
_BASE64 = 3 / 4
# No image is made smaller than that, nor needs to be larger.
_IMAGE_BYTES = 50_000, 1_500_000

# As the viewer's script numbers them.
_HIT, _WRONG, _ALARM = 0, 1, 2


def write_report(
    results: str | Path | Sequence[Result],
    out: str | Path,
    *,
    truth: str | Path | None = None,
    images: str | Path | None = None,
    image_root: str | Path | None = None,
    runs: Sequence[str | Path] = (),
    score_thr: float = DEFAULT_THRESHOLD,
    max_images: int = 20,
    title: str = 'Results',
) -> Path:
    """Write the page.

    Args:
        results: Result dicts, or a file of them.
        out: The page's path.
        truth: COCO json with annotations; without it there are no numbers, and cells are neither hits nor misses.
        images: COCO json of the images; `truth` unless given.
        image_root: Folder that file names are relative to; beside the json's folder unless given.
        runs: Work directories whose training curves are shown.
        score_thr: Where the slider starts, and what the numbers at one threshold are taken at.
        max_images: Show this many images, the ones with most errors first (without truth: with most cells).
        title: Heading of the page.

    Returns:
        The page's path.

    Raises:
        InputError: If a file cannot be used.
    """
    source = images or truth
    if source is None:
        raise ValueError('truth or images is needed')
    image_set = ImageSet.load(source)
    where, opened = open_results(results)
    found = {image['id']: cells for image, cells in image_set.found(opened, where=where)}
    annotated = None if truth is None else image_set.truth(truth)
    true = {} if annotated is None else {image_id: cells for image_id, cells, _ in true_cells(annotated)}
    rows = [_row(image, found[image['id']], true.get(image['id']), score_thr) for image in image_set.images]
    rows.sort(key=lambda row: (-row['errors'], -row['predicted'], row['name']))
    shown = rows[:max_images]
    root = image_set.image_root if image_root is None else image_root
    for row in shown:
        row['data'] = _describe_cells(row, found[row['id']], true.get(row['id']))
    left = PAGE_BYTES - sum(len(to_json(row['data'])) for row in shown)
    budget = int(np.clip(left * _BASE64 / max(1, len(shown)), *_IMAGE_BYTES))
    for row in shown:
        row['data']['src'] = data_uri(image_set.read(row['image'], root), budget)
    scores = None if annotated is None else score_results(annotated, opened, found, score_thr)
    page = render(
        'report.html.j2',
        title=title,
        classes=[describe_class(label, name) for label, name in enumerate(image_set.classes)],
        rows=rows,
        shown=shown,
        densities=_densities(image_set, found, score_thr),
        has_truth=annotated is not None,
        scores=scores,
        reliability=scores and Markup(draw_reliability(scores.calibration)),
        charts=[Markup(chart) for chart in draw_charts([read_run(run) for run in runs])],
        runs=[{'name': Path(run).resolve().name, **line_style(number)} for number, run in enumerate(runs)],
        no_class=NO_CLASS,
        score_thr=score_thr,
        num_cells=sum(row['predicted'] for row in rows),
    )
    write_bytes(out, page)
    return Path(out)


def _densities(images: ImageSet, found: Mapping[int, Cells], score_thr: float) -> dict[str, Any] | None:
    """Cells and cells per mm2 by class, of the images whose microns per pixel are known; None where there are none."""
    known = [(image, mpp) for image in images.images if (mpp := images.mpp_of(image)) is not None]
    if not known:
        return None
    mm2 = sum(image['height'] * image['width'] * (mpp / 1000) ** 2 for image, mpp in known)
    counts = Counter(dict.fromkeys(images.classes, 0))
    for image, _ in known:
        counts.update(found[image['id']].above(score_thr).counts())
    counts['all'] = sum(counts.values())
    return {'images': len(known), 'mm2': mm2, 'rows': [(name, count, count / mm2) for name, count in counts.items()]}


def _row(image: Mapping[str, Any], predicted: Cells, true: Cells | None, score_thr: float) -> dict[str, Any]:
    """What the list of images says of one."""
    row = {'image': image, 'id': image['id'], 'name': image['file_name'], 'errors': 0, 'matches': None}
    row['predicted'] = int((predicted.scores >= score_thr).sum())
    if true is not None:
        row['matches'] = match_cells(find_overlap(true, predicted))
        row |= row['matches'].counts(predicted.scores, score_thr)
        row['errors'] = row['wrong'] + row['alarms'] + row['misses']
        row['share'] = row['errors'] / max(1, row['errors'] + row['hits'])
    return row


def _describe_cells(row: Mapping[str, Any], predicted: Cells, true: Cells | None) -> dict[str, Any]:
    """The cells of one image for the viewer's script."""
    matches = row['matches']
    data = {
        'name': row['name'],
        'width': row['image']['width'],
        'height': row['image']['height'],
        'pred': {
            'd': _paths(predicted),
            'label': predicted.labels.tolist(),
            'box': predicted.masks.boxes.tolist(),
            # Not rounded: a cell at the very threshold must not cross it.
            'score': predicted.scores.tolist(),
            'state': [_HIT] * len(predicted),
            'likely': _likely(predicted),
        },
        'truth': {'d': [], 'label': [], 'found': []},
    }
    if true is not None:
        states = np.where(matches.right, _HIT, np.where(matches.taken >= 0, _WRONG, _ALARM))
        data['pred'] |= {
            'state': states.tolist(),
            'iou': matches.ious.round(3).tolist(),
            'taken': matches.taken.tolist(),
        }
        data['truth'] = {
            'd': _paths(true),
            'label': true.labels.tolist(),
            'box': true.masks.boxes.tolist(),
            'found': matches.found.tolist(),
        }
    return data


def _likely(cells: Cells) -> list[list[int]]:
    """Of each cell every class, the last one for none of these, of 1 % or more and its per cents, the likeliest first.

    In one flat list a cell, since most cells have one or two of them, be there hundreds of classes.
    """
    shares = np.rint(100 * cells.probabilities).astype(int)
    owners, labels = np.nonzero(shares)
    order = np.lexsort([-shares[owners, labels], owners])
    owners, labels = owners[order], labels[order]
    pairs = np.stack([labels, shares[owners, labels]], axis=1)
    ends = np.searchsorted(owners, np.arange(1, len(cells)))
    return [some.reshape(-1).tolist() for some in np.split(pairs, ends)[: len(cells)]]


def _paths(cells: Cells) -> list[str]:
    """SVG path of each cell in half pixels, which canvas understands as it is."""
    paths = []
    for rings in smooth_rings(cells.masks):
        steps = (' '.join(f'{dx} {dy}' for dx, dy in np.diff(ring, axis=0).tolist()) for ring in rings)
        paths.append(''.join(f'M{ring[0, 0]} {ring[0, 1]}l{step}z' for ring, step in zip(rings, steps)))
    return paths
