"""The submission: `test-results.json`, and a zip that holds just that file; written only if it is valid."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcell.coco.schema import raise_first, read_coco, result_problems
from mmcell.errors import InputError
from mmcell.io.files import atomic_path, check_file, parse_json, read_json, write_bytes
from mmcell.io.limits import MAX_JSON_BYTES

RESULTS_NAME = 'test-results.json'
ZIP_NAME = 'test-results.zip'
_FIELDS = ('image_id', 'bbox', 'score', 'category_id', 'segmentation')
# What results may have as well before they are submitted.
_MORE = {'probabilities'}


def write_submission(results: Sequence[dict[str, Any]], images_json: str | Path, out: str | Path) -> list[Path]:
    """Write the results and their zip, then read both back and validate what was read.

    Args:
        results: Result dicts: image_id, bbox [x, y, w, h], score, category_id, segmentation {size [h, w], counts str}.
            Probabilities are left out.
        images_json: COCO json of the images that were predicted on; needs no annotations.
        out: Folder for `test-results.json` and `test-results.zip`.

    Returns:
        The two paths.

    Raises:
        InputError: If a result is malformed; nothing is written then.
    """
    _validate(RESULTS_NAME, results, images_json, may_have=_MORE)
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
    """Validate a results file, which may have probabilities, or a submission zip, which may not.

    Checked: all of :func:`mmcell.coco.schema.result_problems`; and, for a submission only, that each result has just
    the fields that it must have, order by image, that `COCO.loadRes` accepts it, and that a zip holds the results file
    alone at its root. An image without instances is no error.

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
    _validate(path, results, images_json, set() if path.suffix == '.zip' else _MORE)
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


def _validate(where: str | Path, results: Any, images_json: str | Path, may_have: set[str]) -> None:
    content = read_coco(images_json)
    problems = result_problems(results, content['images'], content['categories'], needs=('bbox', 'segmentation'))
    raise_first(where, problems)
    # The scorer alone asks for just these fields, and for text as counts.
    for index, result in enumerate(results):
        mask, problem = result['segmentation'], None
        if set(result) - may_have != set(_FIELDS):
            problem = f'does not have just the fields {", ".join(_FIELDS)}'
        elif set(mask) != {'size', 'counts'} or not isinstance(mask['counts'], str):
            problem = 'has a segmentation that is not {size, counts} with counts as a string'
        if problem is not None:
            raise InputError(where, f'result {index} {problem}', 'write the submission again')
    if results:  # loadRes looks at the first result to tell boxes from masks.
        _check_load_res(content, results)


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
