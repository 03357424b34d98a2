import cv2
import numpy as np

from mmcell.palette import class_colour
from mmcell.report.cells import ImageSet
from mmcell.report.overlay import draw_overlay, write_overlays


def count(picture, colour):
    return (picture == colour).all(axis=2).sum()


def test_each_class_is_drawn_in_its_colour_and_the_rest_is_left_alone(dataset):
    images = ImageSet.load(dataset.truth)
    cells = images.gather(dataset.results)[1]
    image = np.full((80, 120, 3), 200, dtype=np.uint8)
    empty = draw_overlay(image, cells.above(2), images.classes)
    picture = draw_overlay(image, cells, images.classes)
    assert picture.shape == empty.shape
    present = set(cells.labels.tolist())
    for label in range(4):
        drawn = count(picture, class_colour(label)) > count(empty, class_colour(label)) + 20
        assert drawn == (label in present)
    # Outlines, not fills: inside the largest disc, and in the ring's hole, is the image as it was.
    scale, margin = 4, 16
    for x, y in ((95, 60), (31, 30), (5, 5)):
        assert (picture[margin + y * scale, margin + x * scale] == 200).all()


def test_outline_lies_on_the_edge_of_the_mask(dataset):
    """Each drawn pixel is within one pixel of the image from a mask's edge, and each edge is drawn."""
    images = ImageSet.load(dataset.truth)
    cells = images.truth()[2]
    scale, margin = 4, 16
    picture = draw_overlay(np.full((64, 50, 3), 200, dtype=np.uint8), cells, images.classes, scale=scale)
    panel = picture[margin : margin + 64 * scale, margin : margin + 50 * scale]
    drawn = (panel != 200).any(axis=2)
    edges = np.zeros((64 * scale, 50 * scale), dtype=np.uint8)
    for bitmap, (x, y, w, h) in zip(cells.bitmaps(), cells.boxes.tolist()):
        large = np.zeros_like(edges)
        large[y * scale : (y + h) * scale, x * scale : (x + w) * scale] = np.kron(bitmap, np.ones((scale, scale)))
        edges |= cv2.morphologyEx(large, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    near = cv2.dilate(edges, np.ones((2 * scale + 1, 2 * scale + 1), np.uint8)) > 0
    assert not (drawn & ~near).any()
    reached = cv2.dilate(drawn.astype(np.uint8), np.ones((2 * scale + 1, 2 * scale + 1), np.uint8)) > 0
    assert reached[edges > 0].all()


def test_truth_beside_prediction(dataset, tmp_path):
    alone = write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path / 'a')
    beside = write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path / 'b', truth=dataset.truth)
    assert [path.name for path in alone] == [f'train_{number}_image.png' for number in (1, 2, 3)]
    narrow, wide = (cv2.imread(str(paths[0])) for paths in (alone, beside))
    assert wide.shape[1] == 2 * narrow.shape[1] - 16
    # The one cell of class 2 (neutrophil) in the truth was predicted as another class: its colour is on the left only.
    middle = wide.shape[1] // 2
    colour = class_colour(2)[::-1]
    assert count(wide[:400, :middle], colour) > 20 + count(wide[:320, middle:], colour)


def test_score_threshold_and_number_of_images(dataset, tmp_path):
    (few,) = write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path / 'a', 0.85, max_images=1)
    (many,) = write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path / 'b', 0.1, max_images=1)
    colour = class_colour(1)[::-1]
    assert count(cv2.imread(str(many)), colour) > count(cv2.imread(str(few)), colour)
