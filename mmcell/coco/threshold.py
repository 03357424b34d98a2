"""The score from which a cell is shown and counted: what val found, unless the user says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcell.errors import InputError
from mmcell.io.files import read_json, write_json

#: Where nothing was found on val.
DEFAULT_THRESHOLD = 0.5
#: What a checkpoint's meta data, `metrics.json` and :data:`RECORD_NAME` call the threshold.
THRESHOLD_KEY = 'score_thr'
#: Beside results that were not scored: which model made them.
RECORD_NAME = 'model.json'
#: Beside results that were scored.
METRICS_NAME = 'metrics.json'


def choose_threshold(given: float | None, found: float | None) -> tuple[float, str]:
    """The score threshold to use, and a line that says where it comes from.

    Args:
        given: What the user asked for, 0 to 1; None for nothing.
        found: What was found on val, see :func:`recorded_threshold` and :func:`threshold_of`; None for nothing.

    Raises:
        InputError: If `given` is not from 0 to 1.

    >>> choose_threshold(None, 0.42)
    (0.42, 'score threshold 0.42, recorded with the model')
    >>> choose_threshold(0.3, 0.42)
    (0.3, 'score threshold 0.3, as given; 0.42 is recorded with the model')
    >>> choose_threshold(None, None)
    (0.5, 'score threshold 0.5, since none is recorded with the model; set another with --score-thr')
    """
    if given is not None:
        if not 0 <= given <= 1:
            raise InputError('--score-thr', f'{given:g} is not a score', 'give a number from 0 to 1')
        note = '' if found is None else f'; {found:g} is recorded with the model'
        return given, f'score threshold {given:g}, as given{note}'
    if found is not None:
        return found, f'score threshold {found:g}, recorded with the model'
    return DEFAULT_THRESHOLD, (
        f'score threshold {DEFAULT_THRESHOLD:g}, since none is recorded with the model; set another with --score-thr'
    )


def threshold_of(record: Mapping[str, Any]) -> float | None:
    """What val found, according to the meta data of a checkpoint or the content of a json; None if nothing is there."""
    value = record.get(THRESHOLD_KEY)
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return float(value)
    return None


def recorded_threshold(results: str | Path) -> float | None:
    """What val found for the model that made a results file, as recorded beside it; None if nothing is recorded.

    Looked up in `metrics.json`, if it is of these results, and in `model.json`.

    Raises:
        InputError: If one of these is there and cannot be read.
    """
    results = Path(results)
    for name in (METRICS_NAME, RECORD_NAME):
        path = results.with_name(name)
        if not path.exists():
            continue
        record = read_json(path)
        if isinstance(record, dict) and record.get('results') == results.name:
            return threshold_of(record)
    return None


def write_record(results: Path, model: Mapping[str, Any], found: float | None) -> None:
    """Write `model.json` beside a results file that is not scored.

    Args:
        results: The results file.
        model: Which model made it: config, base, checkpoint; ready for JSON.
        found: The score threshold that val found for it.
    """
    write_json(results.with_name(RECORD_NAME), {'results': results.name, **model, THRESHOLD_KEY: found})
