"""Tables as CSV that every spreadsheet takes for text and numbers, and for nothing that it runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

CsvCell = str | int | float | None
"""A value; None is an empty cell."""


def sheet(header: Sequence[str], rows: Iterable[Sequence[CsvCell]]) -> str:
    """Return a table as CSV, one line per row.

    Texts that a spreadsheet would run as a formula, such as a file called ``=1+1.png``, get a
    ``'`` before them, which shows them as text. Numbers are not touched, in words either.

    Args:
        header: Names of columns.
        rows: Values.
    """
    lines = Lines()
    return "".join([lines.of(header), *map(lines.of, rows)])


class Lines:
    """Rows of a table like that of ``sheet``, one by one."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        self._writer = csv.writer(self._text, lineterminator="\n")

    def of(self, cells: Sequence[CsvCell]) -> str:
        """Return a row, with the end of its line."""
        self._text.seek(0)
        self._text.truncate()
        self._writer.writerow(map(_plain, cells))
        return self._text.getvalue()


def _plain(cell: CsvCell) -> CsvCell:
    if not isinstance(cell, str) or not cell.lstrip(" ").startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
