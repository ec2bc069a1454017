"""LabelMe: one JSON file for each picture, which may hold the picture, too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from imseg.data.polygons import drawings
from imseg.data.polygons.coco import FEW_POINTS
from imseg.data.polygons.rasterize import ellipse

NO_AREA = "shapes without an area ({})"
"""What is noted for lines and points."""
OTHER_JSON = "JSON files of another kind"
"""What is noted for files that lie among the annotations."""

_CORNERS = frozenset({"polygon", "rectangle", "oriented_rectangle", "rotation"})
"""Shapes given by their corners; the last two are written by newer versions and relatives."""


class LabelMeFile(drawings.SizedEntry):
    """A whole file; of the picture that it may hold, only whether it is there."""

    shapes: list[Any]
    name: drawings.Text = Field(alias="imagePath")
    content: Any = Field(None, alias="imageData")
    height: drawings.Whole = Field(0, alias="imageHeight")
    width: drawings.Whole = Field(0, alias="imageWidth")


class LabelMeShape(drawings.ParsedEntry):
    """One shape; old versions knew polygons only, and wrote no type."""

    shape_type: drawings.Text = "polygon"
    points: drawings.Ring
    label: drawings.LabelText
    group_id: drawings.Identity | None = None


class LabelMeMask(drawings.ParsedEntry):
    """A shape that is a picture."""

    mask: drawings.PictureFile


class LabelMePicture(drawings.ParsedEntry):
    """A file that holds its picture."""

    content: drawings.PictureFile = Field(alias="imageData")


def is_labelme(plain: object) -> bool:
    """Return whether parsed JSON looks like a LabelMe file."""
    return isinstance(plain, Mapping) and isinstance(plain.get("shapes"), list)


def read_labelme(
    files: Sequence[tuple[Path, Mapping[str, Any]]], source: Path
) -> drawings.Annotations:
    """Return what LabelMe files say. Labels come in alphabetical order.

    Args:
        files: Each file and its parsed JSON.
        source: The folder, or the one file, that the user named.

    Raises:
        ImsegError: If a shape is not as LabelMe has it.
    """
    tally = drawings.Tally()
    pictures = [_picture(path, plain, tally) for path, plain in files]
    labels = {region.label for picture in pictures for region in picture.regions}
    return drawings.Annotations(
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
    return drawings.parse(LabelMePicture, drawings.read_json(path), f"{path}:").content


def _picture(
    path: Path, plain: Mapping[str, Any], tally: drawings.Tally
) -> drawings.AnnotatedPicture:
    file = drawings.parse(LabelMeFile, plain, f"{path}:")
    regions = []
    for index, each in enumerate(file.shapes):
        place = f"{path.name} shapes[{index}]"
        full_place = f"{path}: shapes[{index}]"
        shape = drawings.parse(LabelMeShape, each, full_place)
        if shape.shape_type == "mask":
            area: drawings.Area | None = _stencil(shape, each, full_place)
        else:
            area = _outline(shape, place, tally)
        if area is not None:
            group, label = shape.group_id, shape.label
            regions.append(drawings.Region(label=label, area=area, place=place, group=group))
    return drawings.AnnotatedPicture(
        name=file.name,
        size=file.size,
        regions=tuple(regions),
        file=path,
        start=path.parent,
        embedded=bool(file.content),
    )


def _outline(shape: LabelMeShape, place: str, tally: drawings.Tally) -> drawings.Outline | None:
    """Return where a shape is; None if it has no area, which is noted."""
    kind, points = shape.shape_type, shape.points
    if kind == "circle" and len(points) == 2:
        rim = math.dist(*points)
        center = float(points[0, 0]), float(points[0, 1])
        return drawings.Outline((ellipse(center, (rim, rim)),))
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    if kind not in _CORNERS:
        tally[NO_AREA.format(kind)].append(place)
    elif len(points) < 3:
        tally[FEW_POINTS].append(place)
    else:
        return drawings.Outline((points,))
    return None


def _stencil(shape: LabelMeShape, plain: object, place: str) -> drawings.Stencil:
    """Return a mask that stands as a PNG in the window between two corners, both included."""
    points = shape.points
    if len(points) != 2 or (points != np.floor(points)).any():
        expected = "two corners in whole pixels: [[left, top], [right, bottom]]."
        reason = drawings.wrong("is a mask without a window.", expected, points.tolist())
        raise drawings.entry_error(place, reason)
    (left, top), (right, bottom) = points.astype(int).tolist()
    return drawings.Stencil(
        png=drawings.parse(LabelMeMask, plain, place).mask,
        top=top,
        left=left,
        height=bottom - top + 1,
        width=right - left + 1,
    )
