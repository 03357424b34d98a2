"""What holds for every layout: left-overs, files that nobody reads, --out inside the source, the number of classes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from scipy.io import savemat

from mmcell.coco.schema import find_problems, read_coco
from mmcell.converters.base import layout_names
from mmcell.io.images import read_size

SIZE = (24, 30)
SQUARE = [[4, 4], [12, 4], [12, 12], [4, 12]]


def labels(first: int = 1) -> np.ndarray:
    plane = np.zeros(SIZE, np.uint16)
    plane[4:12, 4:12], plane[14:20, 15:25] = first, first + 1
    return plane


def picture(path: Path, pixels: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8) if pixels is None else pixels
    if path.suffix == '.png':
        assert cv2.imwrite(str(path), pixels)
    else:
        tifffile.imwrite(path, pixels)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def class_tiff(root: Path) -> None:
    for name in 'ab':
        picture(root / 'train' / name / 'image.tif')
        picture(root / 'train' / name / 'class1.tif', labels())


def instance_png(root: Path) -> None:
    for name in 'ab':
        picture(root / name / 'images' / 'one.png')
        for value in (1, 2):
            picture(root / name / 'masks' / f'{value}.png', (labels() == value).astype(np.uint8) * 255)


def label_image(root: Path) -> None:
    for name in 'ab':
        picture(root / f'{name}.png')
        picture(root / f'{name}_masks.png', labels())


def coco(root: Path) -> None:
    annotation = {
        'category_id': 1,
        'segmentation': [[4, 4, 12, 4, 12, 12, 4, 12]],
        'bbox': [4, 4, 9, 9],
        'area': 81,
        'iscrowd': 0,
    }
    for name in 'ab':
        picture(root / 'images' / f'{name}.png')
    images = [{'id': i, 'file_name': f'{name}.png', 'height': 24, 'width': 30} for i, name in enumerate('ab')]
    content = {
        'images': images,
        'annotations': [annotation | {'id': index, 'image_id': index} for index in (0, 1)],
        'categories': [{'id': 1, 'name': 'cell'}],
    }
    text(root / 'annotations' / 'all.json', json.dumps(content))


def monusac_xml(root: Path) -> None:
    vertices = ''.join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in SQUARE)
    for name in ('p/a', 'q/b'):
        picture(root / f'{name}.tif')
        text(
            root / f'{name}.xml',
            '<Annotations><Annotation><Attributes><Attribute Name="Epithelial"/></Attributes><Regions><Region>'
            f'<Vertices>{vertices}</Vertices></Region></Regions></Annotation></Annotations>',
        )


def geojson(root: Path) -> None:
    geometry = {'type': 'Polygon', 'coordinates': [[*SQUARE, SQUARE[0]]]}
    for name in 'ab':
        picture(root / f'{name}.png')
        text(root / f'{name}.geojson', json.dumps({'type': 'Feature', 'geometry': geometry, 'properties': {}}))


def labelme(root: Path) -> None:
    for name in 'ab':
        picture(root / f'{name}.png')
        text(root / f'{name}.json', json.dumps({'shapes': [{'label': 'cell', 'points': SQUARE}]}))


def consep_mat(root: Path) -> None:
    for name in 'ab':
        picture(root / 'Train' / 'Images' / f'{name}.png')
        (root / 'Train' / 'Labels').mkdir(exist_ok=True)
        inst_map = labels().astype(float)
        savemat(root / 'Train' / 'Labels' / f'{name}.mat', {'inst_map': inst_map, 'inst_type': np.array([[3], [7]])})


def pannuke_npy(root: Path) -> None:
    root.mkdir()
    masks = np.zeros((2, *SIZE, 6))
    masks[..., 0] = labels()
    np.save(root / 'images.npy', np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(float))
    np.save(root / 'masks.npy', masks)


SOURCES: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (class_tiff, coco, consep_mat, geojson, instance_png, label_image, labelme, monusac_xml, pannuke_npy)
}


@pytest.fixture(params=SOURCES)
def layout(request) -> str:
    return request.param


@pytest.fixture
def source(layout, tmp_path) -> Path:
    SOURCES[layout](tmp_path / 'source')
    return tmp_path / 'source'


def folders(root: Path) -> list[Path]:
    return [Path(folder) for folder, _, _ in os.walk(root)]


def test_all_layouts_are_here():
    assert sorted(SOURCES) == layout_names()


def test_what_macos_windows_and_jupyter_leave_is_passed_over(layout, source, converted):
    clean = converted(layout, source, '--workers', 1, out='clean')
    kept = [path for path in source.rglob('*') if path.is_file()]
    for folder in folders(source):
        for name in ('.DS_Store', 'Thumbs.db', 'desktop.ini', 'Icon\r'):
            (folder / name).write_bytes(b'\0\5\x16\7')
        (folder / '.ipynb_checkpoints').mkdir()
    for path in kept:
        (path.parent / '.ipynb_checkpoints' / path.name).write_bytes(path.read_bytes()[:9])
        path.with_name(f'._{path.name}').write_bytes(b'\0\5\x16\7\0\2\0\0')
        copy = source / '__MACOSX' / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.with_name(f'._{path.name}').write_bytes(b'\0\5\x16\7\0\2\0\0')
    for file in ('a', 'b'):  # As whole folders, too.
        (source / '.ipynb_checkpoints' / file).mkdir(exist_ok=True)
    dirty = converted(layout, source, '--workers', 1, out='dirty')
    assert dirty.printed == clean.printed and dirty.load() == clean.load()


def test_folders_may_be_links(layout, source, converted, tmp_path):
    """Also one that leads back to the source."""
    expected = converted(layout, source, '--workers', 1)
    (tmp_path / 'elsewhere').mkdir()
    for path in [path for path in source.iterdir() if path.is_dir()]:
        path.rename(tmp_path / 'elsewhere' / path.name)
        path.symlink_to(tmp_path / 'elsewhere' / path.name)
    (source / 'back').symlink_to(source)
    found = converted(layout, source, '--workers', 1, out='linked')
    assert found.load() == expected.load() and found.printed == expected.printed


def test_files_that_nobody_reads_are_named(layout, source, converted):
    assert 'not read' not in converted(layout, source, '--workers', 1, out='clean').printed
    (source / 'more').mkdir()
    for name in ('notes.txt', 'more/stain.lut'):
        (source / name).write_text('?')
    printed = converted(layout, source, '--workers', 1).printed
    assert 'warning: 2 files of the source are not read: more/stain.lut, notes.txt' in printed
    for number in range(200):
        (source / 'more' / f'file_with_a_long_name_{number:03d}.xyz').write_text('?')
    printed = converted(layout, source, '--workers', 1, out='many').printed
    (line,) = (line for line in printed.splitlines() if 'not read' in line)
    assert len(line) < 300 and 'more/file_with_a_long_name_000.xyz' in line and line.endswith(' more')


def test_out_inside_the_source(layout, source, converted, tool):
    outside = converted(layout, source, '--workers', 1)
    for arguments in ([], ['--overwrite'], ['--overwrite']):
        inside = converted(layout, source, '--workers', 1, *arguments, out='source/out')
        assert inside.load() == outside.load() and inside.printed == outside.printed
    again = converted(layout, source, '--workers', 1, '--overwrite')
    assert again.load() == outside.load()


def test_out_between_the_files_of_the_source(layout, source, tool):
    before = sorted(source.rglob('*'))
    for folder in folders(source)[1:]:
        outcome = tool('convert', layout, source, '--out', folder, '--workers', 1)
        assert outcome.status == 2, outcome
        assert 'choose another' in outcome.err and len(outcome.err.splitlines()) == 1
    assert sorted(source.rglob('*')) == before


@pytest.mark.parametrize(
    ('layout', 'counts'),
    [('instance_png', {1}), ('label_image', {1}), ('consep_mat', {4, 7}), ('pannuke_npy', {5}), ('coco', {1})],
)
def test_as_many_names_as_there_are_classes(layout, counts, source, tool, tmp_path):
    """One too many would give its name to other cells than it is meant for."""
    for count in range(1, 9):
        names = [f'class{number}' for number in range(count)]
        out = tmp_path / f'out{count}'
        outcome = tool('convert', layout, source, '--out', out, '--workers', 1, '--classes', *names)
        assert outcome.status == (0 if count in counts else 2)
        assert out.exists() == (count in counts)
        if count not in counts:
            assert (
                outcome.err.startswith(f'error: --classes: names {count} class') and 'of the data; give' in outcome.err
            )


def test_seven_names_keep_the_types_of_consep_apart(tmp_path, converted):
    consep_mat(tmp_path / 'source')
    assert {cell.category for cell in converted('consep_mat', tmp_path / 'source').cells()['Train/Images/a.png']} == {
        3,
        4,
    }
    names = 'other inflammatory healthy malignant fibroblast muscle endothelial'.split()
    result = converted('consep_mat', tmp_path / 'source', '--classes', *names, out='seven')
    assert {result.classes[cell.category - 1] for cell in result.cells()['Train/Images/a.png']} == {
        'healthy',
        'endothelial',
    }


NAMES = [b'caf\xe9', b'a\nb', b'a b ', b'a\\..\\b', b'\x1b[31m', b'x' * 200]


@pytest.mark.parametrize('name', NAMES)
def test_what_is_written_can_be_read(layout, source, tool, tmp_path, name):
    """Names that other systems give: converted so that all our readers take them, or refused."""
    for folder, folders_, files in os.walk(os.fsencode(source), topdown=False):
        for old in (*files, *folders_):
            stem, dot, rest = old.partition(b'.')
            if stem in (b'a', b'a_masks'):
                new = name + stem[1:] + dot + rest
                os.rename(os.path.join(folder, old), os.path.join(folder, new))  # noqa: PTH104, PTH118 (bytes)
    if layout == 'coco':
        path = source / 'annotations' / 'all.json'
        path.write_text(path.read_text().replace('"a.png"', json.dumps(f'{os.fsdecode(name)}.png')))
    outcome = tool('convert', layout, source, '--out', tmp_path / 'out', '--workers', 1)
    if outcome.status == 2:
        lines = [line for line in outcome.err.splitlines() if not line.startswith('reading')]
        assert len(lines) == 1 and '; ' in lines[0] and not (tmp_path / 'out').exists()
        return
    assert outcome.status == 0
    document = read_coco(tmp_path / 'out' / 'annotations' / 'trainval.json', ('bbox', 'segmentation'))
    assert not list(find_problems(document, training=True))
    for image in document['images']:
        assert read_size(tmp_path / 'out' / 'images' / image['file_name']) == SIZE


def test_a_source_whose_name_is_no_utf_8(tmp_path, tool):
    source = tmp_path / os.fsdecode(b'caf\xe9')
    class_tiff(source)
    (source / os.fsdecode(b'\xff.txt')).touch()
    outcome = tool('convert', 'class_tiff', source, '--out', tmp_path / 'out', '--workers', 1)
    assert outcome.status == 0 and '1 files of the source are not read: ?.txt' in outcome.out
    document = read_coco(tmp_path / 'out' / 'annotations' / 'trainval.json')
    assert document['info']['description'].isprintable()
