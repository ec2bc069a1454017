"""What predicted masks amount to: areas, counts and means, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from imseg.approaches.prediction import Prediction
from imseg.data.amounts import areas_of, counts_of, numbers_of
from imseg.data.sheets import Lines
from imseg.data.whole_files import NewFile, sweep
from imseg.tasks.objects import tells_apart
from imseg.types import TargetSpec

FILE_NAME = "measurements.csv"
"""Name of the table beside predicted masks."""

COUNTS_NAME = "counts.csv"
"""Name of the table of how many objects each picture has; only where objects are told apart."""

Row = dict[str, str | int | float]


class Table:
    """A CSV file to which rows of equal columns are written as they come; none stays in memory.

    The file appears whole when its block ends, and not at all if that ends with an error or no row
    has come.

    Args:
        path: Where the file goes.

    Raises:
        ImsegError: From all methods, if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: NewFile | None = None
        self._lines = Lines()
        self._header: list[str] = []
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        try:
            if kind is None:
                self._file.seal()
                self._file.publish()
        finally:
            self._file.discard()

    def add(self, rows: Iterable[Row]) -> None:
        """Write rows; the keys of the first one become the header."""
        for row in rows:
            if self._file is None:
                sweep(self._path)
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = NewFile(self._path)
                self._header = list(row)
                self._write(self._file, self._lines.of(self._header))
            self._write(self._file, self._lines.of([row[name] for name in self._header]))

    def _write(self, file: NewFile, text: str) -> None:
        content = text.encode("utf-8", "backslashreplace")
        file.write_at(self._end, content)
        self._end += len(content)


def measure(prediction: Prediction, spec: TargetSpec) -> Iterator[Row]:
    """Yield what a prediction amounts to.

    One row a picture: the area of each class or label (pixels, and square micrometers where the
    size of a pixel is known), or the mean, least and greatest number. Objects: one row each, with
    its number in the mask, its area and the middle of its pixels (row and column, from 0).
    """
    if tells_apart(spec):
        yield from _objects(prediction, spec)
        return
    row: Row = {"image": prediction.name}
    for name, pixels in areas_of(prediction.target, spec).items():
        row |= _area(f"{name} ", pixels, spec)
    row |= {f"{name} cells": n for name, n in counts_of(prediction.target, spec).items()}
    unit = f" [{spec.unit}]" if spec.unit else ""
    for name, number in numbers_of(prediction.target, spec).items():
        row[f"{name}{unit}"] = float(f"{number:.6g}")
    yield row


def count_objects(prediction: Prediction, spec: TargetSpec) -> Iterator[Row]:
    """Yield how many objects a picture has and how large they are together, none included."""
    if tells_apart(spec):
        covered = int((prediction.mask > 0).sum())
        found: Row = {"image": prediction.name, "objects": int(prediction.mask.max(initial=0))}
        yield found | _area("", covered, spec)


def _objects(prediction: Prediction, spec: TargetSpec) -> Iterator[Row]:
    labels = prediction.mask
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns].astype(np.int64)
    areas = np.bincount(numbers)
    middles = [np.bincount(numbers, weights=axis) for axis in (rows, columns)]
    for number in np.flatnonzero(areas).tolist():
        row, column = (float(round(axis[number] / areas[number], 1)) for axis in middles)
        yield {
            "image": prediction.name,
            "object": number,
            **_area("", int(areas[number]), spec),
            "row": row,
            "column": column,
        }


def _area(prefix: str, pixels: int, spec: TargetSpec) -> Row:
    found: Row = {f"{prefix}area [px]": pixels}
    if spec.pixel_size is not None:
        found[f"{prefix}area [um2]"] = float(f"{pixels * spec.pixel_size * spec.pixel_size:.6g}")
    return found
