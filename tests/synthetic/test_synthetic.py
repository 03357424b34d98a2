import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from mmcell.cli.command import run
from mmcell.errors import InputError
from mmcell.synthetic import Tissue, draw_tissue, write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'synthesize.py'
EPITHELIAL, LYMPHOCYTE, NEUTROPHIL, MACROPHAGE = range(4)


def draw(seed: int, size=(256, 256), num_cells=45) -> Tissue:
    return draw_tissue(np.random.default_rng(seed), size, num_cells)


def cell_masks(tissue: Tissue) -> list[tuple[int, np.ndarray]]:
    """(class, H x W mask) of every cell."""
    return [
        (kind, plane == instance)
        for kind, plane in enumerate(tissue.label_maps)
        for instance in np.unique(plane[plane > 0])
    ]


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope='module')
def tissues() -> list[Tissue]:
    return [draw(seed) for seed in range(30)]


def test_tissue_has_the_shapes_and_types_that_it_promises():
    tissue = draw(0, (200, 310), 45)
    assert tissue.image.shape == (200, 310, 3) and tissue.image.dtype == np.uint8
    assert tissue.label_maps.shape == (4, 200, 310) and tissue.label_maps.dtype == np.int32


def test_equal_seeds_give_equal_tissue_and_other_seeds_another():
    one, same, other = draw(7), draw(7), draw(8)
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.label_maps, same.label_maps)
    assert np.mean(one.image != other.image) > 0.5


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), height=st.integers(64, 200), width=st.integers(64, 200), cells=st.integers(1, 80)
)
def test_cells_never_overlap_and_are_connected_and_large_enough(seed, height, width, cells):
    tissue = draw(seed, (height, width), cells)
    assert np.all(np.count_nonzero(tissue.label_maps, axis=0) <= 1)
    masks = cell_masks(tissue)
    ids = np.concatenate([np.unique(plane[plane > 0]) for plane in tissue.label_maps])
    assert ids.tolist() == list(range(1, len(masks) + 1)), 'ids run on from class to class'
    assert len(masks) <= cells
    for _, mask in masks:
        assert mask.sum() >= 20
        assert label(mask)[1] == 1


def test_as_many_cells_as_asked_for(tissues):
    assert {len(cell_masks(tissue)) for tissue in tissues} == {45}


def test_many_cells_in_a_large_image():
    tissue = draw(0, (1024, 1024), 1000)
    assert tissue.label_maps.max() == 1000


def test_rare_classes_are_rare_and_every_class_occurs(tissues):
    counts = np.sum([[len(np.unique(plane)) - 1 for plane in tissue.label_maps] for tissue in tissues], axis=0)
    assert 0.06 <= counts[[NEUTROPHIL, MACROPHAGE]].sum() / counts.sum() <= 0.12
    assert counts.min() >= 30
    assert counts[[EPITHELIAL, LYMPHOCYTE]].min() >= 0.3 * counts.sum()


def test_sizes_differ_as_in_tissue(tissues):
    diameters = [[] for _ in range(4)]
    for tissue in tissues:
        for kind, mask in cell_masks(tissue):
            diameters[kind].append(2 * np.sqrt(mask.sum() / np.pi))
    medians = [np.median(values) for values in diameters]
    assert all(12 <= median <= 45 for median in medians)
    assert medians[LYMPHOCYTE] < medians[NEUTROPHIL] < medians[EPITHELIAL] < medians[MACROPHAGE]


def test_many_cells_share_a_border(tissues):
    touching = total = 0
    for tissue in tissues[:10]:
        owner = tissue.label_maps.sum(0)
        for _, mask in cell_masks(tissue):
            ring = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~mask
            touching += bool(np.any(owner[ring]))
            total += 1
    assert touching / total > 0.3


def test_nuclei_are_darker_than_the_tissue_around_them(tissues):
    for tissue in tissues:
        cells = tissue.label_maps.any(0)
        red = tissue.image[..., 0]  # hematoxylin absorbs red, eosin hardly does
        assert red[cells].mean() < red[~cells].mean() - 60


