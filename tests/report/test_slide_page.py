"""The page of a slide: all cells are in its files, and a browser loads those in view."""

import csv
import io
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet
import pytest
import shapely
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from mmcell.errors import InputError
from mmcell.io.slide import shrink
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
    write_slide_page(table, tmp_path, None, (SIDE, SIDE), 0.5, 'slide </script> <b>')
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


@pytest.fixture
def drawn(tmp_path):
    """A pyramid of odd sides, dark where its cells are: discs of many sizes, everywhere; and their table."""
    rng, size = np.random.default_rng(0), (701, 403)
    plane = np.zeros(size, np.uint8)
    for x, y, radius in rng.integers([0, 0, 3], [size[1], size[0], 20], (50, 3)).tolist():
        cv2.circle(plane, (x, y), radius, 1, -1)
    labels, count = ndimage.label(plane)
    image = np.where(plane[..., None] == 1, np.uint8(30), np.uint8([240, 220, 230]))
    with tifffile.TiffWriter(tmp_path / 'slide.tif') as file:
        file.write(image, tile=(256, 256), photometric='rgb', subifds=1)
        file.write(shrink(image[:700, :402], 2), tile=(256, 256), photometric='rgb', subfiletype=1)
    with CellTable(tmp_path / 'cells.parquet', CLASSES) as cells:
        cells.add('slide.tif', Cells.from_label_map(labels, np.arange(count) % 2, CLASSES), 0.25)
    return tmp_path, image, labels


@pytest.mark.parametrize(('most', 'finest', 'levels'), [(2**29, 1, 4), (2**17, 2, 3)])
def test_tiles_lie_where_the_slide_does(drawn, monkeypatch, most, finest, levels):
    folder, image, _ = drawn
    monkeypatch.setattr('mmcell.report.slide_page._MOST_PIXELS', most)
    monkeypatch.setattr('mmcell.report.slide_page._TILE', 128)
    (page, _) = export_table(folder / 'cells.parquet', folder / 'out', 'page', folder / 'slide.tif')
    tiles = json.loads(re.search(r'id="config">(.+?)</script>', page.read_text())[1])['tiles']
    assert tiles == {'side': 128, 'factor': finest, 'levels': levels}
    for level in range(levels):
        expected = shrink(image, finest * 2**level)
        found = np.zeros_like(expected)
        for path in (folder / 'out/cells_files').glob(f'{level}_*_*.jpg'):
            column, row = (int(place) * 128 for place in path.stem.split('_')[1:])
            pixels = np.asarray(Image.open(path))
            found[row : row + pixels.shape[0], column : column + pixels.shape[1]] = pixels
        shift = phase_cross_correlation(found[..., 1], expected[..., 1], upsample_factor=50)[0]
        assert np.abs(shift).max() < 0.05 and np.abs(found.astype(float) - expected).mean() < 4


