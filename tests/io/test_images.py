from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmcell.errors import InputError
from mmcell.io.images import read_image, read_label_map, read_size
from mmcell.io.slide import Slide

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
    chunk = header[12:16] + huge + huge + header[24:29]
    (tmp_path / 'bomb.png').write_bytes(header[:12] + chunk + zlib.crc32(chunk).to_bytes(4, 'big') + header[33:])
    with pytest.raises(InputError, match='too large'):
        read_image(tmp_path / 'bomb.png')


@pytest.mark.parametrize('dtype', [np.bool_, np.uint8, np.int32, np.uint16, np.float64])
def test_label_maps(tmp_path, dtype):
    plane = RNG.integers(0, 2 if dtype == np.bool_ else 100, (9, 7)).astype(dtype)
    tifffile.imwrite(tmp_path / 'mask.tif', plane)
    labels = read_label_map(tmp_path / 'mask.tif')
    assert labels.dtype == np.int32 and np.array_equal(labels, plane)


def turned(pixels, orientation):
    """As EXIF describes its numbers: by where row 0 and column 0 of what is stored are seen."""
    rows = {1: 'top', 2: 'top', 3: 'bottom', 4: 'bottom', 5: 'left', 6: 'right', 7: 'right', 8: 'left'}[orientation]
    columns = {1: 'left', 2: 'right', 3: 'right', 4: 'left', 5: 'top', 6: 'top', 7: 'bottom', 8: 'bottom'}[orientation]
    height, width = pixels.shape[:2]
    shown = np.zeros((width, height, *pixels.shape[2:]) if orientation > 4 else pixels.shape, pixels.dtype)
    for i in range(height):
        for j in range(width):
            of_row = {'top': i, 'left': i, 'bottom': height - 1 - i, 'right': height - 1 - i}[rows]
            of_column = {'top': j, 'left': j, 'bottom': width - 1 - j, 'right': width - 1 - j}[columns]
            shown[(of_row, of_column) if rows in ('top', 'bottom') else (of_column, of_row)] = pixels[i, j]
    return shown


@pytest.mark.parametrize('kind', ['png', 'tif', 'lzw'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_in_every_reader(tmp_path, kind, orientation):
    pixels = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
    path = tmp_path / f'image.{kind[:3]}'
    if kind == 'png':
        exif = Image.Exif()
        exif[0x112] = orientation
        Image.fromarray(pixels).save(path, exif=exif)
    else:
        compression = {'tif': None, 'lzw': 'lzw'}[kind]
        tag = [(274, 3, 1, orientation, True)]
        tifffile.imwrite(path, pixels, photometric='rgb', compression=compression, rowsperstrip=5, extratags=tag)
    shown = turned(pixels, orientation)
    assert read_size(path) == shown.shape[:2]
    assert np.array_equal(read_image(path), shown)
    with Slide(path) as image:
        assert np.array_equal(image.read(2, 1, 9, 7), shown[1:8, 2:11])
    with Slide(path, 'bgr') as image:
        assert np.array_equal(image.read(2, 1, 9, 7), shown[1:8, 2:11, ::-1])


def test_orientation_of_jpeg(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(np.repeat([[0], [200]], 16, axis=1).repeat(8, 0).astype(np.uint8)).save(
        tmp_path / 'a.jpg', exif=exif, quality=95
    )
    image = read_image(tmp_path / 'a.jpg')
    assert image.shape == (16, 16, 3) and image[:, :8].min() > 190 and image[:, 8:].max() < 10


def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


@pytest.mark.parametrize('kind', ['eXIf', 'profile', 'XMP'])
@pytest.mark.parametrize('behind', [False, True])
def test_orientation_of_png_wherever_it_says_so(tmp_path, kind, behind):
    """exiftool writes behind the pixels, ImageMagick a profile in hexadecimal digits."""
    pixels = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x112] = 6
    if kind == 'eXIf':
        note = chunk(b'eXIf', exif.tobytes().removeprefix(b'Exif\0\0'))
    elif kind == 'profile':
        data = exif.tobytes()
        text = f'\nexif\n{len(data):8d}\n{data.hex()}\n'.encode()
        note = chunk(b'zTXt', b'Raw profile type exif\0\0' + zlib.compress(text))
    else:
        note = chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="6"/>')
    data = imagecodecs.png_encode(pixels)
    at = len(data) - 12 if behind else 33
    (tmp_path / 'a.png').write_bytes(data[:at] + note + data[at:])
    assert read_size(tmp_path / 'a.png') == (17, 12)
    assert np.array_equal(read_image(tmp_path / 'a.png'), turned(pixels, 6))


def test_a_png_of_several_pictures_is_refused(tmp_path):
    frames = [Image.fromarray(RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)) for _ in range(2)]
    frames[0].save(tmp_path / 'a.png', save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match='several pictures'):
        read_image(tmp_path / 'a.png')


@pytest.mark.parametrize('kind', ['png', 'tif'])
def test_palettes(tmp_path, kind):
    ids = RNG.integers(0, 20, (9, 7), dtype=np.uint8)
    palette = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    picture = Image.fromarray(ids, mode='P')
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / f'a.{kind}')
    assert np.array_equal(read_label_map(tmp_path / f'a.{kind}'), ids)
    assert np.array_equal(read_image(tmp_path / f'a.{kind}'), palette[ids])


