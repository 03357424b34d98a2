"""RoIAlign and the extractor against the loops of the definition, in every memory layout, forwards and backwards."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS

from mmcell.models.roi_align import roi_align
from tests.models.roi_reference import align, align_backward

LAYOUTS = {
    'contiguous': lambda x: x.contiguous(),
    'channels_last': lambda x: x.contiguous(memory_format=torch.channels_last),
    'cut out': lambda x: torch.cat([x, x], dim=3)[..., : x.shape[3]],
    'turned': lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
}
STRIDES = [4, 8, 16]


def extractor(type='DenseRoIExtractor', channels=3, size=7, sampling_ratio=0, **layer):
    layer = dict(type='RoIAlign', output_size=size, sampling_ratio=sampling_ratio, **layer)
    return MODELS.build(dict(type=type, roi_layer=layer, out_channels=channels, featmap_strides=STRIDES))


def pyramid(rng, height=96, width=128, images=2, channels=3, dtype=torch.float64):
    shapes = [(images, channels, height // stride, width // stride) for stride in STRIDES]
    return [torch.tensor(rng.normal(size=shape), dtype=dtype) for shape in shapes]


def random_rois(rng, count, height=96, width=128, images=2, dtype=torch.float64):
    """Boxes inside, across the border, outside, as large as the image, flat, and empty."""
    center = rng.uniform(-20, [width + 20, height + 20], (count, 2))
    sides = rng.choice([0, 1, 8, 30, 90, 200], (count, 2)) * rng.uniform(0.5, 1, (count, 2))
    image = rng.integers(0, images, (count, 1))
    return torch.tensor(np.concatenate([image, center - sides / 2, center + sides / 2], axis=1), dtype=dtype)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 6),
    st.sampled_from([(7, 7), (14, 14), (1, 1), (3, 5)]),
    st.sampled_from([0, 2]),
    st.booleans(),
    st.sampled_from(list(LAYOUTS)),
)
def test_roi_align_is_its_definition(seed, count, size, sampling_ratio, aligned, layout):
    rng = np.random.default_rng(seed)
    levels = [LAYOUTS[layout](level).requires_grad_() for level in pyramid(rng)]
    rois, level_of = random_rois(rng, count), torch.tensor(rng.integers(0, len(STRIDES), count))
    scales = [1 / stride for stride in STRIDES]
    ours = roi_align(levels, rois, level_of, scales, size, sampling_ratio, aligned)
    arguments = (rois.numpy(), level_of.numpy(), scales, size, sampling_ratio, aligned)
    arrays = [level.detach().numpy() for level in levels]
    np.testing.assert_allclose(ours.detach().numpy(), align(arrays, *arguments), rtol=0, atol=1e-12)
    gradient = rng.normal(size=ours.shape)
    ours.backward(torch.tensor(gradient))
    for level, expected in zip(levels, align_backward(arrays, gradient, *arguments)):
        np.testing.assert_allclose(level.grad.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('box', [[5, 5, 3, 8], [5, 5, float('nan'), 8]])
def test_a_box_without_a_size_is_refused(box):
    levels = pyramid(np.random.default_rng(0), dtype=torch.float32)
    with pytest.raises(ValueError, match='negative or undefined side'):
        extractor()(levels, torch.tensor([[0.0, *box]]))


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('scale_factor', [None, 1.3])
def test_the_extractor_reads_every_layout(layout, dtype, scale_factor):
    rng = np.random.default_rng(0)
    exact = [level.to(dtype).double() for level in pyramid(rng)]  # what can be said in that precision
    rois = random_rois(rng, 30, dtype=torch.float32)
    levels = [LAYOUTS[layout](level.to(dtype)).requires_grad_() for level in exact]
    ours = extractor()(levels, rois, scale_factor)
    assert ours.dtype == dtype and ours.shape == (30, 3, 7, 7)
    # mmcv's loops on contiguous double precision, which the definition above is equal to.
    reference = [level.detach().clone().requires_grad_() for level in exact]
    expected = extractor('SingleRoIExtractor')(reference, rois.double(), scale_factor)
    assert expected.detach().abs().max() > 1
    rounding = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=rounding)
    gradient = torch.tensor(rng.normal(size=ours.shape)).to(dtype)
    ours.backward(gradient)
    expected.backward(gradient.double())
    for level, each in zip(levels, reference):
        assert level.grad.dtype == dtype
        torch.testing.assert_close(level.grad.double(), each.grad, rtol=rounding, atol=20 * rounding)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_mmcvs_own_operator_gets_what_it_expects(layout):
    """Elsewhere than on a CPU, and for the largest value of a bin, mmcv's operator does the work."""
    rng = np.random.default_rng(0)
    levels, rois = pyramid(rng, dtype=torch.float32), random_rois(rng, 30, dtype=torch.float32)
    reference = [level.clone().requires_grad_() for level in levels]
    expected = extractor('SingleRoIExtractor', pool_mode='max')(reference, rois)
    levels = [LAYOUTS[layout](level).requires_grad_() for level in levels]
    ours = extractor(pool_mode='max')(levels, rois.t().contiguous().t())
    assert torch.equal(ours, expected)
    ours.square().sum().backward()
    expected.square().sum().backward()
    for level, each in zip(levels, reference):
        assert torch.equal(level.grad, each.grad)


def test_no_boxes():
    levels = [level.requires_grad_() for level in pyramid(np.random.default_rng(0), dtype=torch.float32)]
    features = extractor()(levels, torch.zeros(0, 5))
    assert features.shape == (0, 3, 7, 7)
    features.sum().backward()  # every process of several has gradients to give
    assert all(not level.grad.any() for level in levels)


def test_one_level():
    rng = np.random.default_rng(0)
    level, rois = pyramid(rng, dtype=torch.float32)[:1], random_rois(rng, 9, dtype=torch.float32)
    layer = dict(type='RoIAlign', output_size=7, sampling_ratio=0)
    ours, mmdets = (
        MODELS.build(dict(type=each, roi_layer=layer, out_channels=3, featmap_strides=[4]))(level, rois)
        for each in ('DenseRoIExtractor', 'SingleRoIExtractor')
    )
    torch.testing.assert_close(ours, mmdets, rtol=0, atol=2e-6)


def test_mixed_precision_changes_no_box():
    """In half precision 1027.3 is 1027, and in bfloat16 1024."""
    assert issubclass(type(extractor()), SingleRoIExtractor)
    levels = pyramid(np.random.default_rng(0), height=64, width=2048, images=1, dtype=torch.float32)
    rois = torch.tensor([[0, 1027.3, 10.2, 1047.9, 33.3]])
    expected = extractor()(levels, rois)
    with torch.autocast('cpu', torch.bfloat16):
        ours = extractor()([level.bfloat16() for level in levels], rois)
    torch.testing.assert_close(ours.float(), expected, rtol=0, atol=3e-2)
