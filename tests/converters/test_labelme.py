"""Json files of labelme: every kind of shape, against masks made by hand."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

SIZE = (40, 50)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5


def box(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    return (COLUMNS >= x1) & (COLUMNS < x2) & (ROWS >= y1) & (ROWS < y2)


def corners(x1: float, y1: float, x2: float, y2: float) -> list[list[float]]:
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def shape(points: list, kind: str | None = 'polygon', label: object = 'cell', group: object = None, **more) -> dict:
    return {'label': label, 'points': points, 'group_id': group, 'shape_type': kind, 'flags': {}, **more}


def png(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.full((*size, 3), 200, np.uint8)))


def in_base64(bitmap: np.ndarray) -> str:
    return base64.b64encode(imagecodecs.png_encode(bitmap.astype(np.uint8) * 255)).decode()


@pytest.fixture
def source(tmp_path) -> Path:
    png(tmp_path / 'source/a.png')
    return tmp_path / 'source'


@pytest.fixture
def write(source):
    def write(*shapes: dict, name: str = 'a.json', **more: object) -> None:
        document = {'version': '5.4.1', 'flags': {}, 'shapes': shapes, 'imagePath': 'a.png', 'imageData': None}
        document |= {'imageHeight': SIZE[0], 'imageWidth': SIZE[1], **more}
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(json.dumps(document))

    return write


def test_every_kind_of_shape(write, source, converted, same_cells):
    bitmap = np.random.default_rng(0).random((7, 5)) < 0.5
    write(
        shape(corners(1.2, 1.7, 9, 8.4)),
        shape(corners(1, 20, 5, 25), None),
        shape([[20, 18], [12.4, 12]], 'rectangle', 'other'),
        shape(corners(40, 30, 44, 33), 'oriented_rectangle'),
        shape([[30.5, 10], [33.5, 14]], 'circle'),
        shape([[40.3, 20.4], [45.3, 27.4]], 'mask', mask=in_base64(bitmap)),
    )
    result = converted('labelme', source)
    pasted = np.zeros(SIZE, dtype=bool)
    pasted[20:27, 40:45] = bitmap
    expected = [
        (1, 0, box(1.2, 1.7, 9, 8.4)),
        (1, 0, box(1, 20, 5, 25)),
        (2, 0, box(12.4, 12, 20, 18)),
        (1, 0, box(40, 30, 44, 33)),
        (1, 0, (COLUMNS - 30.5) ** 2 + (ROWS - 10) ** 2 <= 25),
        (1, 0, pasted),
    ]
    assert result.classes == ['cell', 'other'] and same_cells(result.cells()['a.png'], expected)


@pytest.mark.parametrize(('x', 'y'), [(-3, 5), (47, 37), (-2, -3), (60, 5), (5, -9)])
def test_masks_are_cut_off_at_the_edge(x, y, write, source, converted, same_cells):
    bitmap = np.random.default_rng(0).random((7, 5)) < 0.5
    write(shape(corners(10, 10, 14, 14)), shape([[x, y], [x + 5, y + 7]], 'mask', mask=in_base64(bitmap)))
    result = converted('labelme', source)
    wide = np.zeros((80, 90), dtype=bool)
    wide[y + 20 : y + 27, x + 20 : x + 25] = bitmap
    pasted = wide[20:60, 20:70]
    assert same_cells(
        result.cells()['a.png'], [(1, 0, box(10, 10, 14, 14)), *([(1, 0, pasted)] if pasted.any() else [])]
    )
    assert ('1 outlines reach beyond' if pasted.any() else '1 annotations hold no pixel') in result.printed


def test_shapes_of_one_label_and_group_are_one_cell(write, source, converted, same_cells):
    write(
        shape(corners(1, 1, 5, 5), group=1),
        shape(corners(3, 3, 9, 9), group=1),
        shape(corners(20, 1, 25, 5), group=1, label='other'),
        shape(corners(1, 20, 5, 25)),
        shape(corners(7, 20, 9, 25)),
    )
    expected = [
        (1, 0, box(1, 1, 5, 5) | box(3, 3, 9, 9)),
        (2, 0, box(20, 1, 25, 5)),
        (1, 0, box(1, 20, 5, 25)),
        (1, 0, box(7, 20, 9, 25)),
    ]
    assert same_cells(converted('labelme', source).cells()['a.png'], expected)


def test_what_is_left_out_is_counted(write, source, converted, same_cells):
    write(
        shape(corners(1, 1, 5, 5), flags={'unsure': True}),
        shape(corners(1, 1, 5, 5)),
        shape([[3, 3]], 'point'),
        shape([[3, 3], [5, 5]], 'line'),
        shape([[3, 3], [5, 5], [6, 6]], 'linestrip'),
        shape(corners(1, 9, 5, 15), label='__ignore__'),
        shape([[3, 3], [5, 5]]),
        shape([[3, 3]], 'rectangle'),
        shape([[3, 3]], 'circle'),
        shape([]),
    )
    result = converted('labelme', source)
    assert same_cells(result.cells()['a.png'], [(1, 0, box(1, 1, 5, 5))])
    for line in (
        '3 shapes are points or lines',
        '1 shapes are labeled __ignore__',
        '1 cells appear twice',
        '1 shapes have flags, which are not read',
        '4 shapes have fewer points than they need',
    ):
        assert f'warning: {line}' in result.printed


def test_classes_in_the_order_given(write, source, converted, refused):
    write(shape(corners(1, 1, 5, 5), label='b'), shape(corners(9, 1, 15, 5), label='a'))
    assert "shape 2 of the class 'a'" in refused('labelme', source, '--classes', 'b')
    result = converted('labelme', source, '--classes', 'b', 'a', 'c')
    assert [cell.category for cell in result.cells()['a.png']] == [1, 2] and result.classes == ['b', 'a', 'c']


@pytest.mark.parametrize(
    ('image', 'document', 'path'),
    [
        ('a.png', 'a.json', 'a.png'),
        ('a.png', 'b.json', 'a.png'),
        ('a.png', 'a.json', 'C:\\home\\me\\a.png'),
        ('a.png', 'a.json', '/home/me/elsewhere.png'),
        ('a.png', 'a.json', '../../../etc/passwd'),
        ('a.png', 'a.json', None),
        ('x/a.png', 'y/a.json', '../x/a.png'),
        ('x/a.png', 'y/a.json', '..\\x\\a.png'),
        ('x/a.png', 'a.json', './x/a.png'),
    ],
)
def test_which_image(image, document, path, tmp_path, converted):
    source = tmp_path / 'pairs'
    png(source / image)
    content = {'shapes': [shape(corners(1, 1, 5, 5))], 'imagePath': path}
    (source / document).parent.mkdir(exist_ok=True)
    (source / document).write_text(json.dumps(content))
    assert len(converted('labelme', source).cells()[image]) == 1


def test_what_has_no_partner_is_named(write, source, converted, refused):
    png(source / 'b.png')
    write(shape(corners(1, 1, 5, 5)))
    (source / 'classes.json').write_text('["cell"]')
    result = converted('labelme', source, out='first')
    assert 'warning: 1 images have no annotations and are left out: b.png' in result.printed
    assert 'warning: 1 json files are not of labelme and are skipped: classes.json' in result.printed
    write(name='c.json', imagePath='c.png')
    assert "c.json: has no image ('c.png')" in refused('labelme', source)
    (source / 'c.json').unlink()
    write(name='again.json')
    assert 'belongs to a.png, as does a.json' in refused('labelme', source)


@pytest.mark.parametrize(
    ('shapes', 'more', 'words'),
    [
        ([shape([[1, 1], [5, float('nan')], [3, 3]])], {}, 'shape 1 with a coordinate that is not a pixel'),
        ([shape([[1, 1], [5, 1e300], [3, 3]])], {}, 'shape 1 with a coordinate that is not a pixel'),
        ([shape([[1, 1], ['5', 5], [3, 3]])], {}, 'shape 1 with an outline that is not a list of points'),
        ([shape(None)], {}, 'shape 1 with an outline that is not a list of points'),
        ([shape([[1, 1]] * 3, 'rectangle')], {}, 'shape 1, a rectangle of 3 points'),
        ([shape([[1, 1]], 'star')], {}, "shape 1 of the type 'star'"),
        ([shape([[1, 1]], ['polygon'])], {}, 'shape 1 of the type'),
        ([shape(corners(1, 1, 5, 5), label=None), shape(corners(1, 1, 5, 5))], {}, 'shape 1 without a class'),
        ([shape(corners(1, 1, 5, 5), label=7)], {}, 'the label 7'),
        ([shape(corners(1, 1, 5, 5), label='a\nb')], {}, 'the label'),
        ([shape(corners(1, 1, 5, 5), group=[1])], {}, 'the group [1]'),
        (['x' * 1000], {}, 'for shape 1'),
        ([shape([[1, 1], [5, 5]], 'mask')], {}, 'shape 1 with a broken mask'),
        ([shape([[1, 1], [5, 5]], 'mask', mask='!!')], {}, 'shape 1 with a broken mask'),
        ([shape([[1, 1], [5, 5]], 'mask', mask=base64.b64encode(b'GIF89a').decode())], {}, 'with a broken mask'),
        ([shape([[1, 1], [5, 5]], 'mask', mask=in_base64(np.ones((90, 9))))], {}, 'with a broken mask'),
        ([shape([[1, 1], [5, 5]], 'mask', mask=in_base64(np.ones((9, 9, 3))))], {}, 'with a mask of colors'),
        ([], {'imageHeight': 41}, 'drawn on 50 x 41 pixels, but a.png has 50 x 40'),
        ([], {'imageHeight': '40'}, "drawn on 50 x '40' pixels"),
    ],
)
def test_broken_documents(shapes, more, words, write, source, refused):
    write(*shapes, **more)
    line = refused('labelme', source)
    assert 'a.json: ' in line and words in line and len(line) <= 300 + len(str(source))


def test_no_json_of_labelme(source, refused):
    assert 'holds no labelme json' in refused('labelme', source)
