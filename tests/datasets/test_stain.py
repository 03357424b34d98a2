from __future__ import annotations

import numpy as np
import pytest
import tifffile
from skimage.color import hed2rgb, rgb2hed

from mmcell.datasets.loading import LoadCellImage
from mmcell.datasets.transforms.normalize_stain import REFERENCE, WHITE, NormalizeStain, estimate_stains
from mmcell.datasets.transforms.stain import RandomHEDJitter
from mmcell.errors import InputError

SCALE = np.log(1e6)  # of scikit-image's stains


def test_jitter_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    image = rng.integers(1, 256, (80, 90, 3), dtype=np.uint8)
    np.random.seed(1)
    after = RandomHEDJitter(0.1, shift=0.2)({'img': image})['img']
    np.random.seed(1)
    np.random.rand()
    alpha, beta = np.random.uniform(0.9, 1.1, 3), np.random.uniform(-0.2, 0.2, 3)
    hed = rgb2hed(image[..., ::-1])
    expected = 255 * hed2rgb(hed * alpha + beta / SCALE)[..., ::-1]
    inside = (hed > 0).all(-1)  # scikit-image cuts off the rest
    assert 0.05 < inside.mean() < 0.95
    assert np.abs(after[inside] - expected[inside]).max() < 0.501


def test_jitter_of_nothing_is_nothing():
    values = np.stack(np.meshgrid(*[np.arange(1, 256, 6)] * 3), -1).reshape(43, -1, 3).astype(np.uint8)
    assert np.array_equal(RandomHEDJitter(0)({'img': values})['img'], values)
    np.random.seed(0)
    assert all(RandomHEDJitter(0.2, prob=0)({'img': values})['img'] is values for _ in range(9))
    small = values[:1]
    changed = sum(RandomHEDJitter(0.2, prob=0.3)({'img': small})['img'] is not small for _ in range(300))
    assert 60 < changed < 120


def test_same_seed_same_jitter():
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)

    def jitter(seed):
        np.random.seed(seed)
        return RandomHEDJitter(0.2)({'img': image})['img']

    assert np.array_equal(jitter(1), jitter(1)) and not np.array_equal(jitter(1), jitter(2))


def tissue(vectors, strengths, size=(120, 150), seed=0):
    """BGR image of the given stains: glass, pink ground and nuclei, with every mixture between them."""
    rng = np.random.default_rng(seed)
    amounts = rng.random((*size, 2)) ** 2
    amounts[: size[0] // 4] = 0
    amounts[size[0] // 4 : size[0] // 3, ..., 0] = 0  # eosin alone
    amounts[-size[0] // 6 :, ..., 1] = 0  # hematoxylin alone
    image = WHITE * np.exp(-amounts * strengths @ np.asarray(vectors))
    return np.rint(image).astype(np.uint8)[..., ::-1]


OTHER = np.array([[0.65, 0.70, 0.29], [0.20, 0.93, 0.30]])
OTHER /= np.linalg.norm(OTHER, axis=1, keepdims=True)


def test_known_stains_are_found():
    for vectors in (OTHER, REFERENCE.vectors):
        found = estimate_stains(tissue(vectors, (2.0, 1.5)))
        assert np.degrees(np.arccos((found.vectors * vectors).sum(1).clip(-1, 1))).max() < 2
        assert found.strengths == pytest.approx((2.0, 1.5), rel=0.1)


def test_other_stains_become_the_reference():
    image = tissue(OTHER, (2.6, 0.8))
    before = image.copy()
    after = NormalizeStain()({'img': image})['img']
    assert np.array_equal(image, before)
    found = estimate_stains(after)
    assert found.strengths == pytest.approx(REFERENCE.strengths, rel=0.05)
    assert np.abs(found.vectors - REFERENCE.vectors).max() < 0.03
    # Up to the rounding of the pixels, the same tissue in the reference's stains.
    expected = tissue(REFERENCE.vectors, (2.6, 0.8) * REFERENCE.strengths / estimate_stains(image).strengths)
    assert np.abs(after.astype(int) - expected).mean() < 3
    assert np.array_equal(NormalizeStain()({'img': image})['img'], after)


def test_target(tmp_path):
    image = tissue(OTHER, (2.6, 0.8))
    tifffile.imwrite(tmp_path / 'target.tif', image[..., ::-1])
    transform = NormalizeStain(target=str(tmp_path / 'target.tif'))
    assert np.array_equal(transform({'img': image})['img'], np.minimum(image, 255))
    found = estimate_stains(transform({'img': tissue(REFERENCE.vectors, (2, 1))})['img'])
    assert found.strengths == pytest.approx(estimate_stains(image).strengths, rel=0.05)
    tifffile.imwrite(tmp_path / 'blank.tif', np.full((20, 20, 3), 255, np.uint8))
    with pytest.raises(InputError, match=r'blank\.tif'):
        NormalizeStain(target=str(tmp_path / 'blank.tif'))


def test_large_images_are_estimated_on_a_grid():
    image = tissue(OTHER, (2.0, 1.5), (600, 700))
    whole, part = estimate_stains(image, max_pixels=10**6), estimate_stains(image, max_pixels=10**4)
    assert np.abs(whole.vectors - part.vectors).max() < 0.03
    assert part.strengths == pytest.approx(whole.strengths, rel=0.05)


GREY = np.random.default_rng(0).integers(0, 256, (60, 60, 1), dtype=np.uint8).repeat(3, axis=2)


@pytest.mark.parametrize(
    'image',
    [
        np.full((60, 60, 3), 255, np.uint8),
        np.zeros((60, 60, 3), np.uint8),
        np.full((60, 60, 3), (150, 90, 120), np.uint8),
        GREY,
        GREY[:1, :1],
        tissue(OTHER, (2.0, 0.0)),
        tissue(OTHER, (0.0, 2.0)),
        np.where(np.indices((60, 60)).sum(0)[..., None] < 11, GREY // 2, 255).astype(np.uint8),
    ],
    ids=['white', 'black', 'one colour', 'grey', 'one pixel', 'hematoxylin', 'eosin', 'a corner'],
)
def test_what_cannot_be_estimated_stays(image):
    assert NormalizeStain()({'img': image})['img'] is image


def test_traces_of_a_stain_are_not_blown_up():
    image = tissue(OTHER, (2.6, 0.8))
    gains = REFERENCE.strengths / estimate_stains(image).strengths
    gain = np.maximum(gains, 1 / gains).max()
    assert gain > 1.2
    assert NormalizeStain(max_gain=gain * 0.99)({'img': image})['img'] is image
    assert NormalizeStain(max_gain=gain * 1.01)({'img': image})['img'] is not image


def test_real_tissue(shared_data):
    changed = 0
    for path in sorted((shared_data / 'consep/train').glob('*0/image.tif'))[:8]:
        before = LoadCellImage()({'img_path': str(path)})['img']
        after = NormalizeStain()({'img': before})['img']
        if after is not before:
            assert estimate_stains(after).strengths == pytest.approx(REFERENCE.strengths, rel=0.25)
            changed += 1
    assert changed >= 4


def test_bad_arguments():
    for arguments, match in (({'sigma': 2}, 'sigma'), ({'shift': -1}, 'shift'), ({'prob': 2}, 'prob')):
        with pytest.raises(ValueError, match=match):
            RandomHEDJitter(**arguments)
    for arguments, match in (({'method': 'x'}, 'method'), ({'max_pixels': 0}, 'max_pixels'), ({'max_gain': 0}, 'gain')):
        with pytest.raises(ValueError, match=match):
            NormalizeStain(**arguments)
