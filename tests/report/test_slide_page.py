"""The page of a slide: all cells are in its files, and a browser loads those in view."""

import json
import re

import numpy as np
import pytest
import shapely
from PIL import Image

from mmcell.errors import InputError
from mmcell.report.export import export_table
from mmcell.report.parquet import CellTable, read_groups
from mmcell.report.slide_density import count_squares
from mmcell.report.slide_page import write_slide_page
from mmcell.structures.cells import Cells
from mmcell.structures.rle import Runs, find_runs
from mmcell.structures.run_geometry import place

CLASSES, SIDE = ('ring', 'square'), 40_000


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    """A ring or a square every 500 pixels of a diagonal of a slide, in two groups of rows."""
    ring = np.zeros((30, 20), int)
    ring[:, :] = 1
    ring[10:20, 5:15] = 0
    shapes = [find_runs(plane)[1] for plane in (ring, np.ones((10, 10), int))]
    path = tmp_path_factory.mktemp('slide') / 'cells.parquet'
    with CellTable(path, CLASSES) as cells:
        for start in (0, SIDE // 2):
            corners = [(at, at) for at in range(start, start + SIDE // 2, 500)]
            masks = Runs.cat([place(shapes[i % 2], corner, (SIDE, SIDE)) for i, corner in enumerate(corners)])
            labels = np.arange(len(corners)) % 2
            cells.add('slide.tif', Cells.certain(masks, labels, CLASSES), 0.5, first=1 + start // 500)
    return path


@pytest.fixture
def page(table, tmp_path):
    picture = np.full((100, 100, 3), 255, np.uint8)
    write_slide_page(table, tmp_path, picture, (SIDE, SIDE), 0.5, 'slide </script> <b>')
    return tmp_path / 'cells.html'


def test_every_cell_is_in_one_file(page, table):
    found = {}
    for path in (page.parent / 'cells_files').iterdir():
        for name, cells in re.findall(r'addCells\("(.+?)",(.+)\);\n', path.read_text()):
            assert f'{name}.js' == path.name
            for number, label, score, x, y, width, height, outline in json.loads(cells):
                assert number not in found and score == 1
                centre = x + width / 2, y + height / 2
                assert [int(place) for place in name.split('_')] == [int(at / 2048) for at in centre]
                found[number] = label, polygon(outline)
    (one, two) = read_groups(table)
    rows = {name: one.to_pydict()[name] + two.to_pydict()[name] for name in ('id', 'class', 'outline')}
    for number, name, outline in zip(*rows.values()):
        assert CLASSES[found[number][0]] == name and found[number][1].equals(shapely.from_wkb(outline))
    assert len(found) == len(rows['id']) == SIDE / 500


def polygon(path):
    rings = []
    for x, y, steps in re.findall(r'M(\d+) (\d+)l([-\d ]+)z', path):
        points = np.cumsum([(int(x), int(y)), *np.array(steps.split(), int).reshape(-1, 2)], axis=0)
        rings.append(points / 2)
    return shapely.Polygon(rings[0], rings[1:])


def test_squares_and_picture(page, table):
    counts, side = count_squares(table, CLASSES, (SIDE, SIDE))
    assert counts.shape == (2, 96, 96) and counts.sum(axis=(1, 2)).tolist() == [40, 40] and side == 417
    places = []
    for group in read_groups(table, ['class', 'centroid_x', 'centroid_y']):
        rows = group.to_pydict().values()
        places += [(CLASSES.index(name), int(y / side), int(x / side)) for name, x, y in zip(*rows)]
    assert sorted(zip(*counts.nonzero())) == sorted(places)
    with Image.open(page.parent / 'density.png') as picture:
        assert picture.size[0] > 1000
    assert '</script> <b>' not in page.read_text()


def test_a_table_of_several_images_is_no_slide(table, tmp_path):
    with CellTable(tmp_path / 'cells.parquet', CLASSES) as cells:
        for name in ('a.png', 'b.png'):
            cells.add(name, Cells.from_label_map(np.ones((3, 3), int), [0], CLASSES))
    with pytest.raises(InputError, match='holds cells of 2 images'):
        export_table(tmp_path / 'cells.parquet', tmp_path / 'out', 'page')
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'cells.parquet').write_text('none')
    with pytest.raises(InputError, match='cannot be read as a table of cells'):
        export_table(tmp_path / 'cells.parquet', tmp_path / 'out', 'page')


def test_what_is_in_view_is_loaded(browser, requests_of, page):
    browser.get(page.as_uri())
    canvas = browser.find_element('id', 'canvas')
    summary = browser.find_element('id', 'summary')
    wait(browser, lambda: 'Density' in summary.text)
    assert summary.text == 'Density in squares of 417 pixels; the darkest has 23 per mm².'
    assert requests_of(browser) == [page.as_uri()]
    browser.find_elements('css selector', 'input.class')[0].click()
    for _ in range(10):
        canvas.send_keys('+')
    wait(browser, lambda: 'cells in view' in summary.text and int(canvas.get_attribute('data-drawn')))
    loaded = requests_of(browser)
    names = {f'{at}_{at}' for at in range(SIDE // 2048 + 1)}
    assert 0 < len(loaded) < 8
    assert {url.removeprefix(f'{page.parent.as_uri()}/cells_files/').removesuffix('.js') for url in loaded} <= names
    # The squares alone are shown.
    drawn = int(canvas.get_attribute('data-drawn'))
    browser.find_elements('css selector', 'input.class')[0].click()
    wait(browser, lambda: int(canvas.get_attribute('data-drawn')) > drawn)
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []


def wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(lambda _: condition())