def test_label_map_of_a_slide(drawn):
    folder, _, labels = drawn
    (path,) = export_table(folder / 'cells.parquet', folder / 'out', 'labels', folder / 'slide.tif')
    with tifffile.TiffFile(path) as file:
        levels = file.series[0].levels
        assert file.is_bigtiff and levels[0].keyframe.is_tiled and levels[0].dtype == np.uint32
        assert 'PhysicalSizeX="0.25"' in file.ome_metadata
        assert [level.shape for level in levels] == [(-(-701 // 2**k), -(-403 // 2**k)) for k in range(2)]
        np.testing.assert_array_equal(levels[0].asarray(), labels)
        for k, level in enumerate(levels[1:], start=1):
            # The center of each pixel is a corner of four of the largest level: these agree but for the rims of cells.
            corner = slice(2 ** (k - 1), None, 2**k)
            four = np.stack([np.roll(labels, (dy, dx), (0, 1))[corner, corner] for dy in (0, 1) for dx in (0, 1)])
            same = (four == four[0]).all(axis=0)
            inside = level.asarray()[: same.shape[0], : same.shape[1]]
            assert same.mean() > 0.95 and (inside[same] == four[0][same]).all() and inside.any()


def test_tables_become_tables(drawn, tool):
    folder, _, labels = drawn
    table, out = folder / 'cells.parquet', folder / 'out'
    scores = np.linspace(0, 1, labels.max())
    with CellTable(table, ('=1', '+2')) as cells:
        cells.add('@slide', Cells.from_label_map(labels, np.arange(len(scores)) % 2, ('=1', '+2'), scores))
    assert tool('export', table, '--to', 'csv', '--out', out).status == 0
    whole = pyarrow.parquet.read_table(table).drop_columns('outline')
    with (out / 'cells.csv').open(newline='') as file:
        heading, *rows = csv.reader(file)
    assert heading == whole.column_names and len(rows) == len(scores)
    assert rows[1][:4] == ["'@slide", '2', "'+2", str(scores[1])]
    assert tool('export', table, '--to', 'parquet', '--score-thr', '0.5', '--out', out).status == 0
    selected = pyarrow.parquet.read_table(out / 'cells.parquet')
    assert selected['id'].to_pylist() == [i + 1 for i, score in enumerate(scores) if score >= 0.5]
    assert selected.schema.metadata == pyarrow.parquet.read_schema(table).metadata
    assert tool('export', table, '--to', 'geojson', '--score-thr', '0.5', '--out', out).status == 0
    features = json.loads((out / 'cells.geojson').read_text())['features']
    assert [int(each['properties']['name']) for each in features] == selected['id'].to_pylist()


def test_what_is_not_written_of_a_table(drawn, tool):
    folder, image, _ = drawn
    tifffile.imwrite(folder / 'other.tif', image[:500], photometric='rgb')
    for arguments, problem in (
        (['parquet'], 'is such a table; give --score-thr'),
        (['parquet', '--score-thr', 0.5, '--out', folder], 'is such a table'),
        (['labels'], '--to labels needs --slide'),
        (['labels', '--slide', folder / 'other.tif'], 'is smaller than what'),
        (['csv', '--slide', folder / 'other.tif'], '--slide is for --to page'),
    ):
        done = tool('export', folder / 'cells.parquet', '--out', folder / 'out', '--to', *arguments)
        assert done.status == 2 and problem in done.err and done.err.count('\n') == 1
    assert not (folder / 'out').exists()


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


@pytest.mark.slow
def test_outlines_lie_on_the_picture(browser, requests_of, tmp_path):
    """A dark square where four tiles meet: from afar as from nearby, its outline runs round it."""
    image = np.full((2048, 2048, 3), 240, np.uint8)
    image[964:1084, 964:1084] = 40
    tifffile.imwrite(tmp_path / 'slide.tif', image, photometric='rgb')
    masks = place(find_runs(np.ones((120, 120), int))[1], (964, 964), image.shape[:2])
    with CellTable(tmp_path / 'cells.parquet', CLASSES) as cells:
        cells.add('slide.tif', Cells.certain(masks, [1], CLASSES))
    (page, _) = export_table(tmp_path / 'cells.parquet', tmp_path / 'out', 'page', tmp_path / 'slide.tif')
    browser.get(page.as_uri())
    canvas = browser.find_element('id', 'canvas')

    def is_outlined():
        pixels = np.asarray(Image.open(io.BytesIO(canvas.screenshot_as_png)).convert('RGB'))[10:-10, 10:-10]
        dark, yellow = (pixels < 70).all(axis=2), (pixels[..., :2] > 180).all(axis=2) & (pixels[..., 2] < 100)
        if not dark.any() or not yellow.any():
            return False
        inner, outer = (np.array([[at.min(), at.max()] for at in each.nonzero()]) for each in (dark, yellow))
        return (np.abs(inner - outer) < 4).all() and (np.abs(inner.mean(axis=1) - outer.mean(axis=1)) <= 0.5).all()

    asked = []
    for keys, tiles in (('', {'1_0_0'}), ('+' * 4, {'0_0_0', '0_0_1', '0_1_0', '0_1_1'})):
        canvas.send_keys(keys)
        wait(browser, is_outlined)
        asked += requests_of(browser)
        assert {Path(url).stem for url in asked if url.endswith('.jpg')} >= tiles


def wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30, poll_frequency=0.05).until(lambda _: condition())
