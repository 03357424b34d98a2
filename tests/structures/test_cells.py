"""What was found in one image."""

import json
import tracemalloc

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell.structures.cells import Cells
from mmcell.structures.rle import find_runs
from mmcell.structures.run_geometry import place

CLASSES = ('a', 'b', 'c')


@st.composite
def label_maps(draw):
    """A label map with gaps in its ids, and a class for each."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    plane = rng.choice([0, 0, 2, 3, 7, 70_000], shape)
    ids = np.unique(plane[plane > 0])
    return plane, ids, rng.integers(0, len(CLASSES), len(ids)), rng.random(len(ids))


@settings(deadline=None, max_examples=150)
@given(label_maps())
def test_everything_of_a_cell_is_that_of_its_pixels(case):
    plane, ids, labels, scores = case
    cells = Cells.from_label_map(plane, labels, CLASSES, scores)
    assert len(cells) == len(ids) and cells.size == plane.shape
    numbered = np.searchsorted(ids, plane) + 1
    np.testing.assert_array_equal(cells.label_map(), np.where(plane > 0, numbered, 0))
    classes = np.append(labels, -1)[np.searchsorted(ids, plane)] + 1
    np.testing.assert_array_equal(cells.class_map(), np.where(plane > 0, classes, 0))
    for i, number in enumerate(ids):
        rows, columns = np.nonzero(plane == number)
        assert cells.areas[i] == len(rows)
        assert cells.boxes[i].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(cells.centres[i], [columns.mean() + 0.5, rows.mean() + 0.5])
        centre = shapely.centroid(cells.outlines()[i])
        np.testing.assert_allclose(cells.centres[i], [centre.x, centre.y])
    assert cells.counts() == {name: int((labels == label).sum()) for label, name in enumerate(CLASSES)}
    assert (cells.probabilities[np.arange(len(cells)), labels] == 1).all() and cells.probabilities.sum() == len(cells)


@settings(deadline=None, max_examples=100)
@given(label_maps(), st.tuples(*[st.integers(-3, 12)] * 2), st.tuples(*[st.integers(0, 12)] * 2))
def test_a_window_of_the_label_map(case, corner, extent):
    plane, _, labels, scores = case
    cells = Cells.from_label_map(plane, labels, CLASSES, scores)
    padded = np.pad(cells.label_map(), ((3, 30), (3, 30)))
    (x, y), (width, height) = corner, extent
    expected = padded[y + 3 : y + 3 + height, x + 3 : x + 3 + width]
    np.testing.assert_array_equal(cells.label_map((x, y, x + width, y + height)), expected)


@settings(deadline=None, max_examples=100)
@given(label_maps(), st.floats(0, 1))
def test_selections(case, score):
    plane, ids, labels, scores = case
    cells = Cells.from_label_map(plane, labels, CLASSES, scores)
    above = np.isin(plane, ids[scores >= score])
    np.testing.assert_array_equal(cells.above(score).label_map() > 0, above)
    assert cells.above(score).scores.tolist() == scores[scores >= score].tolist()
    backwards = cells[::-1]
    assert backwards.labels.tolist() == labels[::-1].tolist()
    assert backwards.boxes.tolist() == cells.boxes[::-1].tolist()
    assert len(cells[np.zeros(0, dtype=int)]) == len(cells[[]]) == 0
    for i in range(len(cells)):
        assert cells[i].areas.tolist() == [cells.areas[i]]


@settings(deadline=None, max_examples=100)
@given(label_maps())
def test_geojson_draws_the_label_map_again(case):
    plane, ids, labels, scores = case
    cells = Cells.from_label_map(plane, labels, CLASSES, scores)
    colours = [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    features = json.loads(json.dumps(cells.to_geojson('a.png', colours, {'size': cells.areas})))['features']
    assert len({feature['id'] for feature in features}) == len(ids)
    rows, columns = np.indices(plane.shape)
    points = shapely.points(columns.ravel() + 0.5, rows.ravel() + 0.5)
    for i, feature in enumerate(features):
        inside = shapely.contains(shapely.from_geojson(json.dumps(feature['geometry'])), points)
        np.testing.assert_array_equal(inside.reshape(plane.shape), plane == ids[i])
        properties = feature['properties']
        assert properties['classification'] == {'name': CLASSES[labels[i]], 'color': list(colours[labels[i]])}
        measured = properties['measurements']
        assert (measured['score'], measured['size']) == (scores[i], cells.areas[i])
        assert sum(value for name, value in measured.items() if name.startswith('probability: ')) == 1
    assert cells.to_geojson('b.png')['features'][:1] != features[:1] or not features


def test_the_table_has_a_row_a_cell():
    cells = Cells.from_label_map(np.array([[1, 1, 2]]), [1, 0], CLASSES, [0.5, 0.25])
    table = {name: column.tolist() for name, column in cells.columns().items()}
    assert table == {
        'id': [1, 2],
        'class': ['b', 'a'],
        'score': [0.5, 0.25],
        'area': [2, 1],
        'centroid_x': [1, 2.5],
        'centroid_y': [0.5, 0.5],
        'x1': [0, 2],
        'y1': [0, 0],
        'x2': [2, 3],
        'y2': [1, 1],
        'probability: a': [0, 1],
        'probability: b': [1, 0],
        'probability: c': [0, 0],
        'probability: none of these': [0, 0],
    }


def test_the_table_as_pandas_has_it():
    pandas = pytest.importorskip('pandas')
    cells = Cells.from_label_map(np.eye(3, dtype=int), [2], CLASSES)
    assert isinstance(cells.to_dataframe(), pandas.DataFrame)
    assert cells.to_dataframe().shape == (1, len(cells.columns()))


def test_ids_beyond_16_bits():
    plane = np.arange(1, 300 * 300 + 1).reshape(300, 300)
    cells = Cells.from_label_map(plane, np.zeros(plane.size, dtype=int), CLASSES)
    assert cells.label_map().dtype == np.uint32
    np.testing.assert_array_equal(cells.label_map(), plane)
    assert cells[: 2**16 - 1].label_map().dtype == np.uint16


def test_cells_of_a_slide_are_painted_window_by_window():
    masks = place(find_runs(np.ones((3, 4), dtype=int))[1], (59_000, 40_000), (50_000, 60_000))
    tracemalloc.start()
    cells = Cells.certain(masks, [0], CLASSES)
    window = cells.label_map((58_998, 39_999, 59_010, 40_010))
    assert cells.boxes.tolist() == [[59_000, 40_000, 59_004, 40_003]]
    assert len(cells.outlines()) == 1
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    assert window.shape == (11, 12) and window.sum() == 12 and window[1:4, 2:6].all()


def test_labels_that_do_not_fit():
    with pytest.raises(ValueError, match='1 masks need as many labels'):
        Cells.from_label_map(np.eye(2, dtype=int), [0, 1], CLASSES)
