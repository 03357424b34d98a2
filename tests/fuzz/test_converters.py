"""Sources of every layout, one of whose files is broken or hostile."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from pycocotools import mask as coco_mask
from scipy.io import savemat

from mmcell.converters import LAYOUTS, convert

SIZE = (24, 31)
PLANE = np.zeros(SIZE, dtype=np.int32)
PLANE[2:9, 3:12], PLANE[12:20, 4:10], PLANE[5:22, 15:28] = 1, 2, 7
PNG = imagecodecs.png_encode(np.full((*SIZE, 3), 200, np.uint8))
LABELS = imagecodecs.png_encode(PLANE.astype(np.uint16))


def saved(write, *arguments, **options) -> bytes:
    file = io.BytesIO()
    write(file, *arguments, **options)
    return file.getvalue()


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    return saved(np.save, array, allow_pickle=pickled)


def mat(compressed: bool = True, **maps: object) -> bytes:
    return saved(savemat, maps, do_compression=compressed)


def xml(regions: int = 3) -> bytes:
    parts = []
    for index in range(regions):
        corners = [(2 + index, 2), (12, 3 + index), (14, 15), (3, 12 + index)]
        vertices = ''.join(f'<Vertex X="{x}.5" Y="{y}.25" Z="0"/>' for x, y in corners)
        parts.append(f'<Region Id="{index}" NegativeROA="0"><Vertices>{vertices}</Vertices></Region>')
    annotation = f'<Annotation Id="1"><Attributes><Attribute Name="Epithelial"/></Attributes><Regions>{"".join(parts)}'
    return f'<?xml version="1.0"?><Annotations>{annotation}</Regions></Annotation></Annotations>'.encode()


FOLD = np.zeros((2, 16, 16, 6))
FOLD[:, 2:6, 3:9, 0], FOLD[:, 9:12, 3:9, 3] = 1, 5
PICTURES = np.full((2, 16, 16, 3), 200.0)
TYPES = np.repeat(PLANE[..., None] > 0, 1, axis=2)[..., 0] * 3

OUTLINE = [[3, 2], [12.5, 2], [12, 9.25], [3, 9]]

#: A small source of each layout, by path; the files that are broken come first.
SOURCES: dict[str, dict[str, bytes]] = {
    'class_tiff': {
        'train/a/class1.tif': saved(tifffile.imwrite, PLANE.astype(np.float64)),
        'train/a/image.tif': saved(tifffile.imwrite, np.full((*SIZE, 3), 9, np.uint8), compression='lzw'),
    },
    'instance_png': {
        'a/masks/1.png': imagecodecs.png_encode((PLANE == 1).astype(np.uint8) * 255),
        'a/images/a.png': PNG,
    },
    'label_image': {'a_masks.png': LABELS, 'a.png': PNG},
    'monusac_xml': {'p/a.xml': xml(), 'p/a.png': PNG},
    'consep_mat': {
        'Train/Labels/a.mat': mat(inst_map=PLANE.astype(float), type_map=TYPES.astype(float)),
        'Train/Images/a.png': PNG,
    },
    'pannuke_npy': {
        'f/masks.npy': npy(FOLD),
        'f/images.npy': npy(PICTURES),
        'f/types.npy': npy(np.array(['Breast', 'Colon'])),
    },
    'geojson': {
        'a.geojson': json.dumps(
            {
                'type': 'FeatureCollection',
                'features': [
                    {
                        'type': 'Feature',
                        'id': 'a0',
                        'geometry': {
                            'type': 'MultiPolygon',
                            'coordinates': [[OUTLINE, [[5, 4], [8, 4], [8, 7], [5, 4]]], [[[1, 1], [2, 2], [1, 2]]]],
                        },
                        'properties': {'objectType': 'annotation', 'classification': {'name': 'Tumor'}},
                    },
                    {
                        'type': 'Feature',
                        'geometry': {'type': 'Polygon', 'coordinates': [OUTLINE]},
                        'nucleusGeometry': {'type': 'Polygon', 'coordinates': [[[5, 5], [8, 5], [8, 9]]]},
                        'properties': {'objectType': 'cell', 'classification': {'names': ['Tumor', 'Positive']}},
                    },
                ],
            }
        ).encode(),
        'b.geojson.gz': gzip.compress(b'[]'),
        'a.png': PNG,
        'b.png': PNG,
    },
    'labelme': {
        'a.json': json.dumps(
            {
                'version': '5.4.1',
                'imagePath': 'a.png',
                'imageHeight': SIZE[0],
                'imageWidth': SIZE[1],
                'shapes': [
                    {'label': 'a', 'points': OUTLINE, 'shape_type': 'polygon', 'group_id': 1, 'flags': {}},
                    {'label': 'a', 'points': [[15, 3], [20, 8]], 'shape_type': 'rectangle', 'group_id': 1},
                    {'label': 'b', 'points': [[15, 13], [20, 18]], 'shape_type': 'circle', 'group_id': None},
                    {
                        'label': 'b',
                        'points': [[0, 2], [30, 25]],
                        'shape_type': 'mask',
                        'mask': base64.b64encode(LABELS).decode(),
                    },
                ],
            }
        ).encode(),
        'a.png': PNG,
    },
    'coco': {
        'images/a.png': PNG,
        'all.json': json.dumps(
            {
                'images': [{'id': 1, 'file_name': 'a.png', 'height': SIZE[0], 'width': SIZE[1]}],
                'categories': [{'id': 1, 'name': 'cell'}],
                'annotations': [
                    {'id': 1, 'image_id': 1, 'category_id': 1, 'segmentation': [[3, 2, 12, 2, 12, 9, 3, 9]]},
                ],
            }
        ).encode(),
    },
}


def check(layout: str, files: dict[str, bytes], work: Path) -> None:
    """All or nothing is written; every mask is its image's, every box its mask's, every image in the folder."""
    source, out = work / 'source', work / 'out'
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    try:
        convert(LAYOUTS.get(layout)(source), out, workers=1)
    except Exception:
        assert not out.exists()
        raise
    content = json.loads((out / 'annotations/trainval.json').read_bytes())
    sizes = {image['id']: [image['height'], image['width']] for image in content['images']}
    for image in content['images']:
        assert (out / 'images' / image['file_name']).is_file()
    for cell in content['annotations']:
        assert cell['segmentation']['size'] == sizes[cell['image_id']]
        assert coco_mask.toBbox(cell['segmentation']).tolist() == cell['bbox']
        assert coco_mask.area(cell['segmentation']) == cell['area'] > 0


@pytest.fixture(scope='module', autouse=True)
def imports(tmp_path_factory):
    """What is imported late is imported before any process forks, and not in each."""
    for layout, files in SOURCES.items():
        check(layout, files, tmp_path_factory.mktemp(layout))


@pytest.mark.parametrize('layout', SOURCES)
def test_the_whole_sources_are_correct(fuzz, layout):
    assert fuzz('sources', 1, lambda rng, work: check(layout, SOURCES[layout], work)) == {'correct': 1}


@pytest.mark.slow
@pytest.mark.parametrize(('layout', 'name'), [(layout, name) for layout, files in SOURCES.items() for name in files])
def test_broken_sources(fuzz, mutate, layout, name):
    files = SOURCES[layout]
    cases = 300 if name.endswith(('.mat', '.npy', '.xml', '.geojson', '.json')) else 100

    def case(rng: np.random.Generator, work: Path) -> None:
        check(layout, {**files, name: mutate(files[name], rng)}, work)

    fuzz(f'{layout}, {Path(name).name}', cases, case)


@pytest.mark.slow
def test_broken_mat_inside_its_compression(fuzz, mutate):
    """Flips in compressed data hardly ever reach what is inside; here they do."""
    plain = mat(False, inst_map=PLANE.astype(float), type_map=TYPES.astype(float), inst_type=np.ones((3, 1)))

    def case(rng: np.random.Generator, work: Path) -> None:
        broken = mutate(plain[128:], rng)
        body = zlib.compress(broken)
        compressed = (15).to_bytes(4, 'little') + len(body).to_bytes(4, 'little') + body
        data = plain[:128] + (compressed if rng.random() < 0.5 else broken)
        check('consep_mat', {**SOURCES['consep_mat'], 'Train/Labels/a.mat': data}, work)

    fuzz('consep_mat, inside', 600, case)


def nested_cells(depth: int) -> bytes:
    """`inst_map` as a cell in a cell in a cell …, which takes a few bytes a level, compressed."""
    number = np.array([[1.0]])
    inner = mat(False, x=number)[128 + 8 :]
    # The level's flags (cell), dimensions (1, 1) and an empty name, then the next level.
    head = bytes.fromhex('0600000008000000 0100000000000000 0500000008000000 0100000001000000 0100000000000000')
    sizes, size = [], len(inner)
    for _ in range(depth):
        sizes.append(size)
        size += 8 + len(head)
    body = b''.join(head + (14).to_bytes(4, 'little') + size.to_bytes(4, 'little') for size in reversed(sizes)) + inner
    name = b'inst_map'
    top = bytes.fromhex('0600000008000000 0100000000000000 0500000008000000 0100000001000000 0100000008000000') + name
    body = top + body[len(head) :] if depth else body
    element = (14).to_bytes(4, 'little') + len(body).to_bytes(4, 'little') + body
    packed = zlib.compress(element)
    return mat(x=1)[:128] + (15).to_bytes(4, 'little') + len(packed).to_bytes(4, 'little') + packed


class Bomb:
    """Unpickling it would write a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (Path(self.path),)


