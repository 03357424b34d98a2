"""What `infer` writes: image by image, so that the same call goes on where an earlier one ended."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch
from mmengine.config import Config
from tqdm import tqdm

import mmcell
from mmcell.coco.results import Result
from mmcell.coco.threshold import RECORD_NAME, write_record
from mmcell.engine.predictor import CellModel
from mmcell.errors import InputError
from mmcell.io.files import atomic_path, read_json, remove_leftovers, write_json
from mmcell.io.images import ChannelOrder
from mmcell.io.journal import Journal
from mmcell.io.output_names import unique_stems
from mmcell.io.tables import safe_row
from mmcell.report.measurements import count_heading, count_row
from mmcell.report.overlay import draw_file, write_picture
from mmcell.report.parquet import CellTable
from mmcell.structures.cells import Cells

RESULTS_NAME, IMAGES_NAME, COUNTS_NAME, TABLE_NAME = 'results.json', 'images.json', 'counts.csv', 'cells.parquet'
#: In the order in which those of another call are removed: the list of its pictures goes last.
FILES = (RESULTS_NAME, RECORD_NAME, COUNTS_NAME, TABLE_NAME, IMAGES_NAME)
PICTURES_NAME = 'overlays'
#: What has been found so far; it goes once all images are done.
JOURNAL_NAME = 'unfinished.jsonl'

#: An image as `images.json` has it: id, file_name, height, width, output_name, sha256.
ImageDict = dict[str, Any]


def describe_call(
    config: Config, model: CellModel, score_thr: float, channel_order: ChannelOrder, names: Sequence[str]
) -> dict[str, Any]:
    """What the files of a call depend on, but for the content of the images, ready for JSON.

    The device is left out: one may go on with another, whose sums differ in the last digits.

    Args:
        config: The config.
        model: Made of it.
        score_thr: The lowest score that is counted and drawn.
        channel_order: Order of the colors in the image files.
        names: Of the images, in their order.
    """
    # Of the weights themselves: a path may hold others the next time, and an ensemble has several.
    weights = hashlib.sha256()
    for name, value in model.network.state_dict().items():
        weights.update(name.encode())
        if torch.is_tensor(value):
            weights.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return {
        'version of mmcell': mmcell.__version__,
        'weights': weights.hexdigest(),
        'config': _digest([config.model, config.test_dataloader.dataset.pipeline]),
        'classes': list(model.classes),
        'score threshold': score_thr,
        'channel order': channel_order,
        'images': _digest(names),
    }


class Outputs:
    """The files of a call of :func:`mmcell.engine.inference.infer`; to be used with `with`.

    What was found in an image is on the disk before the next one is predicted, in a journal. Once all are done, the
    files for readers are made of it, `results.json` last: where that is, the others are of the same call. What another
    call wrote is removed before anything of this one is written.

    Args:
        out: The folder.
        model: The model.
        call: What :func:`describe_call` says.
        channel_order: Order of the colors in the image files.

    Raises:
        InputError: If another process writes there.
    """

    def __init__(self, out: Path, model: CellModel, call: dict[str, Any], channel_order: ChannelOrder) -> None:
        self._out, self._model, self._call, self._channel_order = out, model, call, channel_order
        self._journal = Journal(out / JOURNAL_NAME)
        self._done: set[int] = set()

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._journal.close()

    @property
    def results(self) -> Path:
        """The results file."""
        return self._out / RESULTS_NAME

    @property
    def count(self) -> int:
        """How many images are done."""
        return len(self._done)

    @property
    def goes_on(self) -> bool:
        """Whether an earlier call like this one was not finished."""
        return self._journal.header == self._call

    def is_finished(self, digests: Callable[[], Sequence[str]]) -> bool:
        """Whether an earlier call like this one has done all images as they are now.

        Args:
            digests: Gives the SHA-256 of each image file.
        """
        call, images = self._read_finished()
        if self.goes_on or call != self._call or not self.results.is_file():
            return False
        pictures = [self._picture(image) for image in images]
        return [image.get('sha256') for image in images] == digests() and all(path.is_file() for path in pictures)

    def has(self, image_id: int, digest: str) -> bool:
        """Whether an image is done, with the content that it has now; if so, it is taken over."""
        image = self._journal.summaries.get(image_id)
        known = self.goes_on and image is not None and image['sha256'] == digest and self._picture(image).is_file()
        if known:
            self._done.add(image_id)
        return known

    def add(self, path: Path, image: ImageDict, results: Sequence[Result]) -> None:
        """Keep what was found in an image, and draw it.

        Raises:
            InputError: If the image cannot be read any more, or something not be written.
        """
        title = f'{image["file_name"]}   score ≥ {self._score_thr:g}'
        cells = self._make_cells(image, results)
        drawn = draw_file(path, cells, channel_order=self._channel_order, title=title)
        if not self.goes_on:
            self._start()
        # A picture is there only where the journal says of what.
        self._picture(image).unlink(missing_ok=True)
        self._journal.add(image['id'], image, results)
        write_picture(self._picture(image), drawn)
        self._done.add(image['id'])

    def finish(self, record: Mapping[str, Any], found_threshold: float | None, keep: bool) -> None:
        """Write the files for readers.

        Args:
            record: Which model this is, for `model.json`.
            found_threshold: The score threshold that val found for it.
            keep: Whether a call like this one is to go on from here, since images are missing.
        """
        self.results.unlink(missing_ok=True)
        images = [self._journal.summaries[image_id] for image_id in sorted(self._done)]
        with _text_file(self.results) as results:
            results.write('[')
            with (
                _text_file(self._out / COUNTS_NAME) as counts,
                CellTable(self._out / TABLE_NAME, self._model.classes) as table,
            ):
                rows = csv.writer(counts)
                # Areas are known of some images, or the total stays the last column.
                last = None if any(image.get('mpp') for image in images) else len(self._model.classes) + 1
                rows.writerow(safe_row(['image', *count_heading(self._model.classes)[:last]]))
                separator = ''
                for image in images:
                    found = self._journal.content(image['id'])
                    for result in found:
                        # json.dump would write it in a thousand small pieces.
                        results.write(f'{separator}{json.dumps(result, separators=(",", ":"), allow_nan=False)}')
                        separator = ','
                    cells = self._make_cells(image, found)
                    mpp = image.get('mpp')
                    mm2 = None if mpp is None else image['height'] * image['width'] * (mpp / 1000) ** 2
                    rows.writerow(safe_row([image['file_name'], *count_row(cells.counts(), mpp, mm2)[:last]]))
                    table.add(image['file_name'], cells, mpp)
            results.write(']')
            info = {'channel_order': self._channel_order}
            content = {'info': info, 'images': images, 'annotations': [], 'categories': self._model.categories}
            write_json(self._out / IMAGES_NAME, content)
            write_record(self.results, {**record, 'call': self._call}, found_threshold)
        if not keep:
            self._journal.remove()

    @property
    def _score_thr(self) -> float:
        return self._call['score threshold']

    def _make_cells(self, image: ImageDict, results: Sequence[Result]) -> Cells:
        return self._model.make_cells((image['height'], image['width']), results, self._score_thr)

    def _picture(self, image: ImageDict) -> Path:
        return self._out / PICTURES_NAME / f'{image["output_name"]}.png'

    def _read_finished(self) -> tuple[Any, list[ImageDict]]:
        """The call and the images of a call that came to its end; None and none where nothing says so."""
        call, images = (_read(self._out / name, key) for name, key in ((RECORD_NAME, 'call'), (IMAGES_NAME, 'images')))
        images = images if isinstance(images, list) else []
        return call, [image for image in images if isinstance(image, dict) and _is_name(image.get('output_name'))]

    def _start(self) -> None:
        """Begin anew, without anything of another call."""
        call, images = self._read_finished()
        files = [path for path in (self._out / name for name in FILES) if path.exists()]
        if self._journal.header is not None:
            call, images = self._journal.header, [*images, *self._journal.summaries.values()]
        if files or images:
            what = _differences(call, self._call)
            tqdm.write(f'{self._out}: starting over and removing earlier results{what}')
        for path in [*files[:-1], *map(self._picture, images), *files[-1:]]:
            remove_leftovers(path.parent, f'.{path.stem}.tmp')
            path.unlink(missing_ok=True)
        self._journal.start(self._call)


def _read(path: Path, key: str) -> Any:
    """A part of a JSON file that may be anything, or not be there."""
    try:
        content = read_json(path)
    except InputError:
        return None
    return content.get(key) if isinstance(content, dict) else None


def _is_name(value: Any) -> bool:
    """Whether it is a name that we give, and no path: files of these names are removed."""
    return isinstance(value, str) and unique_stems([f'{value}.png']) == [value]


def _differences(old: Any, new: Mapping[str, Any]) -> str:
    """In what two calls differ, to be put behind a sentence."""
    names = [name for name in new if not isinstance(old, Mapping) or old.get(name) != new[name]]
    return f' (other {", ".join(names)})' if isinstance(old, Mapping) and names else ''


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()


@contextmanager
def _text_file(path: Path) -> Iterator[IO[str]]:
    with atomic_path(path) as temporary, temporary.open('w', encoding='utf-8', newline='') as file:
        yield file
