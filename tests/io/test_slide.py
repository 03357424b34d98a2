"""Windows of images against the same cut from the whole image."""

import sys

import cv2
import numpy as np
import pytest
import tifffile

from mmcell.errors import InputError
from mmcell.io import slide as slide_module
from mmcell.io import tiff
from mmcell.io.images import read_image
from mmcell.io.slide import Slide, without_repeats

RGB = np.random.default_rng(0).integers(0, 256, (101, 83, 3), dtype=np.uint8)

KINDS = {
    'uncompressed': (RGB, dict()),
    'strips': (RGB, dict(compression='zlib', rowsperstrip=7, predictor=True)),
    'one strip': (RGB, dict(compression='lzw', rowsperstrip=101)),
    'tiles': (RGB, dict(tile=(32, 16), compression='zlib')),
    'uncompressed tiles': (RGB, dict(tile=(16, 16))),
    'jpeg tiles': (RGB, dict(tile=(32, 32), compression='jpeg')),
    'jpeg 2000': (RGB, dict(tile=(32, 32), compression='jpeg2000')),
    'webp': (RGB, dict(tile=(32, 32), compression='webp')),
    'jpeg, ycbcr': (RGB, dict(tile=(32, 32), compression='jpeg', photometric='ycbcr', subsampling=(2, 2))),
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
    with Slide(path, order) as image:
        assert image.size == (101, 83)
        for x1, y1, x2, y2 in [(0, 0, 83, 101), (0, 0, 1, 1), (82, 100, 83, 101), (15, 31, 49, 70), (40, 3, 83, 96)]:
            part = image.read(x1, y1, x2 - x1, y2 - y1)
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
    with Slide(path) as image:
        np.testing.assert_array_equal(image.read(0, 0, 80, 90), RGB[:90, :80])
        with pytest.raises(InputError, match=r'image\.tif: cannot be read as TIFF'):
            image.read(0, 0, 83, 101)


@pytest.mark.parametrize('options', [dict(), dict(compression='zlib', rowsperstrip=10)])
def test_a_truncated_file_is_named(tmp_path, options):
    path = tmp_path / 'image.tif'
    tifffile.imwrite(path, RGB, photometric='rgb', **options)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r'image\.tif'), Slide(path) as image:
        image.read(0, 0, 83, 101)


def test_other_formats_and_missing_files(tmp_path):
    cv2.imwrite(str(tmp_path / 'image.png'), RGB[..., ::-1])
    with Slide(tmp_path / 'image.png') as image:
        np.testing.assert_array_equal(image.read(5, 6, 25, 54), RGB[6:60, 5:30])
    with pytest.raises(InputError, match='cannot be read'):
        Slide(tmp_path / 'none.tif')


def pyramid(path, pixels=RGB, subifds=False, **options):
    """Write a pyramid of three levels, as pages that are marked as reduced or as sub-directories."""
    options = dict(photometric='rgb', tile=(16, 16), metadata=None, compression='zlib') | options
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, subifds=2 if subifds else None, **options)
        for factor in (2, 4):
            file.write(np.ascontiguousarray(pixels[::factor, ::factor]), subfiletype=1, **options)
    return path


@pytest.mark.parametrize('subifds', [False, True])
def test_levels_of_a_pyramid(tmp_path, subifds):
    path = pyramid(tmp_path / 'image.tif', subifds=subifds)
    np.testing.assert_array_equal(read_image(path), RGB)
    with Slide(path) as slide:
        assert slide.levels == [(101, 83), (51, 42), (26, 21)] and slide.size == (101, 83) and slide.mpp is None
        np.testing.assert_array_equal(slide.read(3, 4, 30, 20), RGB[4:24, 3:33])
        np.testing.assert_array_equal(slide.read(3, 4, 30, 20, level=1), RGB[::2, ::2][4:24, 3:33])
        np.testing.assert_array_equal(slide.read(3, 4, 18, 22, level=2), RGB[::4, ::4][4:26, 3:21])


