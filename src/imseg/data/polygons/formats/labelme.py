"""LabelMe (JSON, one file per picture)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from imseg.data.polygons import drawings
from imseg.data.polygons.text_files import read_json

_GIVEN_BY_CORNERS = frozenset({"polygon", "rectangle", "oriented_rectangle", "rotation"})
"""Shapes of LabelMe; the last two are written by newer versions and relatives."""


class LabelMeShape(drawings.ParsedEntry):
    """One shape; old versions knew polygons only, and wrote no type."""

    shape_type: drawings.Text = "polygon"
    points: drawings.Ring
    label: drawings.LabelText
    group_id: drawings.Identity | None = None


class LabelMeFile(drawings.SizedEntry):
    """A whole file; of the picture that it may hold, only whether it is there."""

    shapes: list[LabelMeShape]
    name: drawings.Text = Field(alias="imagePath")
    content: Any = Field(None, alias="imageData")
    height: drawings.Whole = Field(0, alias="imageHeight")
    width: drawings.Whole = Field(0, alias="imageWidth")


class LabelMeMask(drawings.ParsedEntry):
    """A shape that is a picture."""

    mask: drawings.PictureFile


class LabelMePicture(drawings.ParsedEntry):
    """A file that holds its picture."""

    content: drawings.PictureFile = Field(alias="imageData")


def is_labelme(file: drawings.AnnotationFile) -> bool:
    """Return whether a file looks like LabelMe's."""
    return isinstance(file.plain, Mapping) and isinstance(file.plain.get("shapes"), list)


def read_labelme(files: Sequence[drawings.AnnotationFile], source: Path) -> drawings.Annotations:
    """Return what LabelMe files say. Labels come in alphabetical order.

    Args:
        files: At least one.
        source: The file or folder that the user named.

    Raises:
        ImsegError: If a shape is not as LabelMe has it.
    """
    tally = drawings.Tally(list)
    pictures = []
    for each in files:
        path, file = each.path, drawings.parse(LabelMeFile, each.plain, f"{each.path}:")
        picture = drawings.AnnotatedPicture(
            name=file.name,
            size=file.size,
            regions=tuple(_regions(file, each.plain["shapes"], path, tally)),
            file=path,
            start=path.parent,
            embedded=partial(_embedded_picture, each) if file.content else None,
        )
        pictures.append(picture)
    return drawings.alphabetical(pictures, format="LabelMe", source=source, tally=tally)


def _embedded_picture(file: drawings.AnnotationFile) -> bytes:
    """Return the content of the picture file that a LabelMe file holds."""
    plain = read_json(file.path, file.encoding)
    return drawings.parse(LabelMePicture, plain, f"{file.path}:").content


def _regions(
    file: LabelMeFile, plain: Sequence[object], path: Path, tally: drawings.Tally
) -> Iterator[drawings.Region]:
    """Yield the regions of a picture; shapes without an area are noted."""
    for index, shape in enumerate(file.shapes):
        place, kind, points = f"{path.name} shapes[{index}]", shape.shape_type, shape.points
        drawn: drawings.Stencil | list[drawings.Corners] = [points]
        if kind == "mask":
            drawn = _stencil(points, plain[index], f"{path}: shapes[{index}]")
        elif kind == "circle" and len(points) == 2:
            rim = math.dist(*points)
            drawn = [drawings.ellipse((float(points[0, 0]), float(points[0, 1])), (rim, rim))]
        elif kind not in _GIVEN_BY_CORNERS:
            tally[drawings.NO_AREA.format(kind)].append(place)
            continue
        elif kind == "rectangle" and len(points) == 2:
            drawn = [drawings.rectangle(*points[0], *points[1])]
        area = drawings.as_area(drawn, place, tally)
        if area is not None:
            group = shape.group_id
            yield drawings.Region(label=shape.label, area=area, place=place, group=group)


def _stencil(points: drawings.Corners, plain: object, place: str) -> drawings.Stencil:
    """Return a mask that stands as a PNG in the window between two corners, both included."""
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
