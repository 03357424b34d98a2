import cv2
import numpy as np
import pytest

from mmcell.coco.cells import cells_of, true_cells
from mmcell.coco.truth import load_truth
from mmcell.errors import InputError
from mmcell.io import slide
from mmcell.io.images import read_image
from mmcell.report import overlay
from mmcell.report.overlay import draw_overlay, write_overlays
from mmcell.structures.run_geometry import box_bitmaps
from mmcell.visualization.palette import class_colour


def found(dataset, image_id):
    truth = load_truth(dataset.truth)
    return dict(cells_of(dataset.results, truth.images, truth.categories))[image_id]


def count(picture, colour):
    return (picture == colour).all(axis=2).sum()


def test_each_class_is_drawn_in_its_colour_and_the_rest_is_left_alone(dataset):
    cells = found(dataset, 1)
    image = np.full((80, 120, 3), 200, dtype=np.uint8)
    empty = draw_overlay(image, cells.above(2))
    picture = draw_overlay(image, cells)
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
    cells = next(cells for image_id, cells, _ in true_cells(load_truth(dataset.truth)) if image_id == 2)
    scale, margin = 4, 16
    picture = draw_overlay(np.full((64, 50, 3), 200, dtype=np.uint8), cells, scale=scale)
    panel = picture[margin : margin + 64 * scale, margin : margin + 50 * scale]
    drawn = (panel != 200).any(axis=2)
    edges = np.zeros((64 * scale, 50 * scale), dtype=np.uint8)
    for bitmap, (x, y, w, h) in zip(box_bitmaps(cells.masks), cells.masks.boxes.tolist()):
        large = np.zeros_like(edges)
        large[y * scale : (y + h) * scale, x * scale : (x + w) * scale] = np.kron(bitmap, np.ones((scale, scale)))
        edges |= cv2.morphologyEx(large, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    near = cv2.dilate(edges, np.ones((2 * scale + 1, 2 * scale + 1), np.uint8)) > 0
    assert not (drawn & ~near).any()
    reached = cv2.dilate(drawn.astype(np.uint8), np.ones((2 * scale + 1, 2 * scale + 1), np.uint8)) > 0
    assert reached[edges > 0].all()


def test_truth_beside_prediction(dataset, tmp_path):
    alone = write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path / 'a', 0.3)
    beside = write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path / 'b', 0.3, dataset.truth)
    assert [path.name for path in alone] == [f'train_{number}_image.png' for number in (1, 2, 3)]
    narrow, wide = (cv2.imread(str(paths[0])) for paths in (alone, beside))
    assert wide.shape[1] == 2 * narrow.shape[1] - 16
    # The one cell of class 2 (neutrophil) in the truth was predicted as another class: its color is on the left only.
    middle = wide.shape[1] // 2
    colour = class_colour(2)[::-1]
    assert count(wide[:400, :middle], colour) > 20 + count(wide[:320, middle:], colour)


def test_score_threshold_and_number_of_images(dataset, tmp_path):
    (few,) = write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path / 'a', 0.85, max_images=1)
    (many,) = write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path / 'b', 0.1, max_images=1)
    colour = class_colour(1)[::-1]
    assert count(cv2.imread(str(many)), colour) > count(cv2.imread(str(few)), colour)


def test_large_images_are_read_in_strips_and_shrunk(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(overlay, 'SHRUNK_EDGE', 40)  # the first image is 120 pixels wide: a third
    monkeypatch.setattr(slide, '_STRIP', 5)
    (path,) = write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path, 0.1, max_images=1)
    source = dataset.image_root / dataset.images[0]['file_name']
    pixels = read_image(source)
    padded = np.pad(pixels, ((0, -pixels.shape[0] % 3), (0, 0), (0, 0)), mode='edge').astype(float)
    expected = padded.reshape(-1, 3, 40, 3, 3).mean(axis=(1, 3))
    with slide.Slide(source) as opened:
        small = opened.shrink(3)
    assert small.shape == expected.shape and np.abs(small - expected).max() <= 0.51
    picture = cv2.imread(str(path))[..., ::-1]
    panel = next(
        picture[top : top + len(small), 16:56] for top in range(100) if (picture[top, 16:56] == small[0]).all()
    )
    drawn = (panel != small).any(axis=2)
    masks = np.zeros(pixels.shape[:2], dtype=bool)
    drawn_cells = found(dataset, 1).masks
    for bitmap, (x, y, w, h) in zip(box_bitmaps(drawn_cells), drawn_cells.boxes.tolist()):
        masks[y : y + h, x : x + w] |= bitmap
    masks = cv2.resize(masks.astype(np.uint8) * 255, (40, len(small)), interpolation=cv2.INTER_AREA)
    # A smooth line is two pixels wide.
    near = cv2.dilate(masks, np.ones((5, 5), np.uint8)) > 0
    assert near.mean() < 0.7 and drawn.sum() > 20 and not (drawn & ~near).any()


def test_an_image_of_another_size_is_refused(dataset, tmp_path):
    path = dataset.image_root / dataset.images[0]['file_name']
    cv2.imwrite(str(path), np.zeros((10, 12, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r'image\.png: is 12 x 10, but its cells are of 120 x 80 pixels'):
        write_overlays(dataset.results, dataset.truth, dataset.image_root, tmp_path, 0.1)
