"""The sparse assigner beside MMDetection's, to the last bit."""

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.models.task_modules.samplers import IoUBalancedNegSampler, RandomSampler
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import HorizontalBoxes, bbox_overlaps
from mmengine.structures import InstanceData

from mmcell.errors import InputError
from mmcell.models import box_grid, sparse_assigner
from mmcell.models.box_grid import BoxGrid
from mmcell.models.sparse_assigner import SparseMaxIoUAssigner
from mmcell.structures.rle import encode_label_map

RPN = dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, match_low_quality=True, ignore_iof_thr=-1)
RCNN = dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False, ignore_iof_thr=-1)


@st.composite
def lattices(draw):
    """Anchors of one to three levels, some dropped as those across the border of an image may be."""
    strides = draw(st.lists(st.sampled_from([3, 4, 8, 16, 7.5]), min_size=1, max_size=3, unique=True))
    generator = AnchorGenerator(
        strides=strides,
        ratios=draw(st.sampled_from([[1.0], [0.5, 1.0, 2.0]])),
        scales=draw(st.sampled_from([[2], [4], [4, 5.04]])),
        center_offset=draw(st.sampled_from([0.0, 0.5])),
    )
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    sizes = [(int(-(-height // stride)), int(-(-width // stride))) for stride in strides]
    anchors = torch.cat(generator.grid_priors(sizes, device='cpu'))
    return anchors[draw(st.integers(0, 3)) :: draw(st.sampled_from([1, 1, 2]))]


@st.composite
def boxes(draw, least=0, most=40):
    """Boxes with many ties, as fractions of pixels, or of any size at any place; some empty, turned over, or twice."""
    kind = draw(st.sampled_from(['whole', 'fractions', 'any']))
    count = draw(st.integers(least, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == 'whole':
        corners = rng.integers(-10, 60, (count, 2)), rng.integers(-1, 30, (count, 2))
    elif kind == 'fractions':
        corners = rng.uniform(-10, 60, (count, 2)), rng.lognormal(2.5, 0.7, (count, 2))
    else:
        size = np.exp(rng.uniform(-15, 12, (count, 1)))
        corners = rng.normal(0, 1, (count, 2)) * size, size * rng.lognormal(0, 0.4, (count, 2))
        corners = corners[0] + draw(st.sampled_from([0, 0, 1e5])), corners[1]
    found = np.concatenate([corners[0], corners[0] + corners[1]], axis=1)
    found[rng.random(count) < 0.1, 2:] -= rng.integers(0, 40)
    if count and draw(st.booleans()):
        found = found[rng.integers(0, count, count)]
    return torch.from_numpy(found).float()


@st.composite
def near(draw, others):
    """Boxes a little beside others, so that overlaps are large."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    picked = others[torch.from_numpy(rng.integers(0, len(others), draw(st.integers(1, 60))))]
    return picked + torch.from_numpy(rng.normal(0, draw(st.sampled_from([0, 0.5, 3])), picked.shape)).float()


thresholds = st.sampled_from([0.0, 1e-3, 0.1, 0.3, 0.5, 0.7, 1.0])
options = st.fixed_dictionaries(
    dict(
        pos_iou_thr=thresholds,
        neg_iou_thr=thresholds | st.tuples(st.sampled_from([-1.0, 0.0, 0.1, 0.3]), thresholds),
        min_pos_iou=thresholds | st.sampled_from([-0.5, -2.0]),
        match_low_quality=st.booleans(),
        gt_max_assign_all=st.booleans(),
        ignore_iof_thr=st.sampled_from([-1, 0.2, 0.5, 0.99]),
        ignore_wrt_candidates=st.booleans(),
    )
)


def instances(boxes):
    return InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)) % 4)


def check_equal(priors, cells, crowds=None, **settings):
    """Both assigners agree in everything; returns ours."""
    given = InstanceData(priors=priors), instances(cells), crowds if crowds is None else InstanceData(bboxes=crowds)
    ours, reference = (assigner(**settings).assign(*given) for assigner in (SparseMaxIoUAssigner, MaxIoUAssigner))
    assert ours.num_gts == reference.num_gts
    for name in ('gt_inds', 'labels', 'max_overlaps'):
        actual, expected = getattr(ours, name), getattr(reference, name)
        assert actual.dtype == expected.dtype
        torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True, msg=name)
    return ours


@settings(max_examples=300, deadline=None)
@given(st.data(), options)
def test_assignments_are_equal(data, options):
    priors = data.draw(lattices() | boxes(most=80))
    cells = data.draw(boxes() if not len(priors) else boxes() | near(priors))
    crowds = data.draw(st.none() | boxes(most=5))
    if data.draw(st.booleans()):
        priors, cells, crowds = (None if found is None else found.double() for found in (priors, cells, crowds))
    check_equal(priors, cells, crowds, **options)
    with pytest.MonkeyPatch.context() as patch:  # as on an accelerator
        patch.setattr(sparse_assigner, '_prefers_all_pairs', lambda *_: True)
        check_equal(priors, cells, crowds, **options)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.9]), st.sampled_from(['union', 'box', 'query']))
def test_pairs_are_those_of_the_matrix(data, least, over):
    priors = data.draw(lattices() | boxes(most=80))
    queries = data.draw(boxes() if not len(priors) else boxes() | near(priors))
    matrix = {
        'union': lambda: bbox_overlaps(queries, priors),
        'box': lambda: bbox_overlaps(priors, queries, mode='iof').T,
        'query': lambda: bbox_overlaps(queries, priors, mode='iof'),
    }[over]()
    with pytest.MonkeyPatch.context() as patch:  # so that there are many parts
        patch.setattr(box_grid, '_CHUNK', data.draw(st.sampled_from([1, 20, 1 << 17])))
        patch.setattr(box_grid, '_BLOCK', data.draw(st.sampled_from([1, 9, 1 << 14])))
        parts = list(BoxGrid(priors).pairs(queries, least, over))
    seen = [set(part.query.tolist()) for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))
    found = torch.zeros_like(matrix)
    for query, box, share in parts:
        assert (query.diff() >= 0).all()
        assert not found[query, box].any()
        found[query, box] = share
    assert torch.equal(found, torch.where(matrix >= least, matrix, 0))


@pytest.mark.parametrize('offset', [0, 1 / 3, 9999.7])
@pytest.mark.parametrize('size', [16, 13.3, 0.9])
def test_no_pair_is_lost_at_its_very_threshold(size, offset):
    # The centers of anchors stand on the edges of bins, and at the distance that the threshold allows.
    grid = AnchorGenerator([size / 4], [0.5, 1, 2], scales=[4]).grid_priors([(6, 6)], device='cpu')[0] + offset
    matrix = bbox_overlaps(grid, grid)
    for least in matrix.unique().tolist():
        found = torch.zeros_like(matrix)
        for query, box, share in BoxGrid(grid).pairs(grid, least):
            found[query, box] = share
        assert torch.equal(found, torch.where(matrix >= least, matrix, 0)), least


def test_thresholds_are_reached_by_equality():
    cells = torch.tensor([[0, 0, 8, 8], [100, 0, 108, 8], [200, 0, 208, 8.0]])
    priors = torch.tensor([[0, 0, 8, 4], [100, 0, 108, 6], [200, 0, 204, 4.0]])  # IoU 0.5, 0.75, 0.25
    settings = dict(pos_iou_thr=0.75, neg_iou_thr=0.25, min_pos_iou=0.5)
    assert check_equal(priors, cells, **settings).gt_inds.tolist() == [1, 2, -1]
    assert check_equal(priors, cells, **settings, match_low_quality=False).gt_inds.tolist() == [-1, 2, -1]


@pytest.mark.parametrize('settings', [RPN, RCNN, dict(RPN, min_pos_iou=0.0), dict(RPN, gt_max_assign_all=False)])
def test_many_cells_in_many_parts(settings, monkeypatch):
    monkeypatch.setattr(box_grid, '_CHUNK', 1 << 12)
    monkeypatch.setattr(box_grid, '_BLOCK', 1 << 9)
    anchors = torch.cat(
        AnchorGenerator([4, 8, 16], [0.5, 1, 2], [4]).grid_priors([(40, 50), (20, 25), (10, 13)], device='cpu')
    )
    rng = np.random.default_rng(0)
    corners = rng.uniform(-8, 195, (300, 2))
    cells = torch.from_numpy(np.concatenate([corners, corners + rng.uniform(4, 40, (300, 2))], axis=1).round()).float()
    crowds = torch.tensor([[0, 0, 50, 50], [150, 20, 160, 140.0]])
    result = check_equal(anchors, cells, crowds, **dict(settings, ignore_iof_thr=0.5))
    assert (result.gt_inds > 0).sum() > 20 and (result.max_overlaps == -1).sum() > 20


@pytest.fixture(scope='module')
def crop(shared_data):
    """Boxes of the cells of a real image, (K, 4), at the size of the network's input."""
    folder = shared_data / 'consep' / 'train' / 'tile02_crop1'
    if not folder.is_dir():
        pytest.skip(f'no {folder}')
    planes = [encode_label_map(tifffile.imread(file).astype(np.int32)) for file in sorted(folder.glob('class*.tif'))]
    corners = torch.from_numpy(np.concatenate([plane.boxes for plane in planes])).float()
    corners[:, 2:] += corners[:, :2]
    return corners * 0.8


@pytest.mark.parametrize('scale', [4, 8])
def test_real_cells(crop, scale):
    assert len(crop) > 30
    sizes = [(-(-400 // stride),) * 2 for stride in (4, 8, 16, 32, 64)]
    anchors = torch.cat(AnchorGenerator([4, 8, 16, 32, 64], [0.5, 1, 2], [scale]).grid_priors(sizes, device='cpu'))
    assert (check_equal(anchors, crop, **RPN).gt_inds > 0).sum() > 30
    proposals = crop.repeat(10, 1) + torch.randn(10 * len(crop), 4, generator=torch.Generator().manual_seed(0)) * 3
    assert (check_equal(proposals, crop, **RCNN).gt_inds > 0).sum() > 100


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), 1e30])
def test_boxes_that_are_not_finite(bad):
    cells = torch.tensor([[0, 0, 8, 8], [4, 4, 12, 12.0]])
    priors = torch.tensor([[0, 0, 8, 7], [3, 3, bad, bad], [5, 5, 11, 11.0]])
    check_equal(priors, cells, **RCNN)
    check_equal(cells, priors, **RPN)


def test_boxes_of_almost_no_size():
    sides = torch.tensor([[1.4e-45, 1.4e-45], [1e-30, 1e-10], [1e-4, 1e-2], [1, 1e-44]])
    boxes = torch.cat([torch.zeros(4, 2), sides], dim=1)
    check_equal(boxes, boxes, **RPN)
    check_equal(boxes[:1], boxes[:1], **dict(RPN, min_pos_iou=0.0))


def test_half_precision():
    cells = torch.tensor([[0, 0, 8, 8], [4, 4, 12, 12.0]]).half()
    check_equal(torch.tensor([[0, 0, 8, 7], [5, 5, 11, 11.0]]).half(), cells, **RPN)


def test_boxes_with_scores_and_of_a_class():
    cells = torch.tensor([[0, 0, 8, 8], [4, 4, 12, 12.0]])
    priors = torch.tensor([[0, 0, 8, 7, 0.9], [5, 5, 11, 11.0, 0.2]])
    check_equal(priors, cells, **RPN)
    check_equal(HorizontalBoxes(priors[:, :4]), HorizontalBoxes(cells), HorizontalBoxes(cells), **RPN)


def test_repeated_cells_are_moved_alike():
    cells = torch.tensor([[0, 0, 80, 80], [0, 0, 80, 80], [40, 40, 120, 120.0]])
    priors = torch.rand(50, 4, generator=torch.Generator().manual_seed(0)) * 20 + torch.tensor([0, 0, 70, 70])
    results = []
    for assigner in (SparseMaxIoUAssigner, MaxIoUAssigner):
        torch.manual_seed(0)
        config = dict(RCNN, perm_repeat_gt_cfg=dict(iou_thr=0.7, perm_range=0.01))
        results.append(assigner(**config).assign(InstanceData(priors=priors), instances(cells)))
    assert torch.equal(results[0].gt_inds, results[1].gt_inds)
    assert torch.equal(results[0].max_overlaps, results[1].max_overlaps)


@pytest.mark.parametrize('add', [False, True])
@pytest.mark.parametrize('sampler', [RandomSampler, IoUBalancedNegSampler])
def test_samplers_draw_the_same(crop, sampler, add):
    priors = crop.repeat(10, 1) + torch.randn(10 * len(crop), 4, generator=torch.Generator().manual_seed(0)) * 5
    given = InstanceData(priors=priors), instances(crop)
    drawn = []
    for assigner in (SparseMaxIoUAssigner, MaxIoUAssigner):
        torch.manual_seed(0)
        np.random.seed(0)
        result = assigner(**RCNN).assign(*given)
        sampling = sampler(num=64, pos_fraction=0.25, add_gt_as_proposals=add).sample(result, *given)
        drawn.append([sampling.pos_inds, sampling.neg_inds, sampling.pos_assigned_gt_inds, sampling.pos_gt_labels])
        drawn[-1] += [result.gt_inds, result.labels, result.max_overlaps]
    for ours, reference in zip(*drawn):
        assert torch.equal(ours, reference)


def test_overlaps_are_read_before_and_after_cells_are_added():
    given = (
        InstanceData(priors=torch.tensor([[0, 0, 8, 7], [9, 9, 20, 11.0]])),
        instances(torch.tensor([[0, 0, 8, 8.0]])),
    )
    early, late = (SparseMaxIoUAssigner(**RCNN).assign(*given) for _ in range(2))
    assert torch.equal(early.max_overlaps, torch.tensor([0.875, 0]))
    for result in (early, late):
        result.add_gt_(given[1].labels)
        result.add_gt_(given[1].labels)
        assert torch.equal(result.max_overlaps, torch.tensor([1, 1, 0.875, 0]))
        assert result.num_preds == 4


def test_what_is_refused():
    build = TASK_UTILS.build
    assert isinstance(build(dict(type='SparseMaxIoUAssigner', gpu_assign_thr=5, **RPN)), MaxIoUAssigner)
    for change in (
        dict(iou_calculator=dict(type='BboxOverlaps2D', dtype='fp16')),
        dict(iou_calculator=dict(type='BboxOverlaps2D_GLIP')),
        dict(neg_iou_thr=0),
        dict(neg_iou_thr=[0.1, 0.3]),
        dict(neg_iou_thr=(0.1, 0.2, 0.3)),
    ):
        with pytest.raises(InputError, match=next(iter(change))):
            build(dict(RPN, type='SparseMaxIoUAssigner', **{}) | change)
