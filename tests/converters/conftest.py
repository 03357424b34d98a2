"""What the tests of all layouts share: a conversion, and what it wrote as plain bitmaps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from pycocotools import mask as coco_mask


class Cell(NamedTuple):
    """One annotation, decoded by pycocotools."""

    category: int
    iscrowd: int
    mask: np.ndarray


class Converted:
    """What a conversion wrote and printed."""

    def __init__(self, out: Path, printed: str) -> None:
        self.out, self.printed = out, printed

    def load(self, name: str = 'trainval') -> dict:
        return json.loads((self.out / 'annotations' / f'{name}.json').read_text())

    def files(self, name: str = 'trainval') -> list[str]:
        return [image['file_name'] for image in self.load(name)['images']]

    @property
    def classes(self) -> list[str]:
        return [category['name'] for category in self.load()['categories']]

    def cells(self) -> dict[str, list[Cell]]:
        """Annotations by file name, in the order of the json; boxes and areas are checked on the way."""
        content = self.load()
        names = {image['id']: image['file_name'] for image in content['images']}
        found = {name: [] for name in names.values()}
        for annotation in content['annotations']:
            mask = coco_mask.decode([annotation['segmentation']])[..., 0].astype(bool)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x, y = columns[0], rows[0]
            assert annotation['bbox'] == [x, y, columns[-1] - x + 1, rows[-1] - y + 1]
            assert annotation['area'] == mask.sum()
            found[names[annotation['image_id']]].append(Cell(annotation['category_id'], annotation['iscrowd'], mask))
        return found


def same(found: list[Cell], expected: list[tuple[int, int, np.ndarray]]) -> bool:
    """Whether two lists of annotations agree, pixel for pixel, whatever their order."""

    def key(cell: tuple[int, int, np.ndarray]) -> tuple[int, int, bytes]:
        return int(cell[0]), int(cell[1]), np.packbits(cell[2]).tobytes()

    shapes = {cell[2].shape for cell in [*found, *expected]}
    return len(shapes) <= 1 and sorted(map(key, found)) == sorted(map(key, expected))


@pytest.fixture
def same_cells() -> Callable[..., bool]:
    return same


@pytest.fixture
def converted(tool, tmp_path) -> Callable[..., Converted]:
    """Convert a source that has to be valid."""

    def convert(layout: str, source: Path, *arguments: object, out: str = 'out') -> Converted:
        outcome = tool('convert', layout, source, '--out', tmp_path / out, *arguments)
        assert outcome.status == 0, outcome.err
        return Converted(tmp_path / out, outcome.out)

    return convert


@pytest.fixture
def refused(tool, tmp_path) -> Callable[..., str]:
    """Convert a source that has to be refused: one line that names file and cure, and nothing written."""

    def convert(layout: str, source: Path, *arguments: object) -> str:
        outcome = tool('convert', layout, source, '--out', tmp_path / 'out', *arguments)
        lines = [line for line in outcome.err.splitlines() if not line.startswith('reading')]
        assert (outcome.status, outcome.out, len(lines)) == (2, '', 1), outcome
        assert lines[0].startswith('error: ') and '; ' in lines[0]
        assert not (tmp_path / 'out').exists()
        return lines[0]

    return convert
