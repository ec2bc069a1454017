"""What predicted masks amount to: areas, counts and means, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from imseg.approaches.prediction import Prediction
from imseg.data.amounts import areas_of, counts_of, numbers_of
from imseg.data.sheets import sheet
from imseg.tasks.objects import tells_apart
from imseg.types import TargetSpec

FILE_NAME = "measurements.csv"
"""Name of the table beside predicted masks."""

COUNTS_NAME = "counts.csv"
"""Name of the table of how many objects each picture has; only where objects are told apart."""

Row = dict[str, str | int | float]


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


def as_csv(rows: Sequence[Row]) -> str:
    """Return rows of equal columns as CSV with a header."""
    return sheet(list(rows[0]), map(list, map(dict.values, rows))) if rows else ""


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
        found[f"{prefix}area [um2]"] = float(f"{pixels * spec.pixel_size**2:.6g}")
    return found
