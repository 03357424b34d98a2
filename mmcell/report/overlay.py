"""Pictures of cells: outlines on the image, a legend with counts, the truth beside the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mmcell.coco.cells import true_cells
from mmcell.coco.results import Result
from mmcell.coco.threshold import DEFAULT_THRESHOLD
from mmcell.coco.truth import load_truth
from mmcell.errors import InputError
from mmcell.io.files import write_bytes
from mmcell.io.images import ChannelOrder
from mmcell.io.slide import Slide
from mmcell.report.image_set import ImageSet
from mmcell.structures.cells import Cells
from mmcell.structures.outlines import smooth_rings
from mmcell.visualization.palette import class_colour, halo_colour

#: Pictures are enlarged by whole factors until their long edge would exceed this many pixels.
LONG_EDGE = 1200
#: Images with a longer edge are read in strips and shrunk by whole factors until they fit.
SHRUNK_EDGE = 4096
_MAX_SCALE = 4
_SHIFT = 4  # cv2 draws at 1/16 of a pixel

_PAPER, _INK, _FAINT = (255, 255, 255), (32, 32, 36), (110, 110, 118)
_MARGIN = 16


def draw_overlay(
    image: NDArray[np.uint8],
    cells: Cells,
    truth: Cells | None = None,
    title: str = '',
    scale: int | None = None,
) -> NDArray[np.uint8]:
    """Outline cells on their image.

    Args:
        image: (H, W, 3) RGB.
        cells: The cells to outline.
        truth: Drawn on a second panel, left of the first.
        title: Written above.
        scale: Whole factor by which the image is enlarged; None picks one by :data:`LONG_EDGE`.

    Returns:
        uint8 array of shape (H', W', 3), RGB.
    """
    height, width = image.shape[:2]
    scale = scale or int(np.clip(LONG_EDGE // max(height, width), 1, _MAX_SCALE))
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return _compose(large, scale, cells, truth, title)


def _compose(
    large: NDArray[np.uint8], scale: float, cells: Cells, truth: Cells | None, title: str
) -> NDArray[np.uint8]:
    """As :func:`draw_overlay`, of an image that is scaled already."""
    panels = [('prediction', cells)] if truth is None else [('truth', truth), ('prediction', cells)]
    drawn = [_outline(large, panel, scale) for _, panel in panels]
    legends = [_legend(name, panel, large.shape[1]) for name, panel in panels]
    title = ''.join(letter if letter.isprintable() else '\ufffd' for letter in title)
    header = _text_block([[(title, _INK, None)]], large.shape[1] * len(panels) + _MARGIN * (len(panels) - 1))
    deepest = max(legend.shape[0] for legend in legends)
    columns = []
    for picture, legend in zip(drawn, legends):
        filler = _paper(deepest - legend.shape[0], legend.shape[1])
        columns += [np.vstack([picture, legend, filler]), _paper(picture.shape[0] + deepest, _MARGIN)]
    body = np.hstack(columns[:-1])
    sheet = np.vstack([header, body] if title else [body])
    return cv2.copyMakeBorder(sheet, _MARGIN, 0, _MARGIN, _MARGIN, cv2.BORDER_CONSTANT, value=_PAPER)


def draw_file(
    path: str | Path, cells: Cells, truth: Cells | None = None, channel_order: ChannelOrder = 'rgb', title: str = ''
) -> NDArray[np.uint8]:
    """Outline cells on an image file, as :func:`draw_overlay`.

    Pictures of images with a longer edge than :data:`SHRUNK_EDGE` are shrunk; memory does not grow with the image then.

    Args:
        path: The image.
        cells: Its cells.
        truth: Drawn on a second panel, left of the first.
        channel_order: Order of the colors in the file.
        title: Written above.

    Raises:
        InputError: If the image cannot be read, or has another size than the cells say.
    """
    factor = -(-max(cells.size) // SHRUNK_EDGE)
    with Slide(path, channel_order) as image:
        small, size = image.shrink(factor), image.size
    if size != tuple(cells.size):
        problem = f'is {size[1]} x {size[0]}, but its cells are of {cells.size[1]} x {cells.size[0]} pixels'
        raise InputError(path, problem, 'convert the data, or predict, again')
    return _compose(small, 1 / factor, cells, truth, title) if factor > 1 else draw_overlay(small, cells, truth, title)


def write_picture(path: str | Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture, (H, W, 3) RGB, as PNG."""
    write_bytes(path, cv2.imencode('.png', picture[..., ::-1])[1].tobytes())


