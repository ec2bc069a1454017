"""What predicted masks amount to: areas, counts and means, as rows of a table."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from imseg.approaches.runs.predictions import Prediction
from imseg.data.files import listing, picture_list
from imseg.data.files.atomic import NewFile, make_folder, sweep
from imseg.data.masks.colors import areas_of, counts_of, numbers_of
from imseg.ops.objects import WHOLE
from imseg.tasks.multilabel import tells_apart
from imseg.types import TargetSpec

FILE_NAME = picture_list.PREDICTED
"""Name of the table beside predicted masks."""

COUNTS_NAME = "counts.csv"
"""Name of the table of how many objects each picture has; only where objects are told apart."""

Measurements = dict[str, str | int | float]


class MeasurementFile:
    """A CSV file to which rows of equal columns are written as they come; none stays in memory.

    The file appears whole when its block ends, and not at all if that ends with an error or no row
    has come.

    Args:
        path: Where the file goes.

    Raises:
        ImsegError: From all methods, if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lines, self._end = path, listing.Lines(), 0
        self._file: NewFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._file is None:
            return
        try:
            if kind is None:
                self._file.seal()
                self._file.publish()
        finally:
            self._file.discard()

    def add(self, rows: Iterable[Measurements]) -> None:
        """Write rows; the keys of the first one become the header."""
        for row in rows:
            if self._file is None:
                sweep(self._path)
                make_folder(self._path.parent)
                self._file, self._header = NewFile(self._path), list(row)
                self._write(self._file, self._header)
            self._write(self._file, [row.get(name, "") for name in self._header])

    def _write(self, file: NewFile, cells: Sequence[str | int | float]) -> None:
        content = self._lines.of(cells).encode("utf-8", "backslashreplace")
        file.write_at(self._end, content)
        self._end += len(content)


class Totals:
    """What the prediction of one picture amounts to, from all of it or some rows at a time.

    Args:
        image: The name of the picture.
        spec: What its mask means.
    """

    def __init__(self, image: str, spec: TargetSpec) -> None:
        self._image, self._spec = image, spec
        self._areas: dict[str, int] = {}
        self._cells: dict[str, int] = {}
        self._numbers: dict[str, float] = {}
        self._pixels = self._objects = self._covered = 0
        self._open: dict[int, tuple[int, float, float]] = {}
        self._closed: list[Measurements] = []

    def add(self, found: Prediction, *, rows: slice = WHOLE) -> None:
        """Add the next rows of a picture.

        Args:
            found: What is said about them, and about some rows around them.
            rows: Which rows of ``found`` they are.
        """
        spec = self._spec
        if tells_apart(spec):
            self.add_objects(found.mask)
            return
        target = found.target[:, rows]
        _sum_up(self._areas, areas_of(target, spec))
        _sum_up(self._cells, counts_of(found.target, spec, rows=rows))
        if numbers := numbers_of(target, spec):
            self._pixels += target.size
            known, share = self._numbers or numbers, target.size / self._pixels
            self._numbers = {
                "mean": known["mean"] + (numbers["mean"] - known["mean"]) * share,
                "least": min(known["least"], numbers["least"]),
                "greatest": max(known["greatest"], numbers["greatest"]),
            }

    def add_objects(
        self, labels: npt.NDArray[Any], *, top: int = 0, going_on: Collection[int] = ()
    ) -> None:
        """Add the objects of the next rows of a picture.

        Args:
            labels: ``n w``, with the numbers that objects have in the picture.
            top: The row of the picture that is the first of these.
            going_on: The numbers of objects that may have pixels in rows to come.
        """
        rows, columns = np.nonzero(labels)
        numbers, which = np.unique(labels[rows, columns], return_inverse=True)
        areas = np.bincount(which)
        down, right = (np.bincount(which, weights=axis) for axis in (rows + top, columns))
        sums = zip(numbers.tolist(), areas.tolist(), down.tolist(), right.tolist(), strict=True)
        for number, *here in sums:
            before = self._open.get(number, (0, 0.0, 0.0))
            area, row, column = (a + b for a, b in zip(before, here, strict=True))
            self._open[number] = int(area), row, column
        for number in sorted(self._open.keys() - set(going_on)):
            area, row, column = self._open.pop(number)
            about: Measurements = {"image": self._image, "object": number}
            about |= _area("", area, self._spec)
            self._closed.append(
                about | {"row": _rounded(row / area), "column": _rounded(column / area)}
            )
            self._objects += 1
            self._covered += area

    def measured(self) -> Iterator[Measurements]:
        """Yield what the picture amounts to.

        One row per picture: the area of each class or label (pixels, and square micrometers, empty
        where the size of a pixel is not known), or the mean, least and greatest number. Objects:
        one row each, with its number in the mask, its area and the middle of its pixels (row and
        column, from 0).
        """
        spec = self._spec
        if tells_apart(spec):
            yield from self._closed
            return
        row: Measurements = {"image": self._image}
        for name, pixels in self._areas.items():
            row |= _area(f"{name} ", pixels, spec)
        row |= {f"{name} cells": n for name, n in self._cells.items()}
        unit = f" [{spec.unit}]" if spec.unit else ""
        for name, number in self._numbers.items():
            row[f"{name}{unit}"] = float(f"{number:.6g}")
        yield row

    def counted(self) -> Iterator[Measurements]:
        """Yield how many objects the picture has and how large they are together, none included."""
        if tells_apart(self._spec):
            area = _area("", self._covered, self._spec)
            yield {"image": self._image, "objects": self._objects, **area}


def _sum_up(totals: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        totals[name] = totals.get(name, 0) + count


def _rounded(place: float) -> float:
    return float(round(place, 1))


_UM2 = "area [um2]"


def without_unknown(rows: Iterable[Measurements], *, known: bool) -> Iterator[Measurements]:
    """Yield rows without areas in square micrometers, if those are not known of any picture.

    Args:
        rows: Of a table.
        known: Whether they are known of some.
    """
    for row in rows:
        yield {key: cell for key, cell in row.items() if known or not key.endswith(_UM2)}


def has_areas(rows: Sequence[Measurements]) -> bool:
    """Return whether the rows of a picture have areas in square micrometers."""
    return any(key.endswith(_UM2) and cell != "" for row in rows[:1] for key, cell in row.items())


def _area(prefix: str, pixels: int, spec: TargetSpec) -> Measurements:
    """Return an area in pixels and in square micrometers, empty where the latter is not known."""
    size = spec.pixel_size
    known = "" if size is None else float(f"{pixels * size * size:.6g}")
    return {f"{prefix}area [px]": pixels, f"{prefix}{_UM2}": known}
