from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile

from mmcell.errors import InputError
from mmcell.io.images import read_image, read_label_map, read_size

RNG = np.random.default_rng(0)
COMPRESSIONS = [None, 'lzw', 'deflate']


def write(path, pixels, **options):
    if path.suffix == '.png':
        path.write_bytes(imagecodecs.png_encode(pixels))
    else:
        channels = pixels.shape[-1] if pixels.ndim == 3 else 1
        extra = {'extrasamples': ['unassalpha']} if channels in (2, 4) else {}
        tifffile.imwrite(path, pixels, photometric='rgb' if channels > 2 else 'minisblack', **{**extra, **options})
    return path


@pytest.mark.parametrize('compression', [*COMPRESSIONS, 'png'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_kinds(tmp_path, compression, dtype, channels):
    pixels = RNG.integers(0, np.iinfo(dtype).max + 1, (33, 41, channels), dtype=dtype)
    stored = pixels[..., 0] if channels == 1 else pixels
    if compression == 'png':
        path = write(tmp_path / 'image.png', stored)
    else:
        options = {'planarconfig': 'contig'} if channels == 2 else {}
        path = write(tmp_path / 'image.tif', stored, compression=compression, **options)
    # The slow, obvious reference, in floats.
    scaled = np.floor(pixels * (255.0 / np.iinfo(dtype).max) + 0.5) if dtype == np.uint16 else pixels.astype(float)
    if channels in (2, 4):
        alpha = scaled[..., -1:] / 255
        scaled = np.floor(scaled[..., :-1] * alpha + 255 * (1 - alpha) + 0.5)
    expected = np.broadcast_to(scaled, (33, 41, 3))
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    assert np.array_equal(image, expected)
    assert np.array_equal(read_image(path, 'bgr'), expected[..., ::-1])
    assert read_size(path) == (33, 41)


def test_planes_strips_and_tiles(tmp_path):
    pixels = RNG.integers(0, 256, (70, 50, 3), dtype=np.uint8)
    planar = tmp_path / 'planar.tif'
    tifffile.imwrite(planar, np.moveaxis(pixels, -1, 0), photometric='rgb', planarconfig='separate')
    tiled = tmp_path / 'tiled.tif'
    tifffile.imwrite(tiled, pixels, photometric='rgb', tile=(16, 32), compression='lzw')
    strips = tmp_path / 'strips.tif'
    tifffile.imwrite(strips, pixels, photometric='rgb', rowsperstrip=7, byteorder='>')
    for path in (planar, tiled, strips):
        assert np.array_equal(read_image(path), pixels)


def test_white_is_zero(tmp_path):
    pixels = RNG.integers(0, 256, (5, 6), dtype=np.uint8)
    tifffile.imwrite(tmp_path / 'inverted.tif', pixels, photometric='miniswhite')
    assert np.array_equal(read_image(tmp_path / 'inverted.tif')[..., 0], 255 - pixels)


def test_real_rgba(shared_data):
    path = shared_data / 'hw3_sample/train/sample-image/image.tif'
    assert np.array_equal(read_image(path), tifffile.imread(path)[..., :3])


@pytest.mark.parametrize(
    ('pixels', 'options', 'words'),
    [
        (np.ones((4, 4, 3), np.float32), {}, 'float32'),
        (np.ones((4, 4, 4), np.uint8), {'photometric': 'separated'}, 'SEPARATED'),
        (np.ones((3, 8, 8), np.uint8), {'photometric': 'minisblack'}, '3 pages'),
    ],
)
def test_refused(tmp_path, pixels, options, words):
    tifffile.imwrite(tmp_path / 'image.tif', pixels, **options)
    with pytest.raises(InputError, match=words):
        read_image(tmp_path / 'image.tif')


@pytest.mark.parametrize('compression', COMPRESSIONS)
@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.95])
def test_cut_files(tmp_path, compression, share):
    path = write(tmp_path / 'image.tif', RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), compression=compression)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=str(path)):
        read_image(path)


@pytest.mark.parametrize('size', [8, 12, 23, 24, 40])
def test_cut_png(tmp_path, size):
    data = imagecodecs.png_encode(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / 'image.png').write_bytes(data[:size])
    with pytest.raises(InputError, match=r'image\.png'):
        read_image(tmp_path / 'image.png')


def test_too_large_is_refused_from_the_header(tmp_path):
    header = imagecodecs.png_encode(np.zeros((1, 1), np.uint8))
    huge = (100_000).to_bytes(4, 'big')
    (tmp_path / 'bomb.png').write_bytes(header[:16] + huge + huge + header[24:])
    with pytest.raises(InputError, match='too large'):
        read_image(tmp_path / 'bomb.png')


@pytest.mark.parametrize('dtype', [np.bool_, np.uint8, np.int32, np.uint16, np.float64])
def test_label_maps(tmp_path, dtype):
    plane = RNG.integers(0, 2 if dtype == np.bool_ else 100, (9, 7)).astype(dtype)
    tifffile.imwrite(tmp_path / 'mask.tif', plane)
    labels = read_label_map(tmp_path / 'mask.tif')
    assert labels.dtype == np.int32 and np.array_equal(labels, plane)
