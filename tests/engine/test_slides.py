"""Slides region by region against the same image as a whole; a stand-in for the network finds what is dark."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
import shapely
import tifffile
from scipy import ndimage

from mmcell.engine.predictor import CellModel
from mmcell.engine.region_cells import predict_regions, subtract
from mmcell.engine.regions import find_tissue, plan_regions, read_roi
from mmcell.engine.slide_plan import SlideOptions, begin, choose_view, plan_slide
from mmcell.engine.slides import deal, infer_slides
from mmcell.errors import InputError, raise_all
from mmcell.io.slide import Slide
from mmcell.structures.cells import Cells
from mmcell.structures.rle import encode_label_map

CLASSES = ('small', 'large')


class Dark:
    """Finds dark discs, of two classes by their size, and cuts those that the window cuts."""

    tiling = (48, 16)
    reads = 0


class Model(CellModel):
    def __init__(self, mpp=None):
        self.network, self.classes, self.mpp, self.reads_windows = Dark(), CLASSES, mpp, True
        self.score_thr = 0.5
        self.calls = 0

    def predict_windows(self, read, size):
        self.calls += 1
        if self.calls > getattr(self, 'stop', 10**9):
            raise KeyboardInterrupt
        pixels = read(0, 0, size[1], size[0])
        labels, count = ndimage.label(pixels[..., 1] < 100)
        results = []
        for number in range(1, count + 1):
            mask = labels == number
            rle = encode_label_map(mask.astype(np.uint8)).rles[0]
            kind = 2 if mask.sum() > 80 else 1
            box = [0, 0, 1, 1]
            results.append(dict(image_id=1, bbox=box, score=0.9, segmentation=rle, category_id=kind))
        return results


def draw(size, count, seed=0):
    """Pink tissue with dark discs that do not touch, in a frame of glass."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), 245, np.uint8)
    image[20:-20, 20:-20] = (220, 180, 200)
    y, x = np.mgrid[: size[0], : size[1]]
    free = np.ones(size, bool)
    placed = 0
    while placed < count:
        cy, cx, radius = rng.integers(30, size[0] - 30), rng.integers(30, size[1] - 30), rng.integers(3, 7)
        distance = (y - cy) ** 2 + (x - cx) ** 2
        if free[distance <= (radius + 2) ** 2].all():
            image[distance <= radius**2] = (90, 40, 120)
            free[distance <= (radius + 2) ** 2] = False
            placed += 1
    return image


@pytest.fixture(scope='module')
def image():
    return draw((300, 260), 90)


@pytest.fixture
def path(image, tmp_path):
    tifffile.imwrite(tmp_path / 'slide.tif', image, photometric='rgb', tile=(64, 64), compression='zlib')
    return tmp_path / 'slide.tif'


def look(model, path, out, **options):
    """The summary, and lines that say what was done."""
    options = SlideOptions(**{'tiles': 2} | options)
    lines, errors = infer_slides(model, {}, {'slide.tif': (path, out)}, out.parent, 0.5, options)
    raise_all(errors)
    return json.loads((out / 'summary.json').read_text()), lines


def rows(out):
    return pyarrow.parquet.read_table(out / 'cells.parquet').to_pydict()


def outlines(out):
    return [shapely.from_wkb(outline) for outline in rows(out)['outline']]


def truth(image):
    labels, count = ndimage.label(image[..., 1] < 100)
    return Cells.from_label_map(labels, [0] * count, CLASSES)


@pytest.mark.parametrize('everywhere', [False, True])
def test_regions_give_the_cells_of_the_whole(image, path, tmp_path, everywhere):
    model = Model()
    summary, _ = look(model, path, tmp_path / 'out', mpp=0.5, everywhere=everywhere)
    assert model.calls > 9 and (summary['skipped'] > 0.05) == (not everywhere)
    found, expected = outlines(tmp_path / 'out'), truth(image).outlines()
    assert {outline.normalize().wkt for outline in found} == {outline.normalize().wkt for outline in expected}
    assert len(found) == len(expected) == 90 == summary['total'] and sum(summary['counts'].values()) == 90
    table = rows(tmp_path / 'out')
    assert table['id'] == list(range(1, 91)) and table['area_um2'] == [area / 4 for area in table['area']]
    if everywhere:
        assert summary['mm2'] == pytest.approx(300 * 260 * 0.5**2 / 1e6)


