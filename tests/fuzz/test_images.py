"""Images: every way in which a TIFF, PNG or JPEG can be broken, and files that are made to hurt."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from mmcell.errors import InputError
from mmcell.io.images import read_image, read_label_map, read_size
from mmcell.io.slide import Slide

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (37, 29, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(37), np.arange(29)).astype(np.uint8)[..., None] * np.array([1, 2, 3], np.uint8)
IDS = np.zeros((37, 29), dtype=np.uint16)
IDS[3:9, 4:12], IDS[20:30, 15:25], IDS[12:15, 2:6] = 1, 7, 300


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    channels = pixels.shape[-1] if pixels.ndim == 3 else 1
    options.setdefault('photometric', 'rgb' if channels > 2 else 'minisblack')
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


IMAGES = {
    'TIFF uncompressed': tiff(RGB),
    'TIFF strips': tiff(RGB, rowsperstrip=5),
    'TIFF LZW': tiff(SMOOTH, compression='lzw', rowsperstrip=9),
    'TIFF LZW, predictor': tiff(SMOOTH, compression='lzw', predictor=True),
    'TIFF deflate tiles': tiff(SMOOTH, compression='zlib', tile=(16, 16)),
    'TIFF PackBits': tiff(SMOOTH, compression='packbits'),
    'TIFF JPEG': tiff(SMOOTH, compression='jpeg', tile=(16, 16)),
    'TIFF JPEG 2000': tiff(SMOOTH, compression='jpeg2000', tile=(16, 16)),
    'TIFF RGBA': tiff(np.dstack([RGB, RGB[..., 0]]), compression='lzw', extrasamples=['unassalpha']),
    'TIFF 16 bit, big-endian': tiff(RGB.astype(np.uint16) * 257, byteorder='>', compression='zlib'),
    'TIFF planes': tiff(np.moveaxis(RGB, 2, 0), photometric='rgb', planarconfig='separate'),
    'BigTIFF': tiff(RGB, bigtiff=True, compression='zlib'),
    'PNG RGB': imagecodecs.png_encode(RGB),
    'PNG RGBA': imagecodecs.png_encode(np.dstack([SMOOTH, RGB[..., 0]])),
    'PNG 16 bit': imagecodecs.png_encode(RGB.astype(np.uint16) * 257),
    'JPEG': imagecodecs.jpeg8_encode(SMOOTH, level=90),
    'JPEG noise': imagecodecs.jpeg8_encode(RGB, level=95),
}
LABEL_MAPS = {
    'ids, TIFF uint16': tiff(IDS),
    'ids, TIFF float64': tiff(IDS.astype(np.float64)),
    'ids, TIFF float32 deflate': tiff(IDS.astype(np.float32), compression='zlib', predictor=True),
    'ids, TIFF int32 LZW': tiff(IDS.astype(np.int32), compression='lzw'),
    'ids, TIFF 1 bit': tiff(IDS > 0),
    'ids, PNG 16 bit': imagecodecs.png_encode(IDS),
}


def check_image(path: Path) -> None:
    """What is read must have the size that the header says, twice the same pixels, and the same ones by windows."""
    image = read_image(path)
    height, width = image.shape[:2]
    assert image.shape == (height, width, 3) and image.dtype == np.uint8 and image.size
    assert read_size(path) == (height, width)
    assert np.array_equal(read_image(path), image)
    if height * width > 2**20:
        return
    with Slide(path) as windows:
        assert windows.size == (height, width)
        assert np.array_equal(windows.read(0, 0, width, height), image)


def check_label_map(path: Path) -> None:
    plane = read_label_map(path)
    assert plane.ndim == 2 and plane.dtype == np.int32 and plane.size and plane.min() >= 0
    assert read_size(path) == plane.shape
    assert np.array_equal(read_label_map(path), plane)


def check_windows(path: Path) -> None:
    """Windows alone: a file may be too large to be read as a whole."""
    with Slide(path) as windows:
        height, width = windows.size
        assert height > 0 and width > 0
        part = windows.read(0, 0, min(width, 64), min(height, 64))
        assert part.shape == (min(height, 64), min(width, 64), 3)


@pytest.mark.slow
@pytest.mark.parametrize('kind', IMAGES)
def test_broken_images(fuzz, mutate, kind):
    def case(rng: np.random.Generator, work: Path) -> None:
        (work / 'image').write_bytes(mutate(IMAGES[kind], rng))
        check_image(work / 'image')

    fuzz(kind, 200, case)


@pytest.mark.slow
@pytest.mark.parametrize('kind', LABEL_MAPS)
def test_broken_label_maps(fuzz, mutate, kind):
    def case(rng: np.random.Generator, work: Path) -> None:
        (work / 'ids').write_bytes(mutate(LABEL_MAPS[kind], rng))
        check_label_map(work / 'ids')

    fuzz(kind, 150, case)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['TIFF uncompressed', 'TIFF deflate tiles', 'TIFF JPEG', 'PNG RGB', 'JPEG'])
def test_cut_off_anywhere(fuzz, kind):
    data = IMAGES[kind]

    def case(rng: np.random.Generator, work: Path) -> None:
        (work / 'image').write_bytes(data[: int(rng.integers(len(data)))])
        check_image(work / 'image')

    assert fuzz(f'{kind}, cut off', 150, case)['refused'] > 100


#: Numbers that fields of headers must survive.
NUMBERS = [0, 1, 2, 3, 4, 5, 8, 16, 24, 32, 64, 255, 256, 32773, 65535, 10**6, 2**29, 2**31 - 1, 2**31, 2**32 - 1]
COMPRESSIONS = [*tifffile.COMPRESSION, 0, 77, 65535]


def tags(data: bytes) -> list[tuple[int, int]]:
    """Code of each tag of the first page, and where its entry of 12 bytes starts; little-endian, not BigTIFF."""
    (at,) = struct.unpack_from('<I', data, 4)
    (count,) = struct.unpack_from('<H', data, at)
    return [(struct.unpack_from('<H', data, at + 2 + 12 * i)[0], at + 2 + 12 * i) for i in range(count)]


def wrong_tag(data: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(data)
    entries = tags(data)
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        code, at = entries[int(rng.integers(len(entries)))]
        if rng.random() < 0.4:
            wanted = {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 338, 339}
            code, at = [entry for entry in entries if entry[0] in wanted][int(rng.integers(8))]
        value = int(rng.choice(NUMBERS))
        if code == 259:
            value = int(rng.choice(COMPRESSIONS))
        match int(rng.integers(6)):
            case 0:  # another type of value
                data[at + 2 : at + 4] = int(rng.integers(0, 20)).to_bytes(2, 'little')
            case 1:  # another number of values
                data[at + 4 : at + 8] = value.to_bytes(4, 'little')
            case 2:  # another tag
                data[at : at + 2] = int(rng.choice([254, 256, 266, 274, 318, 330, 347, 513, 34665, 50838])).to_bytes(
                    2, 'little'
                )
            case _:
                data[at + 8 : at + 12] = value.to_bytes(4, 'little')
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize('kind', [name for name in IMAGES if name.startswith('TIFF') and 'big' not in name])
@pytest.mark.parametrize('check', [check_image, check_windows])
def test_wrong_tags(fuzz, kind, check):
    def case(rng: np.random.Generator, work: Path) -> None:
        (work / 'image').write_bytes(wrong_tag(IMAGES[kind], rng))
        check(work / 'image')

    fuzz(f'{kind}, wrong tags{", by windows" * (check is check_windows)}', 150, case)


def one_page(entries: list[tuple[int, int, int, int]], data: bytes = b'', next_page: int = 0) -> bytes:
    """A little-endian TIFF of one page with tags (code, type, count, value), its data at offset 8."""
    at = 8 + len(data) + len(data) % 2
    head = struct.pack('<2sHI', b'II', 42, at) + data.ljust(at - 8, b'\0')
    body = struct.pack('<H', len(entries)) + b''.join(struct.pack('<HHII', *entry) for entry in sorted(entries))
    return head + body + struct.pack('<I', next_page)


def grey(width: int, height: int, data: bytes, compression: int = 1, **tags: int) -> bytes:
    """An 8-bit gray TIFF in one strip that says what it is told to say."""
    names = {'rows': 278, 'count': 279, 'offset': 273, 'samples': 277, 'bits': 258, 'format': 339, 'photometric': 262}
    values = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    values |= {names[name]: value for name, value in tags.items()}
    return one_page([(code, 4, 1, value) for code, value in values.items()], data)


def png_of(width: int, height: int, bits: int = 8, colour: int = 2, rows: bytes = b'') -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


def inflated(data: bytes, side: int) -> bytes:
    """A JPEG or JPEG 2000 whose own header gives another size."""
    data = bytearray(data)
    if (at := data.find(b'\xff\x4f\xff\x51')) >= 0:
        for offset in (8, 12, 24, 28):
            data[at + offset : at + offset + 4] = side.to_bytes(4, 'big')
    elif (at := data.find(b'\xff\xc0')) >= 0:
        data[at + 5 : at + 9] = side.to_bytes(2, 'big') * 2
    return bytes(data)


ZEROS = zlib.compress(bytes(2**27), 9)  # 128 MiB in 130 KB

#: Small files that ask for gigabytes or for ever.
HOSTILE = {
    'a side of 2^31': grey(2**31, 2**31, b'x' * 100),
    'a side of 2^32 - 1, deflate': grey(2**32 - 1, 2**32 - 1, ZEROS, 8),
    'a line of 2^31 pixels': grey(2**31, 1, b'x' * 100),
    '2^29 pixels in 100 bytes': grey(2**15, 2**14, b'x' * 100),
    '2^29 pixels in 100 bytes of LZW': grey(2**15, 2**14, b'\x80' * 100, 5),
    '2^29 pixels in 100 bytes of deflate': grey(2**15, 2**14, zlib.compress(bytes(100)), 8),
    '2^29 pixels in 100 bytes of PackBits': grey(2**15, 2**14, b'\x81\0' * 50, 32773),
    '2^29 pixels in 100 bytes of LZMA': grey(2**15, 2**14, b'\xfd7zXZ\0' * 20, 34925),
    '16 pixels that inflate to 128 MiB': grey(4, 4, ZEROS, 8),
    '65535 channels': grey(4096, 4096, ZEROS, 8, samples=65535),
    '64-bit pixels': grey(2**15, 2**14, ZEROS, 8, bits=64, format=3),
    'no rows a strip': grey(64, 64, b'x' * 4096, rows=0),
    '2^32 - 1 rows a strip': grey(64, 64, b'x' * 4096, rows=2**32 - 1),
    'pixels beyond the end': grey(64, 64, b'x' * 4096, offset=2**31),
    'a strip longer than the file': grey(64, 64, b'x' * 4096, count=2**32 - 1),
    'a page that follows itself': one_page([(256, 4, 1, 4), (257, 4, 1, 4)], next_page=8),
    'no tags': one_page([]),
    'no page': b'II*\0\0\0\0\0',
    'a page beyond the end': b'II*\0\xff\xff\xff\xff',
    '2^32 - 1 strips': one_page(
        [(256, 4, 1, 64), (257, 4, 1, 64), (273, 4, 2**32 - 1, 8), (279, 4, 2**32 - 1, 8), (278, 4, 1, 1)], bytes(4096)
    ),
    'JPEG tiles with another size': inflated(IMAGES['TIFF JPEG'], 60000),
    'JPEG 2000 tiles with another size': inflated(IMAGES['TIFF JPEG 2000'], 60000),
    'a JPEG of 65500 x 65500': inflated(IMAGES['JPEG'], 65500),
    'a JPEG of 20000 x 20000 in 2 KB': inflated(IMAGES['JPEG'], 20000),
    'a PNG of 2^31 - 1': png_of(2**31 - 1, 2**31 - 1),
    'a PNG of 2^29 pixels in 100 bytes': png_of(2**15, 2**14, 16, 6),
    'a PNG that inflates beyond its pixels': png_of(4, 4, rows=bytes(2**27)),
    'nothing': b'',
    'zeros': bytes(1000),
}


@pytest.mark.parametrize('check', [check_image, check_label_map, check_windows])
@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_images(fuzz, name, check):
    def case(rng: np.random.Generator, work: Path) -> None:
        (work / 'image').write_bytes(HOSTILE[name])
        check(work / 'image')

    fuzz('hostile images', 1, case)


def test_folders_pipes_and_devices_are_no_images(fuzz):
    def case(rng: np.random.Generator, work: Path) -> None:
        os.mkfifo(work / 'pipe')
        (work / 'loop').symlink_to(work / 'loop')
        for path in (work, work / 'pipe', work / 'loop', Path('/dev/zero'), Path('/dev/stdin')):
            for read in (read_image, read_label_map, read_size, Slide):
                with pytest.raises(InputError):
                    read(path)

    assert fuzz('no files', 1, case)['correct'] == 1
