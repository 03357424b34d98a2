"""Windows of images against the same cut from the whole image."""

import cv2
import numpy as np
import pytest
import tifffile

from mmcell.errors import InputError
from mmcell.io import tiff
from mmcell.io.images import read_image
from mmcell.io.windows import ImageWindows

RGB = np.random.default_rng(0).integers(0, 256, (101, 83, 3), dtype=np.uint8)

KINDS = {
    'uncompressed': (RGB, dict()),
    'strips': (RGB, dict(compression='zlib', rowsperstrip=7, predictor=True)),
    'one strip': (RGB, dict(compression='lzw', rowsperstrip=101)),
    'tiles': (RGB, dict(tile=(32, 16), compression='zlib')),
    'uncompressed tiles': (RGB, dict(tile=(16, 16))),
    'jpeg tiles': (RGB, dict(tile=(32, 32), compression='jpeg')),
    'big-endian': (RGB, dict(byteorder='>', compression='zlib', rowsperstrip=10)),
    'grey': (RGB[..., 0], dict(compression='zlib', rowsperstrip=9)),
    'planes': (np.moveaxis(RGB, 2, 0), dict(planarconfig='separate', photometric='rgb', compression='zlib')),
    '16 bit': (RGB.astype(np.uint16) * 257, dict(compression='zlib', rowsperstrip=8)),
    'alpha': (np.dstack([RGB, RGB[..., 0]]), dict(compression='zlib', extrasamples=['unassalpha'])),
    'white is zero': (RGB[..., 0], dict(photometric='miniswhite', compression='zlib')),
}


@pytest.mark.parametrize('cache', [0, 1 << 28])
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize('kind', KINDS)
def test_windows_are_parts_of_the_image(tmp_path, monkeypatch, kind, order, cache):
    monkeypatch.setattr(tiff, '_CACHE_BYTES', cache)
    pixels, options = KINDS[kind]
    path = tmp_path / 'image.tif'
    photometric = {} if 'photometric' in options else dict(photometric='rgb' if pixels.ndim == 3 else 'minisblack')
    tifffile.imwrite(path, pixels, **photometric, **options)
    whole = read_image(path, order)
    with ImageWindows(path, order) as image:
        assert image.size == (101, 83)
        for x1, y1, x2, y2 in [(0, 0, 83, 101), (0, 0, 1, 1), (82, 100, 83, 101), (15, 31, 49, 70), (40, 3, 83, 96)]:
            part = image.read(x1, y1, x2, y2)
            assert part.dtype == np.uint8 and part.flags.c_contiguous
            np.testing.assert_array_equal(part, whole[y1:y2, x1:x2])


def test_large_files_are_not_read_as_a_whole(tmp_path):
    path = tmp_path / 'image.tif'
    tifffile.imwrite(path, RGB, photometric='rgb', compression='zlib', tile=(16, 16))
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[-1]
    content = bytearray(path.read_bytes())
    content[offset : offset + 8] = b'nonsense'
    path.write_bytes(content)
    with ImageWindows(path) as image:
        np.testing.assert_array_equal(image.read(0, 0, 80, 90), RGB[:90, :80])
        with pytest.raises(InputError, match=r'image\.tif: cannot be read as TIFF'):
            image.read(0, 0, 83, 101)


@pytest.mark.parametrize('options', [dict(), dict(compression='zlib', rowsperstrip=10)])
def test_a_truncated_file_is_named(tmp_path, options):
    path = tmp_path / 'image.tif'
    tifffile.imwrite(path, RGB, photometric='rgb', **options)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r'image\.tif'), ImageWindows(path) as image:
        image.read(0, 0, 83, 101)


def test_other_formats_and_missing_files(tmp_path):
    cv2.imwrite(str(tmp_path / 'image.png'), RGB[..., ::-1])
    with ImageWindows(tmp_path / 'image.png') as image:
        np.testing.assert_array_equal(image.read(5, 6, 30, 60), RGB[6:60, 5:30])
    with pytest.raises(InputError, match='cannot be read'):
        ImageWindows(tmp_path / 'none.tif')