def write_overlays(
    results: Sequence[Result],
    images_json: str | Path,
    image_root: str | Path,
    out_dir: str | Path,
    score_thr: float = DEFAULT_THRESHOLD,
    truth: str | Path | None = None,
    max_images: int | None = None,
) -> list[Path]:
    """Write one PNG per image with the cells that were found, each outlined once.

    They are named by :func:`mmcell.io.output_names.unique_stems`.

    Args:
        results: Result dicts.
        images_json: COCO json of the images.
        image_root: Folder that its file names are relative to.
        out_dir: Folder to write to.
        score_thr: Lowest score that is drawn.
        truth: COCO json with annotations of the same images; drawn beside the prediction.
        max_images: How many images are drawn, the first ones; None draws all.

    Returns:
        The paths, in the order of the image ids.

    Raises:
        InputError: If a json or an image cannot be used.
    """
    images = ImageSet.load(images_json)
    expected = {} if truth is None else {image_id: cells for image_id, cells, _ in true_cells(load_truth(truth))}
    paths = []
    for image, cells in islice(images.found(results, score_thr), max_images):
        title = f'{image["file_name"]}   score ≥ {score_thr:g}'
        path = Path(image_root) / image['file_name']
        picture = draw_file(path, cells, expected.get(image['id']), images.channel_order, title)
        paths.append(Path(out_dir) / f'{images.names[image["id"]]}.png')
        write_picture(paths[-1], picture)
    return paths


def _outline(large: NDArray[np.uint8], cells: Cells, scale: float) -> NDArray[np.uint8]:
    """Draw outlines on a copy of the scaled image: first all halos, so that none covers a line."""
    canvas = large.copy()
    rings = []
    for outlines, label in zip(smooth_rings(cells.masks), cells.labels.tolist()):
        for ring in outlines:
            # cv2's coordinates are pixel centers.
            points = ring / 2 * scale - 0.5
            rings.append((np.round(points * 2**_SHIFT).astype(np.int32), class_colour(label)))
    for points, colour in rings if scale >= 1 else ():  # halos would cover shrunk cells
        cv2.polylines(canvas, [points], True, halo_colour(colour), 3, cv2.LINE_AA, _SHIFT)
    canvas = cv2.addWeighted(canvas, 0.5, large, 0.5, 0)
    for points, colour in rings:
        cv2.polylines(canvas, [points], True, colour, 2 if scale > 1 else 1, cv2.LINE_AA, _SHIFT)
    return canvas


def _legend(name: str, cells: Cells, width: int) -> NDArray[np.uint8]:
    entries: list[_Entry] = [(f'{name}: {len(cells)} cells', _INK, None)]
    for label, (class_name, count) in enumerate(cells.counts().items()):
        entries.append((f'{class_name} {count}', _INK, class_colour(label)))
    return _text_block(_wrap(entries, width), width)


_Entry = tuple[str, tuple[int, int, int], tuple[int, int, int] | None]


def _font(size: int = 20) -> ImageFont.FreeTypeFont:
    # matplotlib carries a font with the letters of most languages; the system may have none.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / 'fonts/ttf/DejaVuSans.ttf'), size)


_SWATCH, _GAP, _LINE = 26, 22, 30


def _entry_width(entry: _Entry) -> int:
    text, _, swatch = entry
    return int(_font().getlength(text)) + (_SWATCH if swatch else 0) + _GAP


def _wrap(entries: Sequence[_Entry], width: int) -> list[list[_Entry]]:
    """Break entries into lines that fit the width."""
    lines: list[list[_Entry]] = [[]]
    used = 0
    for entry in entries:
        needed = _entry_width(entry)
        if lines[-1] and used + needed - _GAP > width:
            lines.append([])
            used = 0
        lines[-1].append(entry)
        used += needed
    return lines


def _text_block(lines: Sequence[Sequence[_Entry]], width: int) -> NDArray[np.uint8]:
    sheet = Image.new('RGB', (width, _LINE * len(lines) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(lines):
        x, middle = 0, _LINE * row + _MARGIN // 2 + _LINE // 2
        for text, colour, swatch in line:
            if swatch:
                draw.rounded_rectangle((x, middle - 8, x + 18, middle + 8), 3, fill=swatch, outline=_FAINT)
            draw.text((x + (_SWATCH if swatch else 0), middle), text, fill=colour, font=_font(), anchor='lm')
            x += _entry_width((text, colour, swatch))
    return np.asarray(sheet)


def _paper(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), _PAPER, dtype=np.uint8)
