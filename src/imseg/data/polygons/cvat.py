"""CVAT for images 1.1: one XML file with an element a picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from imseg.data.files.atomic import read_bounded
from imseg.data.polygons.annotations import (
    MOST_BYTES,
    Annotations,
    Area,
    Entry,
    Outline,
    Picture,
    Points,
    Region,
    Runs,
    Tally,
)
from imseg.data.polygons.coco import FEW_POINTS, check_counts
from imseg.data.polygons.rasterize import ellipse, turn
from imseg.errors import ImsegError, import_extra

NO_AREA = "CVAT shapes without an area ({})"
"""What is noted for lines, points and the like."""

_AREAS = frozenset({"polygon", "box", "ellipse", "mask"})
_NO_SHAPES = frozenset({"tag"})
_EXPECTED = "CVAT for images 1.1: <annotations> with an <image> a picture."


def read_cvat(path: Path) -> Annotations:
    """Return what a CVAT file says. Labels come in the order of the task's list.

    Raises:
        ImsegError: If it is not XML, declares entities, or is another kind of XML.
    """
    root = _parse(path)
    images = list(root.iter("image")) if root.tag == "annotations" else []
    if not images:
        raise _other_kind(path, root)
    tally = Tally()
    declared = [
        Entry({"name": label.findtext("name")}, f"{path}: a <label>").label("name")
        for label in root.iter("label")
        if label.find("parent") is None  # parts of skeletons
    ]
    pictures = []
    for index, element in enumerate(images):
        entry = Entry(element.attrib, f"{path}: image {index}")
        pictures.append(
            Picture(
                name=entry.text("name"),
                size=entry.size("height", "width"),
                regions=tuple(_regions(element, path, tally)),
                file=path,
            )
        )
    used = sorted({region.label for picture in pictures for region in picture.regions})
    return Annotations(
        format="CVAT",
        source=path,
        labels=tuple(dict.fromkeys([*declared, *used])),
        pictures=tuple(pictures),
        tally=tally,
    )


def _parse(path: Path) -> Any:
    """Return the root element; nothing that the file declares is expanded or fetched."""
    purpose = "to read XML without being tricked by it"
    library = import_extra("defusedxml.ElementTree", extra="polygons", purpose=purpose)
    unsafe = import_extra("defusedxml.common", extra="polygons", purpose=purpose)
    try:
        return library.fromstring(read_bounded(path, MOST_BYTES), forbid_dtd=True)
    except unsafe.DefusedXmlException as error:
        raise ImsegError(
            f"{path} declares entities or a document type, which annotations never need.",
            expected="the XML file as CVAT exports it.",
            got=f"{type(error).__name__}.",
            hint="export it again; do not trust this file.",
        ) from error
    except library.ParseError as error:
        raise ImsegError(
            f"{path} is not valid XML, or ends in the middle.",
            expected="a whole XML file, as CVAT exports it.",
            got=f"{error}.",
            hint="export or copy the file again.",
        ) from error
    except (OSError, LookupError, ValueError, RecursionError) as error:
        raise ImsegError(f"{path} cannot be read.", got=f"{error}.") from error


def _other_kind(path: Path, root: Any) -> ImsegError:
    """Return the error for XML that is not CVAT for images."""
    got, hint = f"<{root.tag}> without an <image>.", "export as CVAT for images 1.1."
    if root.tag == "annotations" and root.find("track") is not None:
        got = "<track> elements: CVAT for video 1.1."
    elif root.tag == "annotation":
        got = "<annotation>: Pascal VOC, which has boxes and no outlines."
        hint = "export the outlines as COCO, or mark them with a tool that draws polygons."
    return ImsegError(
        f"{path} holds no pictures of CVAT for images.", expected=_EXPECTED, got=got, hint=hint
    )


def _regions(image: Any, path: Path, tally: Tally) -> Iterable[Region]:
    """Yield the regions of a picture; shapes without an area are noted."""
    name = image.get("name")
    for index, element in enumerate(image):
        place = f"{name} {element.tag} {index}"
        if element.tag in _NO_SHAPES:
            continue
        if element.tag not in _AREAS:
            tally.add(NO_AREA.format(element.tag), place)
            continue
        entry = Entry(element.attrib, f"{path}: {place}")
        area = _area(element.tag, entry)
        if isinstance(area, Outline) and len(area.rings[0]) < 3:
            tally.add(FEW_POINTS, place)
            continue
        group = entry.whole("group_id")
        yield Region(
            label=entry.label("label"),
            area=area,
            place=place,
            group=str(group) if group else None,
            order=entry.whole("z_order"),
        )


def _area(kind: str, entry: Entry) -> Area:
    """Return where a shape is."""
    if kind == "mask":
        return _runs(entry)
    degrees = entry.number("rotation") if "rotation" in entry.plain else 0.0
    if kind == "ellipse":
        center = entry.number("cx"), entry.number("cy")
        return Outline((ellipse(center, (entry.number("rx"), entry.number("ry")), degrees),))
    if kind == "box":
        left, top, right, bottom = (entry.number(key) for key in ("xtl", "ytl", "xbr", "ybr"))
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        return Outline((turn(corners, ((left + right) / 2, (top + bottom) / 2), degrees),))
    return Outline((_corners(entry),))


def _corners(entry: Entry) -> Points:
    """Return the corners that ``points="x,y;x,y"`` names."""
    text = entry.text("points")
    try:
        pairs = [[float(number) for number in pair.split(",")] for pair in text.split(";")]
    except ValueError as error:
        raise entry.wrong("has a wrong outline.", 'points="x,y;x,y;...".', text) from error
    if any(len(pair) != 2 for pair in pairs):
        raise entry.wrong("has a wrong outline.", 'points="x,y;x,y;...".', text)
    return entry.ring(pairs)


def _runs(entry: Entry) -> Runs:
    """Return the mask that ``rle`` describes in its window."""
    height, width = entry.whole("height"), entry.whole("width")
    text = entry.text("rle")
    try:
        if min(height, width) < 1:
            raise ValueError("the window has no pixels")
        counts = np.array([int(count) for count in text.split(",")], np.int64)
        check_counts(counts, height * width)
    except (ValueError, OverflowError) as error:
        expected = "run lengths that fill width x height pixels."
        raise entry.wrong(f"has runs that cannot be read: {error}.", expected, text) from error
    return Runs(
        counts=counts,
        height=height,
        width=width,
        top=entry.whole("top"),
        left=entry.whole("left"),
    )