ENTITIES = ''.join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
HOSTILE: dict[str, tuple[str, str, bytes]] = {
    'billion laughs': (
        'monusac_xml',
        'p/a.xml',
        f'<!DOCTYPE a [<!ENTITY a0 "x">{ENTITIES}]><Annotations>&a11;</Annotations>'.encode(),
    ),
    'external entity': (
        'monusac_xml',
        'p/a.xml',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Annotations>&x;</Annotations>',
    ),
    'external document type': ('monusac_xml', 'p/a.xml', b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x"><Annotations/>'),
    'deep XML': ('monusac_xml', 'p/a.xml', b'<a>' * 2_000_000),
    'deep XML, closed': ('monusac_xml', 'p/a.xml', b'<a>' * 500_000 + b'</a>' * 500_000),
    'five million elements': ('monusac_xml', 'p/a.xml', b'<a>' + b'<b/>' * 5_000_000 + b'</a>'),
    'XML in an unknown encoding': ('monusac_xml', 'p/a.xml', b'<?xml version="1.0" encoding="x"?><a/>'),
    'vertices far away': ('monusac_xml', 'p/a.xml', xml().replace(b'12.5', b'1e308').replace(b'2.5', b'-1e308')),
    'endless vertices': ('monusac_xml', 'p/a.xml', xml().replace(b'12.5', b'inf')),
    'pickled npy': ('pannuke_npy', 'f/masks.npy', npy(np.array([[1], 2], dtype=object), pickled=True)),
    'npy of 2^60 images': (
        'pannuke_npy',
        'f/masks.npy',
        npy(FOLD)
        .replace(b'(2, 16, 16, 6), }', b'(2**60, 16, 16, 6), }'[:17])
        .replace(b'(2, 16', b'(9999999999, 16', 1),
    ),
    'mat of another size': ('consep_mat', 'Train/Labels/a.mat', mat(inst_map=np.zeros((5000, 5000), np.uint8))),
    'mat with many types': (
        'consep_mat',
        'Train/Labels/a.mat',
        mat(inst_map=PLANE.astype(float), inst_type=np.zeros((2**24, 1), np.uint8)),
    ),
    'mat of cells': ('consep_mat', 'Train/Labels/a.mat', nested_cells(200_000)),
    'mat of objects': ('consep_mat', 'Train/Labels/a.mat', mat(inst_map=np.array([[{'a': 1}]], dtype=object))),
    'float ids': ('class_tiff', 'train/a/class1.tif', saved(tifffile.imwrite, PLANE + 0.5)),
    'NaN ids': ('class_tiff', 'train/a/class1.tif', saved(tifffile.imwrite, np.where(PLANE, np.nan, 0.0))),
    'endless ids': ('class_tiff', 'train/a/class1.tif', saved(tifffile.imwrite, np.where(PLANE, np.inf, 0.0))),
    'negative ids': ('class_tiff', 'train/a/class1.tif', saved(tifffile.imwrite, -PLANE)),
    'ids of 2^31': ('class_tiff', 'train/a/class1.tif', saved(tifffile.imwrite, (PLANE.astype(np.uint32) << 31))),
    'ids of 2^63': ('class_tiff', 'train/a/class1.tif', saved(tifffile.imwrite, PLANE.astype(np.uint64) << 63)),
    'ids of 1e300': ('class_tiff', 'train/a/class1.tif', saved(tifffile.imwrite, PLANE * 1e300)),
}

SLOW = {'five million elements', 'deep XML, closed'}


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in HOSTILE]
)
def test_hostile_sources(fuzz, name):
    layout, file, content = HOSTILE[name]
    tally = fuzz('hostile sources', 1, lambda rng, work: check(layout, {**SOURCES[layout], file: content}, work))
    # Outlines are cut at the edge of the image, whatever they do beyond it.
    assert tally == {'correct' if name == 'vertices far away' else 'refused': 1}