def features(tissues: list[Tissue]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class, mean color (R, G, B), and size and shape (log area, solidity, log of the axis ratio) of every cell."""
    classes, colours, shapes = [], [], []
    for tissue in tissues:
        for kind, mask in cell_masks(tissue):
            points = np.argwhere(mask).astype(np.int32)
            hull = cv2.contourArea(cv2.convexHull(points))
            minor, major = np.linalg.eigvalsh(np.cov(points.T))
            classes.append(kind)
            colours.append(tissue.image[mask].mean(0))
            shapes.append([np.log(len(points)), len(points) / hull, np.log(major / minor)])
    return np.array(classes), np.array(colours), np.array(shapes)


def gaussian_accuracy(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], kinds) -> float:
    """Balanced accuracy of a classifier with one Gaussian per class, fitted on `train` (classes, values)."""
    truth, values = test[0][np.isin(test[0], kinds)], test[1][np.isin(test[0], kinds)]
    likelihoods = []
    for kind in kinds:
        sample = train[1][train[0] == kind]
        covariance = np.cov(sample.T)
        offset = values - sample.mean(0)
        mahalanobis = np.einsum('ni,ij,nj->n', offset, np.linalg.inv(covariance), offset)
        likelihoods.append(-0.5 * (mahalanobis + np.linalg.slogdet(covariance)[1]))
    guess = np.array(kinds)[np.argmax(likelihoods, 0)]
    return float(np.mean([np.mean(guess[truth == kind] == kind) for kind in kinds]))


@pytest.mark.parametrize(
    ('kinds', 'colour_at_most'),
    # Chance is 1/2, 1/2 and 1/4.
    [((EPITHELIAL, MACROPHAGE), 0.70), ((LYMPHOCYTE, NEUTROPHIL), 0.70), ((0, 1, 2, 3), 0.60)],
)
def test_colour_alone_does_not_tell_the_classes_apart_but_size_and_shape_do(tissues, kinds, colour_at_most):
    classes, colours, shapes = features(tissues[::2])
    test_classes, test_colours, test_shapes = features(tissues[1::2])
    assert gaussian_accuracy((classes, colours), (test_classes, test_colours), kinds) <= colour_at_most
    assert gaussian_accuracy((classes, shapes), (test_classes, test_shapes), kinds) >= 0.90


def test_layout_on_disk(tmp_path):
    totals = write_class_tiff(tmp_path / 'set', 5, (96, 128), 12, seed=3, num_test_images=4)
    folders = sorted((tmp_path / 'set' / 'train').iterdir())
    assert len(folders) == 5
    found = np.zeros(4, int)
    for index, folder in enumerate(folders):
        expected = draw((3, 0, index), (96, 128), 12)
        with tifffile.TiffFile(folder / 'image.tif') as file:
            assert file.pages[0].compression == tifffile.COMPRESSION.LZW
            image = file.asarray()
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image[..., :3], expected.image)
        assert np.all(image[..., 3] == 255)
        for plane, label_map in enumerate(expected.label_maps):
            path = folder / f'class{plane + 1}.tif'
            assert path.exists() == bool(label_map.any()), 'an absent class has no file'
            if path.exists():
                mask = tifffile.imread(path)
                assert mask.dtype == np.float64
                np.testing.assert_array_equal(mask, label_map)
                found[plane] += len(np.unique(mask)) - 1
    assert totals.tolist() == found.tolist()

    listed = json.loads((tmp_path / 'set' / 'test_image_name_to_ids.json').read_text())
    assert sorted(entry['id'] for entry in listed) == [1, 2, 3, 4]
    by_name = sorted(listed, key=lambda entry: entry['file_name'])
    assert [entry['id'] for entry in by_name] != [1, 2, 3, 4]
    names = {path.name for path in (tmp_path / 'set' / 'test_release').iterdir()}
    assert names == {entry['file_name'] for entry in listed}
    for entry in listed:
        pixels = tifffile.imread(tmp_path / 'set' / 'test_release' / entry['file_name'])
        assert pixels.shape == (entry['height'], entry['width'], 4)


def test_equal_seeds_give_equal_files_whatever_the_number_of_images(tmp_path):
    for name, count, seed in (('a', 3, 1), ('b', 3, 1), ('more', 5, 1), ('other', 3, 2)):
        write_class_tiff(tmp_path / name, count, (64, 96), 8, seed=seed, num_test_images=2)
    first = hashes(tmp_path / 'a')
    assert first == hashes(tmp_path / 'b')
    assert first.items() <= hashes(tmp_path / 'more').items()
    other = hashes(tmp_path / 'other')
    assert all(other[name] != digest for name, digest in first.items() if name.endswith('image.tif'))


def test_train_and_test_images_differ(tmp_path):
    write_class_tiff(tmp_path / 'set', 1, (64, 64), 5, num_test_images=1)
    train = tifffile.imread(tmp_path / 'set' / 'train' / 'tissue_00000' / 'image.tif')
    assert np.mean(train != tifffile.imread(tmp_path / 'set' / 'test_release' / 'test_00000.tif')) > 0.5


def test_an_existing_set_is_kept_unless_overwrite_is_given(tmp_path):
    target = tmp_path / 'set'
    write_class_tiff(target, 2, (64, 64), 5, num_test_images=1)
    before = hashes(target)
    with pytest.raises(InputError, match='--overwrite'):
        write_class_tiff(target, 1, (64, 64), 5, seed=9, num_test_images=0)
    assert hashes(target) == before
    write_class_tiff(target, 1, (64, 64), 5, seed=9, num_test_images=0, overwrite=True)
    assert [path.name for path in (target / 'train').iterdir()] == ['tissue_00000']
    assert [path.name for path in tmp_path.iterdir()] == ['set']


def test_overwrite_never_deletes_what_is_no_set(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    with pytest.raises(InputError, match=r'thesis\.tex'):
        write_class_tiff(tmp_path, 1, (64, 64), 5, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / 'set').mkdir()
    write_class_tiff(tmp_path / 'set', 1, (64, 64), 5, num_test_images=0)
    assert (tmp_path / 'set' / 'train' / 'tissue_00000' / 'image.tif').exists()


def test_a_run_that_fails_half_way_leaves_nothing(tmp_path):
    # The picture is far beyond the memory of any machine, so drawing it fails after the folder was begun.
    with pytest.raises(MemoryError):
        write_class_tiff(tmp_path / 'set', 1, (2**28, 2**28), 1)
    assert list(tmp_path.iterdir()) == []


def test_tool_writes_a_set_and_says_what_is_in_it(tmp_path):
    arguments = ['--out', tmp_path / 'set', '--images', '2', '--size', '64', '80', '--cells', '6']
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    result = subprocess.run(
        [sys.executable, TOOL, *arguments], capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': paths}
    )
    assert result.returncode == 0, result.stderr
    assert '2 images' in result.stdout and '1 test images' in result.stdout
    assert tifffile.imread(tmp_path / 'set' / 'train' / 'tissue_00001' / 'image.tif').shape == (64, 80, 4)


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        (['--images', '0'], '--images'),
        (['--size', '256', '10'], '--size'),
        (['--cells', '0'], '--cells'),
        (['--seed', '-1'], '--seed'),
        (['--test-images', '-1'], '--test-images'),
        (['--cells', 'many'], '--cells'),
    ],
)
def test_bad_arguments_exit_with_2_and_one_line(tmp_path, capsys, arguments, named):
    spec = importlib.util.spec_from_file_location('synthesize', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with pytest.raises(SystemExit) as stop:
        run(tool.main, ['--out', str(tmp_path / 'set'), *arguments])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / 'file').touch()
    for out in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(InputError, match='file'):
            write_class_tiff(out, 1, (64, 64), 5)
