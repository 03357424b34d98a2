"""Cells in any images: predict without a data set, and write what people and the other tools read."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process
from tqdm import tqdm

from mmcell.coco.threshold import choose_threshold
from mmcell.engine.outputs import (
    COUNTS_NAME,
    FILES,
    IMAGES_NAME,
    PICTURES_NAME,
    RESULTS_NAME,
    TABLE_NAME,
    Outputs,
    describe_call,
)
from mmcell.engine.predictor import describe_model, load_model
from mmcell.engine.slide_plan import SlideOptions, are_far, is_slide
from mmcell.engine.slides import infer_slides
from mmcell.errors import InputError, raise_all
from mmcell.io.files import check_writable, digest_file, names_in_json
from mmcell.io.images import ChannelOrder
from mmcell.io.limits import MAX_JSON_BYTES
from mmcell.io.output_names import readable, unique_stems
from mmcell.io.slide import SLIDE_SUFFIXES, Slide, without_repeats

#: Files in a folder that are taken for images.
SUFFIXES = SLIDE_SUFFIXES | {'.tif', '.tiff', '.png', '.jpg', '.jpeg'}


def infer(
    config: Config,
    checkpoint: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    score_thr: float | None = None,
    channel_order: ChannelOrder = 'rgb',
    device: str | None = None,
    look: SlideOptions | None = None,
) -> tuple[list[str], list[InputError]]:
    """Find the cells of images; an image that cannot be read does not stop the others.

    Writes below `out`:

    - `results.json`: result dicts of any score, in which one cell may stand under several classes, and `model.json`:
      which model made them;
    - `images.json`: COCO json of the images, without annotations; `output_name` is what an image's own files are called
      (see :func:`mmcell.io.output_names.unique_stems`), `sha256` says which file it was;
    - `counts.csv`: one row per image with its cells of each class, and their total;
    - `cells.parquet`: one row per cell (see :class:`mmcell.report.parquet.CellTable`);
    - `overlays/<output_name>.png`.

    The last three are of cells, each counted once, that score `score_thr` or more. Image ids are places in the sorted
    list of all images, from 1. Memory does not grow with the number of images.

    However a call ends, the same call goes on where it did, see :class:`mmcell.engine.outputs.Outputs`: with the same
    weights, config, images and arguments. Any other call starts anew, and says so.

    Where the model is tiled and the test pipeline only loads images, their windows are read as they are predicted, so
    that images of any size do; pictures of large ones are shrunk.

    Slides (see :func:`mmcell.engine.slide_plan.is_slide`) are in none of these files, but in `slides/<output_name>` and
    `slides.csv`, see :func:`mmcell.engine.slides.infer_slides`. Processes that a launcher joined share them, and leave
    images to the first.

    Args:
        config: The config; its test pipeline prepares the images.
        checkpoint: Weights of the model.
        sources: Images, and folders that are searched for them (see :func:`find_images`).
        out: Folder to write to.
        score_thr: Lowest score that is counted and drawn; None takes what val found.
        channel_order: Order of the colors in the image files.
        device: Where to predict, such as 'cpu' or 'cuda:1'; None takes the accelerator if there is one.
        look: How to look at slides; microns per pixel are those of all images.

    Returns:
        Lines that say what was written where, and an error for each image that could not be read; no lines in processes
        but the first.

    Raises:
        InputError: If a source does not exist, the checkpoint does not fit, no image can be read, or the folder cannot
            be written to or is in use by another process.
        InputErrors: If there are several of these.
    """
    out = Path(out)
    paths = find_images(sources, skip=out)
    look = look or SlideOptions()
    if look.roi is not None and len(paths) > 1:
        raise InputError('--roi', f'is of one slide, but there are {len(paths)} files', 'give that slide alone')
    if is_main_process():
        check_writable(out, FILES)
        check_writable(out / PICTURES_NAME)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    found_names = [path.relative_to(root).as_posix() for path in paths]
    names = names_in_json(found_names)
    stems = unique_stems(names)
    model = load_model(config, checkpoint, device)
    score_thr, line = choose_threshold(score_thr, model.found_threshold)
    listed = dict(zip(names, zip(paths, stems)))
    slides = {name: listed[name] for name in names if is_slide(listed[name][0], model, look)}
    images = {name: each for name, each in listed.items() if name not in slides}
    call = {**describe_call(config, model, score_thr, channel_order, list(images)), 'mpp': look.mpp}
    found: list[str] = []
    errors: list[InputError] = []
    if slides:
        same = {key: value for key, value in call.items() if key != 'images'}
        folders = {name: (path, out / 'slides' / stem) for name, (path, stem) in slides.items()}
        found, errors = infer_slides(model, same, folders, out, score_thr, look, channel_order)
    if not images and len(errors) == len(slides):
        raise_all(errors)
    if not is_main_process():
        return [], errors
    if not images:
        return [line, *found], errors
    if get_world_size() > 1:
        found.append(f'{len(images)} images are not slides: the first process alone predicted them')
    with Outputs(out, model, call, channel_order) as outputs:
        if outputs.is_finished(lambda: [digest_file(path) for path, _ in images.values()]):
            return [line, *found, f'{out} already holds all results of this call: nothing to do'], errors
        if outputs.goes_on:
            tqdm.write(f'{out}: continuing with the results of an earlier call')
        learned, apart = look.trained_mpp or model.mpp, 0
        bar = tqdm(images.items(), 'predicting', unit='image', file=sys.stderr, disable=None)
        for image_id, (name, (path, stem)) in enumerate(bar, start=1):
            try:
                digest = digest_file(path)
                if outputs.has(image_id, digest):
                    continue
                (height, width), results = model.predict_results(path, image_id, channel_order)
            except InputError as error:
                errors.append(error)
                continue
            image = {'id': image_id, 'file_name': name, 'height': height, 'width': width}
            with Slide(path, mpp=look.mpp) as slide:
                image |= {} if slide.mpp is None else {'mpp': slide.mpp}
                apart += learned is not None and (slide.mpp is None or are_far(slide.mpp, learned))
            outputs.add(path, {**image, 'output_name': stem, 'sha256': digest}, results)
        if not outputs.count:
            if not found:
                raise_all(errors)
            return [line, *found], errors
        outputs.finish(describe_model(config, checkpoint), model.found_threshold, keep=bool(errors))
    files = ', '.join((RESULTS_NAME, IMAGES_NAME, COUNTS_NAME, TABLE_NAME))
    lines = [line, *found, f'wrote {files} to {out}', f'wrote {outputs.count} pictures to {out / PICTURES_NAME}']
    lines.append(f'file names in images.json are relative to {root}')
    if apart:
        problem = f'{apart} of {len(paths)} images, which do not say theirs or cannot be resampled, were read as stored'
        lines.append(f'warning: trained at {learned:g} microns per pixel; {problem}: set theirs with --mpp')
    if renamed := [f'{readable(old)} as {new}' for old, new in zip(found_names, names) if new != old]:
        more = f' and {len(renamed) - 1} more' if len(renamed) > 1 else ''
        lines.append(f'names that JSON cannot hold are written with %: {renamed[0]}{more}')
    if (size := outputs.results.stat().st_size) > MAX_JSON_BYTES:
        lines.append(f'warning: {outputs.results} has {size >> 20} MB, more than the other tools read')
    if errors:
        lines.append('run the same command again to retry only what could not be read')
    return lines, errors


def find_images(sources: Sequence[str | Path], skip: Path) -> list[Path]:
    """Absolute paths of all images, sorted, each once.

    A source that is a file is taken whatever its name. Folders are searched to any depth for names that end in one of
    :data:`SUFFIXES`; hidden files, hidden folders and what we wrote to `skip` are passed over.

    Raises:
        InputError: If a source does not exist or holds no images.
        InputErrors: If several do not.
    """
    skip = skip.absolute()
    paths: set[Path] = set()
    errors = []
    for source in map(Path, sources):
        found = [source]
        if source.is_dir():
            # Other tools may have written pictures there, too, unless these are what is asked for.
            ours = skip / PICTURES_NAME if skip in (source.absolute(), *source.absolute().parents) else skip
            found = [path for path in source.rglob('*') if path.suffix.lower() in SUFFIXES and path.is_file()]
            found = [path for path in found if not _is_hidden(path.relative_to(source))]
            found = [path for path in found if ours not in path.absolute().parents]
            if not found:
                errors.append(InputError(source, f'holds no image ({", ".join(sorted(SUFFIXES))})', 'check the path'))
        elif not source.is_file():
            errors.append(InputError(source, 'does not exist', 'check the path'))
        paths.update(map(_absolute, found))
    raise_all(errors)
    return without_repeats(sorted(paths))


def _is_hidden(path: Path) -> bool:
    """Whether a file or a folder around it is: what macOS and Jupyter leave, and what is being written."""
    return any(part.startswith('.') for part in path.parts)


def _absolute(path: Path) -> Path:
    """An absolute path without '..', which no name of an image may have; links keep the names that they have."""
    path = path.absolute()
    return path.parent.resolve() / path.name if '..' in path.parts else path
