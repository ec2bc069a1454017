"""LabelMe: one JSON file a picture, which may hold the picture, too."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imseg.data.polygons.annotations import (
    Annotations,
    Area,
    Entry,
    Outline,
    Picture,
    Points,
    Region,
    Stencil,
    Tally,
    read_json,
)
from imseg.data.polygons.coco import FEW_POINTS
from imseg.data.polygons.rasterize import ellipse
from imseg.errors import ImsegError

NO_AREA = "shapes without an area ({})"
"""What is noted for lines and points."""
OTHER_JSON = "JSON files of another kind"
"""What is noted for files that lie among the annotations."""

_CORNERS = frozenset({"polygon", "rectangle", "oriented_rectangle", "rotation"})
"""Shapes given by their corners; the last two are written by newer versions and relatives."""


def is_labelme(plain: object) -> bool:
    """Return whether parsed JSON looks like a LabelMe file."""
    return isinstance(plain, Mapping) and isinstance(plain.get("shapes"), list)


def read_labelme(files: Sequence[tuple[Path, Mapping[str, Any]]], source: Path) -> Annotations:
    """Return what LabelMe files say. Labels come in alphabetical order.

    Args:
        files: Each file and its parsed JSON.
        source: The folder, or the one file, that the user named.

    Raises:
        ImsegError: If a shape is not as LabelMe has it.
    """
    tally = Tally()
    pictures = [_picture(path, plain, tally) for path, plain in files]
    labels = {region.label for picture in pictures for region in picture.regions}
    return Annotations(
        format="LabelMe",
        source=source,
        labels=tuple(sorted(labels)),
        pictures=tuple(pictures),
        tally=tally,
    )


def embedded_picture(path: Path) -> bytes:
    """Return the content of the picture file that a LabelMe file holds.

    Raises:
        ImsegError: If it holds none.
    """
    entry = Entry(read_json(path), f"{path}:")
    return _decode(entry, "imageData")


def _picture(path: Path, plain: Mapping[str, Any], tally: Tally) -> Picture:
    entry = Entry(plain, f"{path}:")
    regions = []
    for index, each in enumerate(entry.entries("shapes")):
        place = f"{path.name} shapes[{index}]"
        shape = Entry(each, f"{path}: shapes[{index}]")
        area = _area(shape, place, tally)
        if area is None:
            continue
        grouped = shape.plain.get("group_id") is not None
        group = shape.identity("group_id") if grouped else None
        regions.append(Region(label=shape.label("label"), area=area, place=place, group=group))
    return Picture(
        name=entry.text("imagePath"),
        size=entry.size("imageHeight", "imageWidth"),
        regions=tuple(regions),
        file=path,
        start=path.parent,
        embedded=bool(entry.plain.get("imageData")),
    )


def _area(shape: Entry, place: str, tally: Tally) -> Area | None:
    """Return where a shape is; None if it has no area, which is noted."""
    # Old versions knew polygons only, and did not say so.
    kind = shape.text("shape_type") if shape.plain.get("shape_type") else "polygon"
    points = shape.ring(shape.entries("points"))
    if kind == "mask":
        return _stencil(shape, points)
    if kind == "circle" and len(points) == 2:
        rim = math.dist(*points)
        return Outline((ellipse((float(points[0, 0]), float(points[0, 1])), (rim, rim)),))
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    if kind in _CORNERS:
        if len(points) >= 3:
            return Outline((points,))
        tally.add(FEW_POINTS, place)
    else:
        tally.add(NO_AREA.format(kind), place)
    return None


def _stencil(shape: Entry, points: Points) -> Stencil:
    """Return a mask that stands as a PNG in the window between two corners, both included."""
    if len(points) != 2 or (points != np.floor(points)).any():
        expected = "two corners in whole pixels: [[left, top], [right, bottom]]."
        raise shape.wrong("is a mask without a window.", expected, points.tolist())
    (left, top), (right, bottom) = points.astype(int).tolist()
    return Stencil(
        png=_decode(shape, "mask"),
        top=top,
        left=left,
        height=bottom - top + 1,
        width=right - left + 1,
    )


def _decode(entry: Entry, key: str) -> bytes:
    try:
        return base64.b64decode(entry.text(key), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImsegError(
            f"{entry.place} {key} is damaged.",
            expected="a picture file as base64 text.",
            got=f"{error}.",
            hint="save the file again with the tool that wrote it.",
        ) from error
