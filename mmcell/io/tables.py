"""Tables as CSV, which spreadsheets open without running anything."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmcell.io.files import atomic_path

#: What a spreadsheet takes for the beginning of a formula, or skips before one; the last four are of full width.
_FORMULA = ('=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠')


def safe_row(values: Iterable[Any]) -> list[Any]:
    """The values of a row; texts that a spreadsheet would run as formulas get a ' in front, which makes them text.

    Names of classes and files come from outside, and `=HYPERLINK(…)` is a file name, too
    (https://owasp.org/www-community/attacks/CSV_Injection). Numbers stay as they are.

    >>> safe_row(['=cmd', 'a-b', -1.5])
    ["'=cmd", 'a-b', -1.5]
    """
    return [f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value for value in values]


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows one by one as CSV in UTF-8, texts as :func:`safe_row` leaves them.

    Raises:
        InputError: If the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open('w', encoding='utf-8', newline='') as file:
        csv.writer(file).writerows(map(safe_row, rows))
