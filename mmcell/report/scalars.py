"""The scalars that a run logged: its loss, and the numbers of its validations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from mmcell.errors import InputError
from mmcell.evaluation.headline import COMPARED
from mmcell.io.files import read_bytes

#: Heading of each chart of validation numbers, and the keys that it takes: ours, then MMDetection's.
VAL_CHARTS = {headline.name: (headline.logged, headline.logged_by_mmdet) for headline in COMPARED}

Points = list[tuple[float, float]]


@dataclass
class Run:
    """The scalars of one work directory.

    Attributes:
        name: Name of the directory.
        loss: (step, loss) of the training.
        val: Heading of a chart -> (epoch, number).
    """

    name: str
    loss: Points = field(default_factory=list)
    val: dict[str, Points] = field(default_factory=dict)


def read_run(folder: str | Path) -> Run:
    """Read `<folder>/<timestamp>/vis_data/scalars.json`, as MMEngine writes them; a resumed run has several.

    Raises:
        InputError: If there are none.
    """
    folder = Path(folder)
    paths = sorted(folder.glob('*/vis_data/scalars.json')) or sorted(folder.glob('vis_data/scalars.json'))
    if not paths:
        raise InputError(folder, 'holds no <timestamp>/vis_data/scalars.json', 'name the work directory of a run')
    loss: dict[float, float] = {}
    val: dict[str, dict[float, float]] = {}
    for path in paths:
        for entry in read_entries(path):
            step = entry.get('step')
            if not is_measured(step):
                continue
            if is_measured(entry.get('loss')):
                loss[step] = entry['loss']
            for heading, keys in VAL_CHARTS.items():
                # What came later, after a resume, takes the place of what came before.
                found = [entry[key] for key in keys if is_measured(entry.get(key))]
                if found:
                    val.setdefault(heading, {})[step] = found[0]
    return Run(
        folder.resolve().name, sorted(loss.items()), {name: sorted(points.items()) for name, points in val.items()}
    )


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a `scalars.json`; lines that hold none are left out, since a killed run may end in half a line."""
    for line in read_bytes(path).splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def is_measured(value: Any) -> TypeGuard[float]:
    """Whether a value of a log is a number that a chart can show; beyond these bounds its arithmetic would fail."""
    return type(value) in (int, float) and (value == 0 or 1e-30 <= abs(value) <= 1e30)
