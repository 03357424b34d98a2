"""COCO average precision of dense images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Case, Finding, Options, Other, Row, Task
from benchmarks.scene import draw_cells
from mmcell.evaluation.coco_ap import Backend, CocoScores, evaluate_coco
from mmcell.structures.rle import encode_label_map

_CLASSES, _IMAGES = 4, 4
_OTHERS = (Other('pycocotools'),)


class Evaluate(Task):
    """`evaluate_coco`, masks, at 1000 and 100 detections per image: faster-coco-eval beside pycocotools."""

    def run(self) -> CocoScores:
        """Evaluate."""
        backend: Backend = 'faster_coco_eval' if self.ours else 'pycocotools'
        return evaluate_coco(self.inputs['truth'], self.inputs['results'], backend=backend)

    def digest(self, result: CocoScores) -> NDArray[np.float64]:
        """The whole precision array."""
        return result.precision


def cases(options: Options) -> Iterator[Case]:
    """Synthetic images with as many detections as `--cells` says and half as many true cells."""
    images = options.images or _IMAGES
    for detections, side in product(options.cells, options.sides):
        labels = {'images': images, 'detections': detections, 'side': side}
        yield Case(labels, images * detections**2, partial(_inputs, detections, side, images), _OTHERS)


def _inputs(detections: int, side: int, images: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    truth: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        true = encode_label_map(draw_cells(max(detections // 2, 1), side, seed=image))
        classes = rng.integers(1, _CLASSES + 1, len(true.ids))
        for rle, box, area, category in zip(true.rles, true.boxes.tolist(), true.areas.tolist(), classes.tolist()):
            truth.append(
                {'image_id': image, 'category_id': category, 'segmentation': rle, 'bbox': box, 'area': area}
                | {'id': len(truth) + 1, 'iscrowd': 0}
            )
        # Truth moved by a few pixels: some overlap enough, most do not.
        for shift in (1, 5):
            moved = encode_label_map(np.roll(draw_cells(max(detections // 2, 1), side, seed=image), shift, axis=(0, 1)))
            results += [
                {'image_id': image, 'category_id': category, 'segmentation': rle, 'bbox': box, 'score': score}
                for rle, box, category, score in zip(
                    moved.rles, moved.boxes.tolist(), classes.tolist(), rng.random(len(classes)).tolist()
                )
            ]
    return {
        'truth': {
            'images': [
                {'id': image, 'file_name': f'{image}.png', 'height': side, 'width': side}
                for image in range(1, images + 1)
            ],
            'categories': [{'id': number, 'name': f'class {number}'} for number in range(1, _CLASSES + 1)],
            'annotations': truth,
        },
        'results': results,
    }


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """What the rows come down to."""
    for row in rows:
        if row.labels['detections'] == 1000:
            yield Finding(f'1000 detections per image, side {row.labels["side"]}: times faster', row.speedup())
