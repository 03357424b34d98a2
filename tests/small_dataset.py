"""A small data set on disk: three images, four classes, cells with holes, in pieces, of one pixel, overlapping."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

CLASSES = ('epithelial', 'lymphocyte', 'neutrophil', 'macrophage')


def _disc(size, x, y, radius):
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def _instance(image_id, category_id, bitmap, **fields):
    rle = coco_mask.encode(np.asfortranarray(bitmap, dtype=np.uint8))
    return {
        'image_id': image_id,
        'category_id': category_id,
        'bbox': coco_mask.toBbox(rle).tolist(),
        'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
        **fields,
    }


@pytest.fixture
def dataset(tmp_path):
    """Paths of the truth (`truth`) and of the results (`results_path`); `results` and their bitmaps in `bitmaps`."""
    sizes = {1: (80, 120), 2: (64, 50), 3: (40, 40)}
    ring = _disc(sizes[1], 30, 30, 14) & ~_disc(sizes[1], 30, 30, 6)
    pieces = _disc(sizes[1], 60, 20, 5) | _disc(sizes[1], 75, 20, 5)
    dot = np.zeros(sizes[1], dtype=bool)
    dot[50, 60] = True
    cells = [
        # image, category, mask, and what the model made of it: (category, shift in x, score)
        (1, 1, ring, (1, 1, 0.9)),
        (1, 2, pieces, (2, 0, 0.8)),
        (1, 2, dot, (2, 0, 0.7)),
        (1, 3, _disc(sizes[1], 95, 60, 9), (4, 1, 0.6)),
        (1, 3, _disc(sizes[1], 20, 65, 7), None),
        (2, 4, _disc(sizes[2], 25, 30, 12), (4, 2, 0.95)),
        (2, 4, _disc(sizes[2], 10, 55, 6), (4, 9, 0.4)),
    ]
    false_alarm = _disc(sizes[1], 95, 20, 6) | _disc(sizes[1], 98, 24, 6)
    annotations, results, bitmaps = [], [], []
    for image_id, category_id, bitmap, predicted in cells:
        annotations.append(_instance(image_id, category_id, bitmap, id=len(annotations) + 1, iscrowd=0))
        annotations[-1]['area'] = int(bitmap.sum())
        if predicted:
            category_id, shift, score = predicted
            bitmaps.append(np.roll(bitmap, shift, axis=1))
            results.append(_instance(image_id, category_id, bitmaps[-1], score=score))
    bitmaps += [false_alarm, _disc(sizes[1], 97, 22, 6)]
    results += [_instance(1, 1, bitmap, score=score) for bitmap, score in zip(bitmaps[-2:], (0.5, 0.2))]
    images = [
        {'id': image_id, 'file_name': f'train/{image_id}/image.png', 'height': size[0], 'width': size[1]}
        for image_id, size in sizes.items()
    ]
    rng = np.random.default_rng(0)
    for image in images:
        path = tmp_path / 'data/images' / image['file_name']
        path.parent.mkdir(parents=True)
        pixels = rng.integers(150, 255, (image['height'], image['width'], 3), dtype=np.uint8)
        cv2.imwrite(str(path), pixels)
    truth = {
        'info': {},
        'images': images,
        'categories': [{'id': index, 'name': name} for index, name in enumerate(CLASSES, start=1)],
        'annotations': annotations,
    }
    truth_path, results_path = tmp_path / 'data/annotations/val.json', tmp_path / 'results.json'
    truth_path.parent.mkdir()
    truth_path.write_text(json.dumps(truth))
    results_path.write_text(json.dumps(results))
    return SimpleNamespace(
        truth=Path(truth_path),
        image_root=tmp_path / 'data/images',
        results_path=results_path,
        results=results,
        bitmaps=bitmaps,
        classes=CLASSES,
        images=images,
    )
