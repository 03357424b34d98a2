"""Cells on small images as COCO dicts, by hand, at random and from CoNSeP."""

import numpy as np
import pytest
import tifffile
from pycocotools import mask as coco_mask

SIZE = (40, 50)


def _rle(bitmap):
    rle = coco_mask.encode(np.asfortranarray(bitmap, dtype=np.uint8))
    return {'size': rle['size'], 'counts': rle['counts'].decode()}


def _cell(bitmap, image_id, category_id, **more):
    rle = _rle(bitmap)
    box = coco_mask.toBbox(rle).tolist()
    return {'image_id': image_id, 'category_id': category_id, 'segmentation': rle, 'bbox': box, **more}


def _square(y, x, side=10, size=SIZE):
    bitmap = np.zeros(size, dtype=bool)
    bitmap[y : y + side, x : x + side] = True
    return bitmap


@pytest.fixture
def rle():
    """Bitmap -> RLE dict, by pycocotools."""
    return _rle


@pytest.fixture
def square():
    """(y, x, side=10) -> bitmap of 40 x 50 pixels."""
    return _square


@pytest.fixture
def annotation():
    """(y, x, side=10, image_id=1, category_id=1, **more) -> annotation dict of a square cell."""

    def make(y, x, side=10, image_id=1, category_id=1, **more):
        fields = {'iscrowd': 0, 'area': side**2, **more}
        return _cell(_square(y, x, side), image_id, category_id, **fields)

    return make


@pytest.fixture
def result():
    """(y, x, score, side=10, image_id=1, category_id=1) -> result dict of a square cell."""

    def make(y, x, score=1.0, side=10, image_id=1, category_id=1):
        return _cell(_square(y, x, side), image_id, category_id, score=score)

    return make


@pytest.fixture
def coco():
    """(annotations, images=1, classes=('a', 'b')) -> content of an annotation file."""

    def make(annotations, images=1, classes=('a', 'b')):
        height, width = SIZE
        return {
            'images': [{'id': i + 1, 'height': height, 'width': width, 'file_name': f'{i}.png'} for i in range(images)],
            'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(classes)],
            'annotations': [{**annotation, 'id': i + 1} for i, annotation in enumerate(annotations)],
        }

    return make


@pytest.fixture
def random_case(coco):
    """seed -> (annotation file content, results): ties, crowds, empty images, an empty class, cells of any size."""

    def make(seed, images=3):
        rng = np.random.default_rng(seed)

        def rectangle():
            bitmap = np.zeros(SIZE, dtype=bool)
            y, x, h, w = rng.integers((0, 0, 1, 1), (38, 48, 20, 20))
            bitmap[y : y + h, x : x + w] = True
            return bitmap

        annotations, results = [], []
        for image_id in range(1, images + 1):
            truth = [(rectangle(), int(rng.integers(1, 4))) for _ in range(rng.integers(0, 10))]
            for bitmap, category_id in truth:
                # COCO goes by the area that the annotation states, so any size range can be reached on a small image.
                area = int(bitmap.sum() * rng.choice([1, 60, 600]))
                crowd = int(rng.random() < 0.15)
                annotations.append(_cell(bitmap, image_id, category_id, iscrowd=crowd, area=area))
            for _ in range(rng.integers(0, 16)):
                bitmap, category_id = rectangle(), int(rng.integers(1, 4))
                if truth and rng.random() < 0.8:
                    bitmap, category_id = truth[rng.integers(len(truth))]
                    bitmap = np.roll(bitmap, rng.integers(-1, 2, 2), (0, 1))
                results.append(_cell(bitmap, image_id, category_id, score=float(rng.integers(1, 10)) / 10))
        return coco(annotations, images, ('a', 'b', 'c', 'never')), results

    return make


@pytest.fixture(scope='session')
def consep(shared_data):
    """Eight of CoNSeP's training images as the content of an annotation file."""
    images, annotations = [], []
    folders = sorted((shared_data / 'consep' / 'train').iterdir())[::14]
    for image_id, folder in enumerate(folders, start=1):
        for path in sorted(folder.glob('class*.tif')):
            plane = tifffile.imread(path)
            category_id = int(path.stem.removeprefix('class'))
            for instance in np.unique(plane[plane > 0]):
                fields = {'iscrowd': 0, 'area': int(np.sum(plane == instance)), 'id': len(annotations) + 1}
                annotations.append(_cell(plane == instance, image_id, category_id, **fields))
        images.append({'id': image_id, 'height': plane.shape[0], 'width': plane.shape[1], 'file_name': folder.name})
    names = ('other', 'inflammatory', 'epithelial', 'spindle-shaped')
    categories = [{'id': i, 'name': name} for i, name in enumerate(names, start=1)]
    return {'images': images, 'categories': categories, 'annotations': annotations}


@pytest.fixture
def as_results():
    """Annotations -> the results of a perfect model."""

    def make(annotations):
        keys = ('image_id', 'category_id', 'segmentation', 'bbox')
        return [{**{key: annotation[key] for key in keys}, 'score': 1.0} for annotation in annotations]

    return make
