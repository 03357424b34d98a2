from __future__ import annotations

import json

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from mmcell.converters import LAYOUTS, convert
from mmcell.datasets.transforms.copy_paste import CopyPasteCells
from mmcell.structures.label_map_masks import LabelMapMasks


def orientations(array):
    """All eight."""
    return [turned for k in range(4) for turned in (np.rot90(array, k), np.rot90(array, k)[:, ::-1])]


def cut(image, mask):
    """A cell's pixels inside its box, 0 elsewhere."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return image[box] * mask[box][..., None]


def noisy(results, seed):
    """Pixels that tell where they come from."""
    rng = np.random.default_rng(seed)
    return {**results, 'img': rng.integers(1, 256, results['img'].shape, dtype=np.uint8)}


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('from_others', [True, False])
def test_pixels_and_masks(scene, check_cells, seed, from_others):
    before = noisy(scene(seed), seed)
    sources = [noisy(scene(seed + 100, 60, 50), seed + 1), noisy(scene(seed + 200), seed + 2)] if from_others else None
    image, bitmaps = before['img'].copy(), before['gt_masks'].to_ndarray()
    np.random.seed(seed)
    after = CopyPasteCells([1, 2], prob=1, max_covered=0.3, feather=0)(
        {**before, 'mix_results': sources} if from_others else dict(before)
    )
    check_cells(after, edge=None)
    assert np.array_equal(before['img'], image) and np.array_equal(before['gt_masks'].to_ndarray(), bitmaps)
    old = len(bitmaps)
    pasted = after['gt_masks'].to_ndarray()[old:]
    union = pasted.any(0)
    assert 1 <= len(pasted) <= 5 and not after['gt_ignore_flags'][old:].any()
    # Below, all is as before but for what is hidden, and that is little.
    assert np.array_equal(after['img'][~union], before['img'][~union])
    assert np.array_equal(after['gt_masks'].to_ndarray()[:old], bitmaps * ~union)
    assert ((bitmaps * union).sum((1, 2)) <= 0.3 * bitmaps.sum((1, 2))).all()
    assert np.array_equal(after['gt_bboxes_labels'][:old], before['gt_bboxes_labels'])
    # Each pasted cell is a whole cell of a source, but for what later ones hide.
    cells = [
        (label, cut(source['img'], mask))
        for source in (sources or [before])
        for mask, label, ignored in zip(source['gt_masks'], source['gt_bboxes_labels'], source['gt_ignore_flags'])
        if label in (1, 2) and not ignored and not (mask[[0, -1]].any() or mask[:, [0, -1]].any())
    ]
    last = cut(after['img'], pasted[-1])
    label = after['gt_bboxes_labels'][-1]
    assert any(np.array_equal(last, turned) for kind, cell in cells if kind == label for turned in orientations(cell))


def test_soft_edges_change_the_image_near_them_only(scene):
    before = scene(4)
    results = []
    for feather in (0, 1.0):
        np.random.seed(0)
        results.append(CopyPasteCells([0], max_cells=1, prob=1, max_covered=1, feather=feather)(dict(before)))
    for after in results:
        assert (after['img'] != before['img']).any()
    soft = results[1]
    mask = soft['gt_masks'].to_ndarray()[-1]
    changed = np.argwhere((soft['img'] != before['img']).any(-1))
    ys, xs = np.nonzero(mask)
    assert (changed.min(0) >= (ys.min() - 3, xs.min() - 3)).all() and (
        changed.max(0) <= (ys.max() + 3, xs.max() + 3)
    ).all()


def test_nothing_hidden_if_nothing_may_be(scene):
    for seed in range(10):
        before = scene(seed)
        np.random.seed(seed)
        after = CopyPasteCells([0], prob=1, max_covered=0)(dict(before))
        old = before['gt_masks'].to_ndarray()
        assert np.array_equal(after['gt_masks'].to_ndarray()[: len(old)], old)


def single(size, box, label):
    masks = np.zeros((1, *size), np.uint8)
    masks[0, box[1] : box[3], box[0] : box[2]] = 1
    masks = LabelMapMasks.from_bitmaps(masks, *size)
    return {
        'img': np.full((*size, 3), 9, np.uint8),
        'img_shape': size,
        'gt_masks': masks,
        'gt_bboxes': masks.get_bboxes(),
        'gt_bboxes_labels': np.array([label]),
        'gt_ignore_flags': np.array([False]),
    }


def test_cells_that_are_hidden_whole_are_dropped(check_cells):
    below, above = single((10, 10), (4, 4, 6, 6), 0), single((20, 20), (5, 5, 15, 15), 1)
    np.random.seed(0)
    after = CopyPasteCells([1], prob=1, max_covered=1, feather=0)({**below, 'mix_results': [above]})
    check_cells(after, edge=None)
    assert after['gt_bboxes_labels'].tolist() == [1] and after['gt_masks'].areas.tolist() == [100]


@pytest.mark.parametrize(
    'source',
    [
        single((20, 20), (5, 5, 15, 15), 0),  # another class
        single((20, 20), (0, 5, 15, 15), 1),  # cut by the border
        single((60, 60), (5, 5, 50, 50), 1),  # larger than the image
        {**single((20, 20), (5, 5, 15, 15), 1), 'gt_ignore_flags': np.array([True])},
    ],
)
def test_nothing_to_paste(source):
    before = single((30, 30), (4, 4, 6, 6), 0)
    after = CopyPasteCells([1], prob=1)({**before, 'mix_results': [source]})
    assert after['img'] is before['img'] and after['gt_masks'] is before['gt_masks']


def test_into_an_image_without_cells(scene, check_cells):
    before = scene(0)
    for key in ('gt_masks', 'gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'):
        before[key] = before[key][:0]
    bare = {**before, 'gt_masks': LabelMapMasks.from_bitmaps([], 70, 90)}
    for target in (before, bare):  # planes with values that stand for nobody, and no planes
        np.random.seed(0)
        after = CopyPasteCells([0, 1, 2], prob=1)({**target, 'mix_results': [scene(1)]})
        check_cells(after, edge=None)
        assert 1 <= len(after['gt_masks']) <= 5 and len(before['gt_masks']) == 0


def test_how_often(scene):
    before = scene(0)
    np.random.seed(0)
    changed = sum(CopyPasteCells([0], prob=0.3)(dict(before))['img'] is not before['img'] for _ in range(300))
    assert 50 < changed < 130


def test_below_a_mix_data_set(class_tiff, tmp_path):
    convert(LAYOUTS.get('class_tiff')(class_tiff), tmp_path / 'out', workers=1)
    config = {
        'type': 'MultiImageMixDataset',
        'dataset': {
            'type': 'CellDataset',
            'data_root': str(tmp_path / 'out'),
            'ann_file': 'annotations/trainval.json',
            'data_prefix': {'img': 'images/'},
            'pipeline': [{'type': 'LoadCellImage'}, {'type': 'LoadCellAnnotations'}],
        },
        'pipeline': [
            {'type': 'CopyPasteCells', 'classes': [2], 'prob': 1.0, 'max_covered': 1.0},
            {'type': 'PackDetInputs'},
        ],
    }
    with DefaultScope.overwrite_default_scope('mmdet'):
        images = DATASETS.build(config)
    truth = json.loads((tmp_path / 'out/annotations/trainval.json').read_text())
    rare = {a['image_id'] for a in truth['annotations'] if a['category_id'] == 3}
    assert len(rare) == 3

    def load():
        np.random.seed(0)
        return [images[i] for i in range(len(images))]

    samples = load()
    for sample in samples:  # every cell of class 3 comes from one of three images, whatever the image below
        assert 2 in sample['data_samples'].gt_instances.labels
    for first, second in zip(samples, load()):
        assert (first['inputs'] == second['inputs']).all()
    never, absent, often = (
        CopyPasteCells([2], prob=0),
        CopyPasteCells([3], prob=1),
        CopyPasteCells([2], prob=1, sources=2),
    )
    assert never.get_indexes(images.dataset) == absent.get_indexes(images.dataset) == []
    chosen = {i for _ in range(50) for i in often.get_indexes(images.dataset)}
    assert {images.dataset[i]['img_id'] for i in chosen} == rare


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        ({'classes': []}, 'classes'),
        ({'classes': [-1]}, 'classes'),
        ({'classes': [1], 'max_cells': 0}, 'max_cells'),
        ({'classes': [1], 'sources': 0}, 'sources'),
        ({'classes': [1], 'prob': 2}, 'prob'),
        ({'classes': [1], 'max_covered': -0.1}, 'max_covered'),
        ({'classes': [1], 'feather': -1}, 'feather'),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        CopyPasteCells(**arguments)