@pytest.mark.parametrize('file', ['f/masks.npy', 'f/images.npy', 'f/types.npy'])
def test_no_pickle_is_executed(fuzz, tmp_path, file):
    trap = tmp_path / 'trap'
    content = npy(np.array([Bomb(str(trap))] * 2, dtype=object), pickled=True)
    with pytest.MonkeyPatch.context() as patch:  # proves that the trap works
        patch.chdir(tmp_path)
        np.load(io.BytesIO(content), allow_pickle=True)
        assert trap.exists()
        trap.unlink()
    source = SOURCES['pannuke_npy']
    assert fuzz('hostile sources', 1, lambda rng, work: check('pannuke_npy', {**source, file: content}, work)) == {
        'refused': 1
    }
    assert not trap.exists()


def test_links_pipes_and_loops(fuzz):
    """Links may lead anywhere, as those of data sets in caches do; what is behind them must be a file."""

    def case(rng: np.random.Generator, work: Path) -> None:
        (work / 'source').mkdir()
        (work / 'elsewhere.png').write_bytes(PNG)
        (work / 'source/a.png').symlink_to(work / 'elsewhere.png')
        (work / 'source/a_masks.png').write_bytes(LABELS)
        convert(LAYOUTS.get('label_image')(work / 'source'), work / 'out', workers=1)
        os.mkfifo(work / 'pipe')
        (work / 'elsewhere.png').unlink()
        (work / 'elsewhere.png').symlink_to(work / 'source/a.png')
        for target in ('source/a.png', 'pipe', 'source', '/dev/zero'):
            (work / 'source/a.png').unlink()
            (work / 'source/a.png').symlink_to(work / target)
            with pytest.raises(Exception, match=r'has no image|holds no images'):
                convert(LAYOUTS.get('label_image')(work / 'source'), work / 'again', workers=1)
            assert not (work / 'again').exists()

    assert fuzz('links', 1, case) == {'correct': 1}
