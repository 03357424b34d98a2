"""The submission: `test-results.json`, and a zip that holds just that file; written only if it is valid."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcell.coco.schema import is_coordinate, is_number, read_coco
from mmcell.errors import InputError
from mmcell.io.files import atomic_path, check_file, parse_json, read_json, write_bytes
from mmcell.io.limits import MAX_JSON_BYTES
from mmcell.structures.rle import decode

RESULTS_NAME = 'test-results.json'
ZIP_NAME = 'test-results.zip'
_FIELDS = ('image_id', 'bbox', 'score', 'category_id', 'segmentation')


def write_submission(results: Sequence[dict[str, Any]], images_json: str | Path, out: str | Path) -> list[Path]:
    """Write the results and their zip, then read both back and validate what was read.

    Args:
        results: Result dicts: image_id, bbox [x, y, w, h], score, category_id, segmentation {size [h, w], counts str}.
        images_json: COCO json of the images that were predicted on; needs no annotations.
        out: Folder for `test-results.json` and `test-results.zip`.

    Returns:
        The two paths.

    Raises:
        InputError: If a result is malformed; nothing is written then.
    """
    _validate(results, images_json)
    ordered = sorted(results, key=lambda result: (result['image_id'], -result['score']))
    content = json.dumps([{field: result[field] for field in _FIELDS} for result in ordered], separators=(',', ':'))
    paths = [Path(out) / RESULTS_NAME, Path(out) / ZIP_NAME]
    write_bytes(paths[0], content.encode())
    with atomic_path(paths[1]) as temporary, zipfile.ZipFile(temporary, 'w', zipfile.ZIP_DEFLATED) as archive:
        # A fixed date: the same results give the same bytes.
        archive.writestr(zipfile.ZipInfo(RESULTS_NAME, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    for path in paths:
        validate_submission(path, images_json)
    return paths


def validate_submission(path: str | Path, images_json: str | Path) -> int:
    """Validate a results file or a submission zip.

    Checked: fields and their types, ids of images and categories, finite scores in [0, 1], finite boxes of no negative
    size, RLE of the image's size that covers just that size, order by image, that `COCO.loadRes` accepts it, and that
    a zip holds the results file alone at its root. An image without instances is no error.

    Args:
        path: `.json` or `.zip`.
        images_json: See :func:`write_submission`.

    Returns:
        The number of instances.

    Raises:
        InputError: At the first thing that the scorer would refuse or count wrongly.
    """
    path = Path(path)
    results = parse_json(path, _unzip(path)) if path.suffix == '.zip' else read_json(path)
    _validate(results, images_json)
    ids = [result['image_id'] for result in results]
    if ids != sorted(ids):
        raise InputError(path, 'is out of order', 'sort the results by image_id')
    return len(results)


def _unzip(path: Path) -> bytes:
    """The results in a submission zip; what it says to hold is checked before it is unpacked."""
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if names != [RESULTS_NAME]:
                raise InputError(path, f'holds {", ".join(names)!r:.200}', f'put {RESULTS_NAME} alone at its root')
            size = archive.getinfo(RESULTS_NAME).file_size
            if size > MAX_JSON_BYTES:
                problem = f'holds more than {MAX_JSON_BYTES >> 20} MB'
                raise InputError(path, problem, 'submit fewer instances an image')
            with archive.open(RESULTS_NAME) as file:
                return file.read(size + 1)  # without a number it would unpack all of what says to be less
    except InputError:
        raise
    except Exception as error:  # zipfile and its decompressors raise what they like.
        reason = str(error)[:200] or type(error).__name__
        raise InputError(path, f'cannot be read ({reason})', 'write the submission again') from None


def _validate(results: Any, images_json: str | Path) -> None:
    content = read_coco(images_json, need_files=False)
    sizes = {image['id']: [image['height'], image['width']] for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    if not isinstance(results, list):
        raise InputError(RESULTS_NAME, 'is not a list', 'write the submission again')
    for index, result in enumerate(results):
        problem = _problem(result, sizes, categories)
        if problem is not None:
            raise InputError(f'{RESULTS_NAME}: result {index}', problem, f'predict on the images of {images_json}')
    if results:  # loadRes looks at the first result to tell boxes from masks.
        _check_load_res(content, results)


def _problem(result: Any, sizes: dict[int, list[int]], categories: set[int]) -> str | None:
    if not isinstance(result, dict) or set(result) != set(_FIELDS):
        return f'does not have just the fields {", ".join(_FIELDS)}'
    image_id, category, score = result['image_id'], result['category_id'], result['score']
    box, mask = result['bbox'], result['segmentation']
    if type(image_id) is not int or image_id not in sizes:
        return f'has the unknown image_id {image_id!r:.20}'
    if type(category) is not int or category not in categories:
        return f'has the unknown category_id {category!r:.20}'
    if not is_number(score) or not 0 <= score <= 1:
        return f'has the score {score!r:.20}, which is not between 0 and 1'
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_coordinate, box)) or min(box[2:]) < 0:
        return f'has the box {box!r:.80}'
    if not isinstance(mask, dict) or set(mask) != {'size', 'counts'} or not isinstance(mask['counts'], str):
        return 'has a segmentation that is not {size, counts} with counts as a string'
    if mask['size'] != sizes[image_id] or not all(type(side) is int for side in mask['size']):
        return f'has a mask of size {mask["size"]!r:.80} on image {image_id} of size {sizes[image_id]}'
    try:
        decode([mask], tuple(mask['size']))
    except ValueError as error:
        return f'has a broken RLE ({error})'
    return None


def _check_load_res(content: dict[str, Any], results: list[dict[str, Any]]) -> None:
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {**content, 'annotations': []}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress with print
        truth.createIndex()
        try:
            # loadRes adds fields to what it is given.
            truth.loadRes([dict(result) for result in results])
        except Exception as error:
            raise InputError(RESULTS_NAME, f'is refused by COCO.loadRes ({error})', 'write it again') from None
