"""Encoding the label maps of a source folder."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from benchmarks.measure import Case, Finding, Options, Other, Row, Task, clock
from benchmarks.scene import draw_cells, grid_cost, labels_of
from mmcell.errors import InputError
from mmcell.io.images import read_label_map
from mmcell.structures.rle import RLE, Instances, encode_label_map

_READING = 'reading the files'
_OTHERS = (Other('id by id'),)


class Convert(Task):
    """Read label maps and encode each instance; the other way compares the whole image with each id."""

    def __init__(self, inputs: list[Path], side: str) -> None:
        super().__init__(inputs, side)
        self.reading: list[float] = []

    def run(self) -> list[Instances]:
        """Read and encode all files."""
        reading, encoded = 0.0, []
        self.pixels = 0
        for path in self.inputs:
            start = clock()
            plane = read_label_map(path)
            reading += clock() - start
            self.pixels += plane.size
            encoded.append(encode_label_map(plane) if self.ours else encode_one_by_one(plane))
        self.reading.append(reading)
        return encoded

    def digest(self, result: list[Instances]) -> NDArray[np.float64]:
        """Box, area and a checksum of the RLE of each instance."""
        rows = [
            [*box, area, zlib.crc32(rle['counts'].encode())]
            for part in result
            for box, area, rle in zip(part.boxes, part.areas, part.rles)
        ]
        return np.array(rows, dtype=np.float64)

    def parts(self, result: list[Instances]) -> dict[str, float]:
        """Reading the files, which is the same on both sides."""
        return {_READING: float(np.median(self.reading))}

    def floor_bytes(self, result: list[Instances]) -> int:
        """Each pixel, int32, is read once."""
        return 4 * self.pixels


def encode_one_by_one(plane: NDArray[np.int32]) -> Instances:
    """The usual loop of a converter: a bitmap of the whole image for each id."""
    ids = np.unique(plane[plane > 0])
    rles: list[RLE] = []
    boxes, areas = [], []
    for value in ids:
        rle = coco_mask.encode(np.asfortranarray(plane == value, dtype=np.uint8))
        boxes.append(coco_mask.toBbox(rle))
        areas.append(coco_mask.area(rle))
        rles.append({'size': rle['size'], 'counts': rle['counts'].decode()})
    return Instances(ids, np.array(boxes), np.array(areas), rles)


def cases(options: Options) -> Iterator[Case]:
    """The first images of a source folder in the class_tiff layout, or synthetic label maps."""
    if options.source is not None:
        folders = sorted(path.parent for path in options.source.glob('train/*/image.tif'))[: options.images]
        files = [path for folder in folders for path in sorted(folder.glob('class*.tif'))]
        if not files:
            raise InputError(options.source, 'holds no train/<id>/class*.tif', 'name a folder that convert.py can read')
        found = sum(int(np.count_nonzero(np.unique(read_label_map(path)))) for path in files)
        labels: dict[str, int | str] = {'source': options.source.name, 'images': len(folders), 'cells': found}
        yield Case(labels, 1, lambda: files, _OTHERS)
        return
    for side, cells in product(options.sides, options.cells):
        path = options.scratch / f'{cells}_{side}.tif'
        tifffile.imwrite(path, draw_cells(cells, side), compression='deflate')
        yield Case(labels_of(cells, side), grid_cost(cells, side), partial(list, [path]), _OTHERS)


def findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """What the rows come down to."""
    for row in rows:
        if 'source' in row.labels:
            yield Finding(f'{row.labels["source"]}: times faster', row.speedup())
            if other := row.other():
                ours, theirs = (side.seconds - side.parts[_READING] for side in (row.ours, other))
                yield Finding(f'{row.labels["source"]}: times faster, without reading the files', theirs / ours)