def test_transparency_of_a_palette_is_alpha(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), mode='P')
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / 'a.png', transparency=b'\x00\xff')
    assert read_image(tmp_path / 'a.png').tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_bits_that_ome_says_are_used(tmp_path):
    pixels = RNG.integers(0, 2**12, (9, 7, 3), dtype=np.uint16)
    path, options = tmp_path / 'a.ome.tif', dict(photometric='rgb', metadata={'SignificantBits': 12})
    tifffile.imwrite(path, pixels, **options)
    expected = np.floor(pixels * (255 / 4095) + 0.5)
    assert np.array_equal(read_image(path), expected)
    with Slide(path) as slide:
        assert np.array_equal(slide.read(2, 1, 4, 5), expected[1:6, 2:6])
    pixels[0, 0, 0] = 2**12
    tifffile.imwrite(path, pixels, **options)
    with pytest.raises(InputError, match='beyond the 12 bits'):
        read_image(path)


@pytest.mark.parametrize('bits', [4, 10, 12])
@pytest.mark.parametrize('photometric', ['minisblack', 'miniswhite'])
def test_bits_that_are_used_are_the_full_range(tmp_path, bits, photometric):
    pixels = RNG.integers(0, 2**bits, (8, 16), dtype=np.uint16)
    rows = [''.join(f'{value:0{bits}b}' for value in row) for row in pixels.tolist()]
    packed = b''.join(int(row, 2).to_bytes(16 * bits // 8, 'big') for row in rows)
    file = one_strip(16, 8, bits, packed, 1 if photometric == 'minisblack' else 0)
    (tmp_path / 'a.tif').write_bytes(file)
    expected = np.floor(pixels * (255 / (2**bits - 1)) + 0.5)
    expected = expected if photometric == 'minisblack' else 255 - expected
    assert np.array_equal(read_image(tmp_path / 'a.tif')[..., 0], expected)
    assert np.array_equal(read_label_map(tmp_path / 'a.tif'), pixels)


def one_strip(width, height, bits, data, photometric=1, *more):
    """A gray TIFF in one strip, with further tags (code, value)."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    data += bytes(len(data) % 2)
    entries = b''.join(
        struct.pack('<HHII', code, 4, 1, value) for code, value in sorted({**tags, **dict(more)}.items())
    )
    head = struct.pack('<2sHI', b'II', 42, 8 + len(data))
    return head + data + struct.pack('<H', len(entries) // 12) + entries + bytes(4)


def test_a_predictor_without_compression_is_ignored_by_every_reader(tmp_path):
    pixels = RNG.integers(0, 256, (16, 15), dtype=np.uint8)
    (tmp_path / 'a.tif').write_bytes(one_strip(15, 16, 8, pixels.tobytes(), 1, (317, 2)))
    assert np.array_equal(read_image(tmp_path / 'a.tif')[..., 0], pixels)  # as libtiff has it
    with Slide(tmp_path / 'a.tif') as image:
        assert np.array_equal(image.read(0, 0, 15, 16)[..., 0], pixels)


@pytest.mark.parametrize('reader', [read_image, Slide])
@pytest.mark.parametrize('name', ['two channels', 'four channels', 'CMYK', 'YCbCr', 'CMYK in JPEG'])
def test_channels_that_are_no_alpha_and_other_inks_are_refused(tmp_path, name, reader):
    pixels = RNG.integers(0, 250, (8, 16, 4), dtype=np.uint8)
    path = tmp_path / 'a'
    if name == 'two channels':
        tifffile.imwrite(path, pixels[..., :2], photometric='minisblack', planarconfig='contig')
    elif name == 'four channels':
        tifffile.imwrite(path, pixels, photometric='rgb', extrasamples=['unspecified'])
    elif name == 'CMYK':
        tifffile.imwrite(path, pixels, photometric='separated')
    elif name == 'YCbCr':
        tifffile.imwrite(path, pixels[..., :3], photometric='ycbcr', compression='zlib')
    else:
        Image.fromarray(pixels, mode='CMYK').save(path, format='JPEG')
    with pytest.raises(InputError, match=r'channels|colours'):
        result = reader(path)
        result.read(0, 0, 16, 8)


def test_an_undeclared_channel_that_is_full_is_harmless(tmp_path):
    pixels = RNG.integers(0, 256, (8, 16, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', extrasamples=['unspecified'])
    assert np.array_equal(read_image(tmp_path / 'a.tif'), pixels[..., :3])
