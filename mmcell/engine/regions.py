"""Where on a slide to look: tissue, the regions that a user drew, and the pieces that are predicted one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from mmcell.errors import InputError
from mmcell.io.files import read_json
from mmcell.io.slide import Slide

# Longer edge of the picture that tissue is found on.
_EDGE = 2048
# Glass is bright and has hardly any color, whatever Otsu's method makes of a slide without glass, or without tissue.
_SATURATION, _BRIGHTNESS = (6, 20), 200
# What is looked at beyond the edge of tissue, and the largest speck that is none, both in pixels of that picture.
_RIM, _SPECK = 2, 6

#: Tiles along a side of a region: what one result file holds, and what a killed run loses at most.
TILES = 8

#: x1, y1, x2, y2 in pixels.
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Region:
    """A piece of a slide, in pixels of the resolution that is predicted at.

    Attributes:
        row: Its place in the grid of pieces.
        column: Its place.
        core: x1, y1, x2, y2 of what it answers for; cores do not overlap.
        window: x1, y1, x2, y2 of what is predicted: the core and half an overlap of tiles around it.
    """

    row: int
    column: int
    core: Box
    window: Box

    @property
    def pixels(self) -> int:
        """Pixels of the core."""
        x1, y1, x2, y2 = self.core
        return (x2 - x1) * (y2 - y1)


def find_tissue(slide: Slide) -> tuple[NDArray[np.bool_], float]:
    """Where a slide is not empty glass, found on a low level, without a network.

    Pixels that are dark or colored (Otsu's threshold of the saturation, within bounds that keep pale tissue), without
    specks, with holes filled, and a rim.

    Returns:
        (h, w), and how many pixels of the largest level one of them spans.
    """
    picture, factor = slide.overview(_EDGE)
    smooth = cv2.GaussianBlur(picture, (0, 0), 1.0)
    saturation = np.ptp(smooth, axis=2)
    threshold = np.clip(threshold_otsu(saturation) if np.ptp(saturation) else 0, *_SATURATION)
    tissue = (saturation > threshold) | (smooth.min(axis=2) < _BRIGHTNESS)
    tissue = ndimage.binary_fill_holes(ndimage.binary_opening(tissue))
    labels, count = ndimage.label(tissue)
    small = np.bincount(labels.ravel(), minlength=count + 1) <= _SPECK
    return ndimage.binary_dilation(tissue & ~small[labels], iterations=_RIM), factor


def read_roi(path: str | Path) -> shapely.MultiPolygon:
    """The union of the polygons of a GeoJSON as QuPath writes it, in pixels of the largest level.

    Raises:
        InputError: If it cannot be read or holds no polygon.
    """
    content = read_json(path)
    features = content.get('features', [content]) if isinstance(content, dict) else content
    shapes = []
    for feature in features if isinstance(features, list) else []:
        geometry = feature.get('geometry', feature) if isinstance(feature, dict) else None
        try:
            shapes.append(shapely.make_valid(shapely.geometry.shape(geometry)))
        except Exception as error:  # It raises what it likes.
            raise InputError(path, f'holds an invalid outline ({str(error)[:100]})', 'export it again') from None
    union = shapely.union_all([shape for shape in shapes if shape.area > 0])
    parts = [part for part in shapely.get_parts([union]) if part.geom_type == 'Polygon' and not part.is_empty]
    if not parts or not np.isfinite(shapely.bounds(union)).all():
        raise InputError(path, 'holds no polygon', 'draw a region in QuPath and export it as GeoJSON')
    return shapely.MultiPolygon(parts)


def plan_regions(
    size: tuple[int, int],
    tiling: tuple[int, int],
    wanted: shapely.MultiPolygon | NDArray[np.bool_] | None = None,
    step: float = 1.0,
    tiles: int = TILES,
) -> list[Region]:
    """Cut a slide into regions, row by row, each of which whole tiles cover without waste.

    Args:
        size: Height and width.
        tiling: Side and overlap of tiles.
        wanted: What is looked at: a mask, (h, w), or polygons; None for all. Regions without any of it are left out,
            and others shrink to the box around what is wanted of them.
        step: Pixels that one of `wanted` spans.
        tiles: Tiles along a side of a region.
    """
    (tile, overlap), (height, width) = tiling, size
    side, halo = tiles * (tile - overlap), overlap // 2
    rows, columns = (max(1, -(-(length - overlap) // side)) for length in size)
    regions = []
    for row, column in np.ndindex(rows, columns):
        # The last one of a row takes what is left, which is less than an overlap more.
        right, bottom = (column + 1) * side, (row + 1) * side
        whole = (
            column * side,
            row * side,
            width if column == columns - 1 else right,
            height if row == rows - 1 else bottom,
        )
        core = whole if wanted is None else _shrink(whole, wanted, step)
        if core is None:
            continue
        x1, y1, x2, y2 = core
        window = max(x1 - halo, 0), max(y1 - halo, 0), min(x2 + halo, width), min(y2 + halo, height)
        regions.append(Region(row, column, core, window))
    return regions


def _shrink(core: Box, wanted: shapely.MultiPolygon | NDArray[np.bool_], step: float) -> Box | None:
    """The box around what is wanted of a core; None without any."""
    low, high = np.floor(np.divide(core[:2], step)).astype(int), np.ceil(np.divide(core[2:], step)).astype(int)
    if isinstance(wanted, shapely.MultiPolygon):
        part = shapely.intersection(wanted, shapely.box(*low, *high))
        if part.area == 0:
            return None
        found = np.array(part.bounds)
    else:
        y, x = np.nonzero(wanted[low[1] : high[1], low[0] : high[0]])
        if not len(x):
            return None
        found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) + np.tile(low, 2)
    low, high = np.floor(found[:2] * step).astype(int), np.ceil(found[2:] * step).astype(int)
    (left, top), (right, bottom) = np.maximum(core[:2], low).tolist(), np.minimum(core[2:], high).tolist()
    return left, top, right, bottom
