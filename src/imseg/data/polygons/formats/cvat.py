"""CVAT for images 1.1 (XML)."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic

from imseg.data.polygons import drawings
from imseg.data.polygons.text_files import read_text
from imseg.errors import ImsegError, import_extra


def _corners(found: str) -> drawings.Corners:
    """Return the corners that ``points="x,y;x,y"`` names."""
    try:
        pairs = [[float(number) for number in pair.split(",")] for pair in found.split(";")]
    except ValueError:
        pairs = [[]]
    if any(len(pair) != 2 for pair in pairs):
        raise drawings.wrong("has a wrong outline.", 'points="x,y;x,y;...".', found)
    return drawings.ring(pairs)


_DECLARED = re.compile(rb"<\?xml[^>]*encoding=[\"']([\w.-]+)")


class CvatLabel(drawings.ParsedEntry):
    """A label that the task declares."""

    name: drawings.LabelText


class CvatImage(drawings.SizedEntry):
    """A picture."""

    name: drawings.Text
    subset: str = ""
    """The part of the project that it belongs to."""


class CvatShape(drawings.ParsedEntry):
    """What all shapes with an area have."""

    label: drawings.LabelText
    group_id: drawings.Whole = 0
    z_order: drawings.Whole = 0
    rotation: drawings.Number = 0.0
    """Degrees, clockwise on the screen."""


class CvatPolygon(CvatShape):
    """A ring of corners."""

    points: Annotated[Any, pydantic.PlainValidator(_corners)]

    @property
    def drawn(self) -> list[drawings.Corners]:
        """Where it is."""
        return [self.points]


class CvatBox(CvatShape):
    """A rectangle, perhaps turned about its middle."""

    xtl: drawings.Number
    ytl: drawings.Number
    xbr: drawings.Number
    ybr: drawings.Number

    @property
    def drawn(self) -> list[drawings.Corners]:
        """Where it is."""
        center = (self.xtl + self.xbr) / 2, (self.ytl + self.ybr) / 2
        return [
            drawings.turn(
                drawings.rectangle(self.xtl, self.ytl, self.xbr, self.ybr), center, self.rotation
            )
        ]


class CvatEllipse(CvatShape):
    """An ellipse, perhaps turned about its middle."""

    cx: drawings.Number
    cy: drawings.Number
    rx: drawings.Number
    ry: drawings.Number

    @property
    def drawn(self) -> list[drawings.Corners]:
        """Where it is."""
        return [drawings.ellipse((self.cx, self.cy), (self.rx, self.ry), self.rotation)]


class CvatMask(CvatShape):
    """Lengths of runs in a window."""

    rle: drawings.Text
    height: drawings.Whole = 0
    width: drawings.Whole = 0
    top: drawings.Whole = 0
    left: drawings.Whole = 0

    @property
    def drawn(self) -> drawings.Runs:
        """Where it is."""
        counts = np.array([int(count) for count in self.rle.split(",")], np.int64)
        return drawings.Runs(
            counts=counts, height=self.height, width=self.width, top=self.top, left=self.left
        )

    @pydantic.model_validator(mode="after")
    def _fills_its_window(self) -> "CvatMask":
        try:
            if min(self.height, self.width) < 1:
                raise ValueError("the window has no pixels")
            drawings.check_counts(self.drawn.counts, self.height * self.width)
        except (ValueError, OverflowError) as error:
            expected = "run lengths that fill width x height pixels."
            what = f"has runs that cannot be read: {error}."
            raise drawings.wrong(what, expected, self.rle) from error
        return self


_SHAPES: dict[str, type[CvatPolygon | CvatBox | CvatEllipse | CvatMask]] = {
    "polygon": CvatPolygon,
    "box": CvatBox,
    "ellipse": CvatEllipse,
    "mask": CvatMask,
}


def is_cvat(file: drawings.AnnotationFile) -> bool:
    """Return whether a file looks like CVAT's."""
    return file.start.startswith(b"<") and b"<annotations" in file.start


