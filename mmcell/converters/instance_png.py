"""One mask file per cell, as in the 2018 Data Science Bowl."""

from __future__ import annotations

from pathlib import Path

from mmcell.converters.base import LAYOUTS, ImageRecord, Layout, check_same_size
from mmcell.converters.listing import IMAGE_SUFFIXES, files_in, folders_in, image_files
from mmcell.errors import InputError
from mmcell.io.images import read_label_map, read_size
from mmcell.structures.rle import Runs, find_runs


@LAYOUTS.register_module('instance_png')
class InstancePng(Layout):
    """`stage1_train/<id>/images/<one>.png` and `stage1_train/<id>/masks/*.png`, or the folders `<id>` in SRC itself.

    PNG, TIFF or JPEG, but masks no JPEG. A mask is 0 outside its cell and one other value inside, by custom 255. Cells
    may overlap and be in pieces. All are of the first class. An empty folder `masks` stands for an image without cells.

    Source: Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl, Nature Methods
    2019; the files are BBBC038 of the Broad Bioimage Benchmark Collection, https://bbbc.broadinstitute.org/BBBC038.
    """

    class_counts = (1,)

    @property
    def default_class_names(self) -> tuple[str, ...]:
        """One class."""
        return ('nucleus',)

    def names(self) -> list[str]:
        """Names of the folders with an `images` in them, sorted."""
        names = [path.name for path in folders_in(self._root) if (path / 'images').is_dir()]
        if not names:
            raise InputError(self._root, 'holds no image folder', 'lay images out as <id>/images and <id>/masks')
        return names

    def files(self) -> list[Path]:
        """Images and masks."""
        folders = [self._root / name / part for name in self.names() for part in ('images', 'masks')]
        return [path for folder in folders for path in image_files(folder)]

    def read(self, name: str) -> ImageRecord:
        """Read the image and the masks of one folder."""
        folder = self._root / name
        images = image_files(folder / 'images')
        if len(images) != 1:
            raise InputError(folder / 'images', f'holds {len(images)} images', 'leave just one there')
        if not (folder / 'masks').is_dir():
            problem, cure = 'is missing', 'restore it; leave it empty for an image without cells'
            raise InputError(folder / 'masks', problem, cure)
        # A mask that is passed over is a cell that is taught as background.
        for path in files_in(folder / 'masks'):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                raise InputError(path, 'is not a mask that mmcell reads', 'save it as PNG, or remove it')
        size = read_size(images[0])
        cells = [_read_cell(path, images[0], size) for path in image_files(folder / 'masks')]
        return self._record_of_runs(name, images[0], {1: cells})

    @property
    def _root(self) -> Path:
        root = self.source / 'stage1_train'
        return root if root.is_dir() else self.source


def _read_cell(path: Path, image: Path, size: tuple[int, int]) -> Runs:
    plane = read_label_map(path)
    check_same_size(path, plane.shape, image, size)
    values, runs = find_runs(plane)
    if len(values) != 1:
        problem = f'holds {len(values)} values besides 0' if len(values) else 'holds no cell'
        raise InputError(path, problem, 'save one cell per file, 255 on 0, or remove it')
    return runs