@pytest.mark.parametrize(
    ('options', 'mpp'),
    [
        (dict(description='Aperio Image Library\r\n10x10|AppMag = 40|MPP = 0.2525|Left = 1'), 0.2525),
        (dict(resolution=(40000, 40000), resolutionunit='CENTIMETER'), 0.25),
        (dict(resolution=(50800, 50800), resolutionunit='INCH'), 0.5),
        (dict(resolution=(300, 300), resolutionunit='INCH'), None),  # for a printer
        (dict(resolution=(4, 4), resolutionunit='NONE', description='ImageJ=1.53t\nunit=\\u00B5m\n'), 0.25),
        (dict(resolution=(4, 4), resolutionunit='NONE'), None),
        (dict(description='<OME><Pixels SizeX="9" PhysicalSizeX="0.5" PhysicalSizeY="0.5"></Pixels></OME>'), 0.5),
        (
            dict(
                description='<OME><Pixels PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.00025" '
                'PhysicalSizeYUnit="mm"/></OME>'
            ),
            0.25,
        ),
        (dict(description='MPP = 1.2.3'), None),
    ],
)
def test_microns_per_pixel(tmp_path, options, mpp):
    path = tmp_path / 'image.tif'
    tifffile.imwrite(path, RGB, photometric='rgb', metadata=None, **options)
    with Slide(path) as slide:
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp))
    with Slide(path, mpp=0.7) as slide:
        assert slide.mpp == 0.7


def test_pixels_that_are_not_square_are_refused(tmp_path):
    pyramid(tmp_path / 'image.tif', resolution=(40000, 20000), resolutionunit='CENTIMETER')
    with pytest.raises(InputError, match=r'0\.25 x 0\.5 microns'):
        Slide(tmp_path / 'image.tif')


@pytest.mark.parametrize('mpp', [0.25, 0.3, 0.5, 0.61, 1.3, 0.17])
def test_a_resampled_pixel_does_not_depend_on_its_window(tmp_path, mpp):
    with Slide(pyramid(tmp_path / 'image.tif'), mpp=0.25) as slide:
        height, width = slide.size_at(mpp)
        whole = slide.read(0, 0, width, height, mpp=mpp).astype(int)
        assert whole.shape == (height, width, 3)
        for x1, y1, x2, y2 in [(0, 0, 9, 8), (5, 3, 14, 13), (width - 7, height - 5, width, height)]:
            part = slide.read(x1, y1, x2 - x1, y2 - y1, mpp=mpp).astype(int)
            assert np.abs(part - whole[y1:y2, x1:x2]).max() <= 1


def test_resampling_shifts_nothing(tmp_path):
    """A ramp stays where it is: the center of pixel i at a scale s lies at (i + 0.5) s."""
    ramp = np.repeat(np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 64, 0), 3, 2)
    tifffile.imwrite(tmp_path / 'image.tif', ramp, photometric='rgb')
    with Slide(tmp_path / 'image.tif', mpp=0.25) as slide:
        for mpp in (0.4, 0.5, 0.75):
            row = slide.read(10, 5, 40, 4, mpp=mpp)[0, :, 0]
            np.testing.assert_allclose(row, (np.arange(10, 50) + 0.5) * mpp / 0.25 - 0.5, atol=0.51)


def test_real_slides(shared_data):
    with Slide(shared_data / 'slides/CMU-1-Small-Region.svs') as slide:
        assert slide.levels == [(2967, 2220)] and slide.mpp == 0.499
        assert slide.read(0, 0, 2220, 2967).std() > 10
    with Slide(shared_data / 'slides/openslide_boxes.tiff') as slide:
        assert slide.levels == [(250, 300), (125, 150), (62, 75), (31, 37)] and slide.mpp is None
    with Slide(shared_data / 'slides/instanseg_HE_example.tif') as slide:
        assert slide.mpp == pytest.approx(0.5, abs=1e-3)


def test_openslide_gives_the_same_pixels(shared_data):
    pytest.importorskip('openslide', reason='the extra `slides` is not installed')
    folder = shared_data / 'slides'
    files = [folder / f'openslide_boxes_{number}.dcm' for number in range(2)]
    for path in (*files, folder / 'CMU-1-Small-Region.svs'):
        by_openslide = slide_module._OpenSlide(path)
        height, width = by_openslide.levels[0]
        pixels = by_openslide.read(0, 0, 0, width, height)
        with Slide(path if path.suffix == '.svs' else folder / 'openslide_small.svs') as slide:
            assert slide.levels == by_openslide.levels and slide.mpp == by_openslide.mpp
            np.testing.assert_array_equal(slide.read(0, 0, width, height), pixels)
        by_openslide.close()
    # Two levels of one slide.
    assert without_repeats([*files, folder / 'openslide_small.svs']) == [files[0], folder / 'openslide_small.svs']


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openslide', None)
    (tmp_path / 'slide.ndpi').write_bytes(b'anything')
    with pytest.raises(InputError, match=r"slide\.ndpi: .* only OpenSlide reads.* pip install '\.\[slides\]'"):
        Slide(tmp_path / 'slide.ndpi')
