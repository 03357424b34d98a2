"""Cells in any images: predict without a data set, and write what people and the other tools read."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from mmengine.config import Config
from tqdm import tqdm

from mmcell.coco.results import Result
from mmcell.coco.threshold import choose_threshold, write_record
from mmcell.engine.predictor import CellModel, describe_model, load_model
from mmcell.errors import InputError, raise_all
from mmcell.io.files import atomic_path, write_json
from mmcell.io.images import ChannelOrder
from mmcell.io.output_names import readable, unique_stems
from mmcell.io.tables import safe_row
from mmcell.report.overlay import draw_file, write_picture
from mmcell.report.parquet import CellTable

#: Files in a folder that are taken for images.
SUFFIXES = frozenset(('.tif', '.tiff', '.png', '.jpg', '.jpeg'))


def infer(
    config: Config,
    checkpoint: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    score_thr: float | None = None,
    channel_order: ChannelOrder = 'rgb',
    device: str | None = None,
) -> tuple[list[str], list[InputError]]:
    """Find the cells of images; an image that cannot be read does not stop the others.

    Writes below `out`:

    - `results.json`: result dicts of any score, in which one cell may stand under several classes, and `model.json`:
      which model made them;
    - `images.json`: COCO json of the images, without annotations; `output_name` is what an image's own files are called
      (see :func:`mmcell.io.output_names.unique_stems`);
    - `counts.csv`: a row an image with its cells of each class, and their total;
    - `cells.parquet`: a row a cell (see :class:`mmcell.report.parquet.CellTable`);
    - `overlays/<output_name>.png`.

    The last three are of cells, each counted once, that score `score_thr` or more. Image ids are places in the sorted
    list of all images, from 1. Memory does not grow with the number of images.

    Where the model is tiled and the test pipeline only loads images, their windows are read as they are predicted, so
    that images of any size do; pictures of large ones are shrunk.

    Args:
        config: The config; its test pipeline prepares the images.
        checkpoint: Weights of the model.
        sources: Images, and folders that are searched for them (see :func:`find_images`).
        out: Folder to write to.
        score_thr: Lowest score that is counted and drawn; None takes what val found.
        channel_order: Order of the colours in the image files.
        device: Where to predict, such as 'cpu' or 'cuda:1'; None takes the accelerator if there is one.

    Returns:
        Lines that say what was written where, and an error for each image that could not be read.

    Raises:
        InputError: If a source does not exist, the checkpoint does not fit, or no image can be read.
        InputErrors: If there are several of these.
    """
    out = Path(out)
    paths = find_images(sources, skip=out)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    names = [path.relative_to(root).as_posix() for path in paths]
    stems = unique_stems(names)
    model = load_model(config, checkpoint, device)
    score_thr, line = choose_threshold(score_thr, model.found_threshold)
    images, errors = [], []
    with ExitStack() as stack:
        outputs = None
        bar = tqdm(paths, 'predicting', unit='image', file=sys.stderr, disable=None)
        for image_id, (path, name, stem) in enumerate(zip(bar, names, stems), start=1):
            try:
                (height, width), results = model.predict_results(path, image_id, channel_order)
            except InputError as error:
                errors.append(error)
                continue
            if outputs is None:  # Only now: where no image can be read, nothing is written.
                outputs = stack.enter_context(_open_outputs(out, model, score_thr, channel_order))
            images.append({'id': image_id, 'file_name': name, 'height': height, 'width': width, 'output_name': stem})
            outputs.add(path, images[-1], results)
        if not images:
            raise_all(errors)
        info = {'channel_order': channel_order}
        content = {'info': info, 'images': images, 'annotations': [], 'categories': model.categories}
        write_json(out / 'images.json', content)
        write_record(out / 'results.json', describe_model(config, checkpoint), model.found_threshold)
    return [
        line,
        *(f'wrote {out / name}' for name in ('results.json', 'images.json', 'counts.csv', 'cells.parquet')),
        f'wrote {len(images)} pictures to {out / "overlays"}',
        f'file names in images.json are relative to {root}',
    ], errors


def find_images(sources: Sequence[str | Path], skip: Path) -> list[Path]:
    """Absolute paths of all images, sorted, each once.

    A source that is a file is taken whatever its name. Folders are searched to any depth for names that end in one of
    :data:`SUFFIXES`; hidden files and everything below `skip`, our own output, are passed over.

    Raises:
        InputError: If a source does not exist or holds no images.
        InputErrors: If several do not.
    """
    skip = skip.absolute()
    paths, errors = set(), []
    for source in map(Path, sources):
        found = [source]
        if source.is_dir():
            found = [path for path in source.rglob('*') if path.suffix.lower() in SUFFIXES and path.is_file()]
            found = [path for path in found if path.name[0] != '.' and skip not in path.absolute().parents]
            if not found:
                errors.append(InputError(source, f'holds no image ({", ".join(sorted(SUFFIXES))})', 'check the path'))
        elif not source.is_file():
            errors.append(InputError(source, 'does not exist', 'check the path'))
        paths.update(path.absolute() for path in found)
    raise_all(errors)
    return sorted(paths)


class _Outputs:
    """Files that grow image by image."""

    def __init__(
        self,
        out: Path,
        model: CellModel,
        score_thr: float,
        channel_order: ChannelOrder,
        files: tuple[IO[str], IO[str], CellTable],
    ) -> None:
        self._out, self._model, self._score_thr, self._channel_order = out, model, score_thr, channel_order
        self._results, counts, self._table = files
        self._counts = csv.writer(counts)
        self._counts.writerow(safe_row(['image', *model.classes, 'total']))
        self._separator = '['

    def add(self, path: Path, image: dict[str, Any], results: Sequence[Result]) -> None:
        """Write what was found in an image."""
        for result in results:
            self._results.write(self._separator)
            # json.dump would write it in a thousand small pieces.
            self._results.write(json.dumps(result, separators=(',', ':'), allow_nan=False))
            self._separator = ','
        cells = self._model.make_cells((image['height'], image['width']), results, self._score_thr)
        name = readable(image['file_name'])
        self._counts.writerow(safe_row([name, *cells.counts().values(), len(cells)]))
        self._table.add(name, cells)
        title = f'{name}   score ≥ {self._score_thr:g}'
        picture = draw_file(path, cells, channel_order=self._channel_order, title=title)
        write_picture(self._out / 'overlays' / f'{image["output_name"]}.png', picture)

    def finish(self) -> None:
        """Close the list of results."""
        self._results.write(f'{"[" if self._separator == "[" else ""}]')


@contextmanager
def _open_outputs(out: Path, model: CellModel, score_thr: float, channel_order: ChannelOrder) -> Iterator[_Outputs]:
    """Files beside the final ones, whose places they take at the end if nothing went wrong."""
    with (
        _text_file(out / 'results.json') as results,
        _text_file(out / 'counts.csv') as counts,
        CellTable(out / 'cells.parquet', model.classes) as table,
    ):
        outputs = _Outputs(out, model, score_thr, channel_order, (results, counts, table))
        yield outputs
        outputs.finish()


@contextmanager
def _text_file(path: Path) -> Iterator[IO[str]]:
    with atomic_path(path) as temporary, temporary.open('w', encoding='utf-8', newline='') as file:
        yield file
