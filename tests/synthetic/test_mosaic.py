"""Mosaics hold the pixels and the cells of their images."""

from __future__ import annotations

import numpy as np
import tifffile

from mmcell.io.images import read_image, read_label_map


def test_a_mosaic_of_one_image_is_the_image_again_and_again(tmp_path, tool):
    rng = np.random.default_rng(0)
    folder = tmp_path / 'source/train/one'
    folder.mkdir(parents=True)
    pixels = rng.integers(0, 256, (10, 8, 3), dtype=np.uint8)
    labels = np.zeros((10, 8), dtype=np.uint16)
    labels[1:3, 2:4], labels[5:9, 5:7] = 3, 9
    tifffile.imwrite(folder / 'image.tif', pixels)
    tifffile.imwrite(folder / 'class2.tif', labels)
    outcome = tool('mosaic', tmp_path / 'source', '--out', tmp_path / 'out', '--size', 16)
    assert outcome.status == 0 and '16 x 16 with 8 cells' in outcome.out
    mosaic = read_image(tmp_path / 'out/train/mosaic0/image.tif')
    assert np.array_equal(mosaic, np.tile(pixels, (2, 2, 1))[:16])
    plane = read_label_map(tmp_path / 'out/train/mosaic0/class2.tif')
    assert np.array_equal(plane > 0, np.tile(labels > 0, (2, 2))[:16])
    # Two cells in each of the four copies; of the lower ones the second is cut and still a cell.
    ids = np.unique(plane[plane > 0])
    assert len(ids) == 8 and all((plane == i).any() for i in ids)


def test_bad_input(tmp_path, tool):
    outcome = tool('mosaic', tmp_path, '--out', tmp_path / 'out')
    assert outcome.status == 2 and outcome.err.startswith(f'error: {tmp_path}: holds no train/*/image.tif')
    assert not (tmp_path / 'out').exists()