def test_a_killed_run_goes_on(path, tmp_path):
    look(Model(), path, tmp_path / 'whole', mpp=0.5)
    calls = 0
    for stop in (3, 2, 4, None):
        model = Model()
        if stop is None:
            summary, _ = look(model, path, tmp_path / 'out', mpp=0.5)
        else:
            model.stop = stop
            with pytest.raises(KeyboardInterrupt):
                look(model, path, tmp_path / 'out', mpp=0.5)
            assert not (tmp_path / 'out/cells.parquet').exists()
        calls += model.calls
    regions = len(plan_regions((300, 260), (48, 16), tiles=2))
    assert calls <= regions + 3
    for name in ('cells.parquet', 'cells.geojson', 'cells.html', 'cells_files/0_0.js', 'density.png'):
        assert (tmp_path / 'out' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
    assert not (tmp_path / 'out/regions').exists()
    # Once more: nothing to do; with another threshold: everything.
    model = Model()
    again, _ = look(model, path, tmp_path / 'out', mpp=0.5)
    assert model.calls == 0 and again == summary
    look(model, path, tmp_path / 'out', mpp=0.25)
    assert model.calls > 9


def test_processes_share_regions(path, tmp_path):
    """Each piece is dealt out once, and it does not matter who did what, nor when."""
    todo = [[0, 1, 2, 5], [], [7], [*range(12)]]
    for count in (1, 2, 3, 20):
        shares = [deal(todo, rank, count) for rank in range(count)]
        assert [sorted(chain(*parts)) for parts in zip(*shares)] == todo
        sizes = [sum(map(len, share)) for share in shares]
        assert max(sizes) - min(sizes) <= 1

    look(Model(), path, tmp_path / 'whole', mpp=0.5)
    arguments = tmp_path / 'out', 0.5, SlideOptions(mpp=0.5, tiles=2)
    plan = begin(plan_slide(Model(), {}, 'slide.tif', path, *arguments))
    models = Model(), Model(), Model()
    for rank in (2, 0, 1):
        predict_regions(models[rank], plan, deal([plan.todo], rank, 3)[0])
    assert sum(model.calls for model in models) == len(plan.regions) > 9
    model = Model()
    look(model, path, tmp_path / 'out', mpp=0.5)
    assert model.calls == 0
    for name in ('cells.parquet', 'cells.geojson'):
        assert (tmp_path / 'out' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()


def test_a_second_call_is_refused(path, tmp_path):
    script = 'import sys; from mmcell.io.files import locked\nwith locked(sys.argv[1]): print(flush=True); input()'
    command = [sys.executable, '-c', script, tmp_path / '.slides.lock']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(InputError, match='is in use by another call'):
            look(Model(), path, tmp_path / 'out', mpp=0.5)
        other.communicate(b'\n')


def test_what_the_model_learned_at(image, path, tmp_path):
    """At twice the resolution the same cells, in pixels of the slide, shifted by nothing."""
    summary, lines = look(Model(mpp=0.25), path, tmp_path / 'out', mpp=0.5)
    assert summary['predicted at'] == 0.25 and 'resampled to the 0.25' in lines[0]
    found, expected = outlines(tmp_path / 'out'), truth(image).outlines()
    assert len(found) == len(expected) and all(outline.is_valid for outline in found)
    first = shapely.STRtree(expected).query_nearest([outline.centroid for outline in found], all_matches=False)[1]
    offsets = [np.subtract(one.centroid.coords[0], expected[i].centroid.coords[0]) for one, i in zip(found, first)]
    assert sorted(first) == list(range(len(expected))) and np.abs(np.mean(offsets, axis=0)).max() < 0.05
    shares = [one.intersection(expected[i]).area / one.union(expected[i]).area for one, i in zip(found, first)]
    assert min(shares) > 0.75


def test_words_on_resolution(path, tmp_path):
    for model, options, words in (
        (Model(mpp=0.5), dict(mpp=0.51), 'as in the training'),
        (Model(mpp=0.5), dict(), 'warning: the slide does not say'),
        (Model(), dict(mpp=0.5), 'warning: the model does not say'),
        (Model(mpp=0.25), dict(mpp=0.5, level=0), 'warning: trained at 0.25'),
        (Model(), dict(mpp=0.5, trained_mpp=0.5), 'as in the training'),
    ):
        with Slide(path, mpp=options.get('mpp')) as slide:
            assert words in choose_view(slide, model, SlideOptions(**options)).note
    with pytest.raises(InputError, match=r'--level: 3 is not a level of slide\.tif, which has 1'):
        look(Model(), path, tmp_path / 'out', level=3)


def test_roi(image, path, tmp_path):
    outline = shapely.Polygon([(60, 50), (200, 60), (180, 220), (70, 180)])
    features = [{'type': 'Feature', 'geometry': json.loads(shapely.to_geojson(outline)), 'properties': {}}]
    for content in ({'type': 'FeatureCollection', 'features': features}, features, features[0]['geometry']):
        (tmp_path / 'roi.geojson').write_text(json.dumps(content))
        summary, _ = look(Model(), path, tmp_path / 'out', mpp=0.5, roi=tmp_path / 'roi.geojson')
        cells = truth(image)
        assert summary['total'] == shapely.contains_xy(outline, *cells.centres.T).sum() > 10
        assert summary['mm2'] == pytest.approx(outline.area * 0.25 / 1e6) and summary['skipped'] > 0.5
    (tmp_path / 'roi.geojson').write_text('{"features": []}')
    with pytest.raises(InputError, match=r'roi\.geojson: holds no polygon'):
        read_roi(tmp_path / 'roi.geojson')


@pytest.mark.parametrize('broken', ['slide', 'roi', 'level'])
def test_what_is_refused_leaves_nothing_behind(broken, path, tmp_path):
    (tmp_path / 'text').write_text('{}')
    slide = tmp_path / 'text' if broken == 'slide' else path
    options = {'roi': {'roi': tmp_path / 'text'}, 'level': {'level': 9}}.get(broken, {})
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(InputError):
        look(Model(), slide, tmp_path / 'found/out', mpp=0.5, **options)
    assert sorted(tmp_path.rglob('*')) == before


def test_geojson_in_parts(path, tmp_path, monkeypatch):
    from mmcell.report.slide_geojson import table_to_geojson

    look(Model(), path, tmp_path / 'out', mpp=0.5)
    whole = json.loads((tmp_path / 'out/cells.geojson').read_text())['features']
    paths = table_to_geojson(tmp_path / 'out/cells.parquet', tmp_path / 'part.geojson', CLASSES, max_cells=40)
    assert [each.name for each in paths] == ['part_1.geojson', 'part_2.geojson', 'part_3.geojson']
    parts = [json.loads(each.read_text())['features'] for each in paths]
    assert [len(part) for part in parts] == [40, 40, 10] and [*chain(*parts)] == whole
    assert [shapely.geometry.shape(each['geometry']) for each in whole] == outlines(tmp_path / 'out')
    assert whole[0]['properties']['measurements']['area_um2'] == whole[0]['properties']['measurements']['area'] / 4


def test_csv(path, tmp_path):
    look(Model(), path, tmp_path / 'out', mpp=0.5)
    with (tmp_path / 'slides.csv').open(newline='') as file:
        row = next(csv.DictReader(file))
    assert float(row['total per mm2']) == pytest.approx(90 / float(row['mm2'])) and row['slide'] == 'slide.tif'


def test_tissue(tmp_path):
    """All tissue, none at all, and pale tissue."""
    for value, share in (((200, 120, 160), 1), ((246, 244, 245), 0), ((240, 228, 235), 1)):
        pixels = np.full((200, 300, 3), value, np.uint8)
        tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb')
        with Slide(tmp_path / 'a.tif') as slide:
            mask, step = find_tissue(slide)
        assert step == 1 and mask.mean() == share


def test_neighbours_share_no_pixel():
    plane = np.zeros((20, 20), int)
    plane[2:8, 2:8], plane[10:16, 2:8] = 1, 2
    other = np.zeros((20, 20), int)
    other[3:9, 2:8], other[10:16, 7:13], other[0:2, 10:12] = 1, 2, 3
    one, two = (Cells.from_label_map(each, [0] * each.max(), CLASSES) for each in (plane, other))
    left = subtract([one], two)
    # The first is a repeat, the second loses a column, the third is untouched.
    assert left.areas.tolist() == [30, 4]
    assert not (one.label_map() * left.label_map()).any()


def test_a_model_of_whole_images_is_named(path, tmp_path):
    model = SimpleNamespace(reads_windows=False, classes=CLASSES)
    with pytest.raises(InputError, match='tiled config'):
        look(model, path, tmp_path / 'out')