def read_cvat(files: Sequence[drawings.AnnotationFile], source: Path) -> drawings.Annotations:
    """Return what CVAT files say. Labels come in the order of the task's list.

    Args:
        files: At least one.
        source: The file or folder that the user named.

    Raises:
        ImsegError: If one is not XML, declares entities, or is another kind of XML.
    """
    return drawings.join([_read_file(file) for file in files], source)


def _read_file(file: drawings.AnnotationFile) -> drawings.Annotations:
    """Return what one CVAT file says."""
    path, root = file.path, _parse_xml(file)
    images = list(root.iter("image")) if root.tag == "annotations" else []
    if not images:
        raise _other_kind(path, root)
    tally = drawings.Tally(list)
    declared = [
        drawings.parse(CvatLabel, {"name": label.findtext("name")}, f"{path}: a <label>").name
        for label in root.iter("label")
        if label.find("parent") is None  # parts of skeletons
    ]
    default = (root.findtext("meta/task/subset") or "").strip()
    pictures = []
    for index, element in enumerate(images):
        image = drawings.parse(CvatImage, element.attrib, f"{path}: image {index}")
        regions = tuple(_regions(element, path, tally))
        pictures.append(
            drawings.AnnotatedPicture(
                name=image.name,
                size=image.size,
                regions=regions,
                file=path,
                subset=image.subset or default,
            )
        )
    used = sorted({region.label for picture in pictures for region in picture.regions})
    return drawings.Annotations(
        format="CVAT",
        source=path,
        labels=tuple(dict.fromkeys([*declared, *used])),
        pictures=tuple(pictures),
        tally=tally,
    )


def _parse_xml(file: drawings.AnnotationFile) -> Any:
    """Return the root element; nothing that the file declares is expanded or fetched."""
    purpose = "to read XML without being tricked by it"
    library = import_extra("defusedxml.ElementTree", extra="polygons", purpose=purpose)
    unsafe = import_extra("defusedxml.common", extra="polygons", purpose=purpose)
    path, declared = file.path, _DECLARED.match(file.start)
    # The parser itself knows no encodings of more than one byte per character.
    encoding = declared[1].decode() if declared else file.encoding
    text = read_text(path, encoding)
    try:
        return library.fromstring(text, forbid_dtd=True)
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


def other_xml(file: drawings.AnnotationFile) -> ImsegError:
    """Return the error about XML that is not CVAT's.

    Raises:
        ImsegError: If it is no XML, or declares entities.
    """
    return _other_kind(file.path, _parse_xml(file))


def _other_kind(path: Path, root: Any) -> ImsegError:
    """Return the error for XML that is not CVAT for images."""
    got, hint = f"<{root.tag}> without an <image>.", "export as CVAT for images 1.1."
    if root.tag == "annotations" and root.find("track") is not None:
        got = "<track> elements: CVAT for video 1.1."
    elif root.tag == "annotation":
        got = "<annotation>: Pascal VOC, which has boxes and no outlines."
        hint = "export the outlines as COCO, or mark them with a tool that draws polygons."
    return ImsegError(
        f"{path} holds no pictures of CVAT for images.",
        expected="CVAT for images 1.1: <annotations> with an <image> for each picture.",
        got=got,
        hint=hint,
    )


def _regions(image: Any, path: Path, tally: drawings.Tally) -> Iterator[drawings.Region]:
    """Yield the regions of a picture; shapes without an area are noted."""
    for index, element in enumerate(image):
        place, kind = f"{image.get('name')} {element.tag} {index}", element.tag
        if kind == "tag":  # of the whole picture
            continue
        if kind not in _SHAPES:
            tally[f"CVAT {drawings.NO_AREA.format(kind)}"].append(place)
            continue
        shape = drawings.parse(_SHAPES[kind], element.attrib, f"{path}: {place}")
        area = drawings.as_area(shape.drawn, place, tally)
        if area is not None:
            yield drawings.Region(
                label=shape.label,
                area=area,
                place=place,
                group=str(shape.group_id) if shape.group_id else None,
                order=shape.z_order,
            )
