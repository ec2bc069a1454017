"""The formats that are read: COCO instances, LabelMe (both JSON) and CVAT for images 1.1 (XML)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field, PlainValidator

from imseg.data.files.atomic import read_bounded
from imseg.data.polygons import drawings
from imseg.errors import ImsegError, and_more, import_extra

NO_OUTLINE = "annotations without an outline (a box or points only)"
"""What is noted for annotations that were not made for segmentation (COCO)."""
NO_IMAGE = "annotations of images that are not listed"
"""What is noted for left-overs of images that were removed (COCO)."""
REPEATED = "category names that stand there twice (taken as one category)"
"""What is noted for categories of one name (COCO)."""
NO_AREA = "shapes without an area ({})"
"""What is noted for lines, points and the like (LabelMe, CVAT)."""
OTHER_JSON = "JSON files of another kind"
"""What is noted for files that lie among the annotations (LabelMe)."""


def _runs(drawn: Mapping[str, Any]) -> drawings.Runs:
    size, counts = drawn.get("size"), drawn.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)):
        raise drawings.wrong("has runs of a wrong size.", '"size": [height, width].', size)
    height, width = size
    try:
        if isinstance(counts, str):
            found = drawings.decode_counts(counts)
        elif isinstance(counts, list) and all(type(count) is int for count in counts):
            found = np.asarray(counts, np.int64)
        else:
            raise ValueError("they are neither a text nor a list of whole numbers")
        if min(size) < 1 or height * width >= 2**40:
            raise ValueError("the size is impossible")
        found = drawings.check_counts(found, height * width)
    except (ValueError, OverflowError) as error:
        expected = "run lengths that fill the picture, as a list or COCO's compressed text."
        what = f"has runs that cannot be read: {error}."
        raise drawings.wrong(what, expected, counts) from error
    return drawings.Runs(counts=found, height=height, width=width, by_columns=True)


def _segmentation(drawn: object) -> drawings.Runs | list[drawings.Corners]:
    """Return runs, or rings; no rings: it was not drawn."""
    if isinstance(drawn, Mapping):
        return _runs(drawn)
    if not isinstance(drawn, list):
        expected = "[[x, y, x, y, ...]] or runs."
        raise drawings.wrong("has a wrong segmentation.", expected, drawn)
    # Some tools write a single ring without the list around it.
    parts = drawn if not drawn or isinstance(drawn[0], list) else [drawn]
    return [drawings.ring(part) for part in parts]


class CocoImage(drawings.SizedEntry):
    """An image that is listed."""

    id: drawings.Identity
    file_name: drawings.Text


class CocoCategory(drawings.ParsedEntry):
    """A label."""

    id: drawings.Identity
    name: drawings.LabelText


class CocoAnnotation(drawings.ParsedEntry):
    """One object, or several (a crowd)."""

    category_id: drawings.Identity
    image_id: drawings.Identity
    iscrowd: Any = False
    segmentation: Annotated[Any, PlainValidator(_segmentation)] = ()


class CocoFile(drawings.ParsedEntry):
    """A whole file."""

    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[Any]
    """See ``CocoAnnotation``; there may be a million of them, so they are parsed one by one."""


def is_coco(plain: object) -> bool:
    """Return whether parsed JSON looks like COCO instances."""
    return isinstance(plain, Mapping) and "images" in plain and "annotations" in plain


def read_coco(plain: Mapping[str, Any], path: Path) -> drawings.Annotations:
    """Return what a COCO file says. Labels come in the order of the category ids.

    Args:
        plain: The parsed JSON.
        path: Where it comes from.

    Raises:
        ImsegError: If an entry is not as COCO has it.
    """
    file = drawings.parse(CocoFile, plain, f"{path}:")
    images = _by_id(file.images, f"{path}: images", "has an id that another image has.")
    listed = _by_id(file.categories, f"{path}: categories", "has an id that another has.")
    ordered = sorted(listed, key=lambda each: (not each.isdigit(), each.zfill(20)))
    labels = {identity: listed[identity].name for identity in ordered}
    tally = drawings.Tally(list)
    names = [category.name for category in file.categories]
    for index, name in enumerate(names):
        if name in names[:index]:
            tally[REPEATED].append(name)
    regions: dict[str, list[drawings.Region]] = {identity: [] for identity in images}
    unknown: dict[str, None] = {}
    for index, each in enumerate(file.annotations):
        place = f"annotations[{index}]"
        entry = drawings.parse(CocoAnnotation, each, f"{path}: {place}")
        if entry.category_id not in labels:
            unknown[entry.category_id] = None
            continue
        if entry.image_id not in images:
            tally[NO_IMAGE].append(place)
            continue
        place = f"{place} ({images[entry.image_id].file_name})"
        if not entry.segmentation:
            tally[NO_OUTLINE].append(place)
        area = drawings.as_area(entry.segmentation, place, tally)
        if area is not None:
            label, crowd = labels[entry.category_id], bool(entry.iscrowd)
            region = drawings.Region(label=label, area=area, place=place, crowd=crowd)
            regions[entry.image_id].append(region)
    if unknown:
        known = [f"{identity} ({name})" for identity, name in labels.items()]
        raise ImsegError(
            f"{path}: annotations name categories that are not listed.",
            expected=f"a category_id among {and_more(known, 8) or 'none, the list is empty'}.",
            got=f"{and_more(list(unknown), 8)}.",
            hint="add the missing categories to the file, or remove those annotations.",
        )
    return drawings.Annotations(
        format="COCO",
        source=path,
        labels=tuple(dict.fromkeys(labels.values())),
        pictures=tuple(
            drawings.AnnotatedPicture(
                name=image.file_name, size=image.size, regions=tuple(regions[identity]), file=path
            )
            for identity, image in images.items()
        ),
        tally=tally,
    )


_Entry = TypeVar("_Entry", CocoImage, CocoCategory)


def _by_id(entries: Sequence[_Entry], place: str, what: str) -> dict[str, _Entry]:
    """Return the entries of a list by their ids; ``what`` is said of one that is there twice."""
    found: dict[str, _Entry] = {}
    for index, entry in enumerate(entries):
        if entry.id in found:
            reason = drawings.wrong(what, "ids of their own.", entry.id)
            raise drawings.entry_error(f"{place}[{index}]", reason)
        found[entry.id] = entry
    return found


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
    tally = drawings.Tally(list)
    pictures = []
    for path, plain in files:
        file = drawings.parse(LabelMeFile, plain, f"{path}:")
        picture = drawings.AnnotatedPicture(
            name=file.name,
            size=file.size,
            regions=tuple(_labelme_regions(file, plain["shapes"], path, tally)),
            file=path,
            start=path.parent,
            embedded=bool(file.content),
        )
        pictures.append(picture)
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


def _labelme_regions(
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
            tally[NO_AREA.format(kind)].append(place)
            continue
        elif kind == "rectangle" and len(points) == 2:
            drawn = [_rectangle(*points[0], *points[1])]
        area = drawings.as_area(drawn, place, tally)
        if area is not None:
            group = shape.group_id
            yield drawings.Region(label=shape.label, area=area, place=place, group=group)


def _rectangle(left: float, top: float, right: float, bottom: float) -> drawings.Corners:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


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


def _corners(found: str) -> drawings.Corners:
    """Return the corners that ``points="x,y;x,y"`` names."""
    try:
        pairs = [[float(number) for number in pair.split(",")] for pair in found.split(";")]
    except ValueError:
        pairs = [[]]
    if any(len(pair) != 2 for pair in pairs):
        raise drawings.wrong("has a wrong outline.", 'points="x,y;x,y;...".', found)
    return drawings.ring(pairs)


class CvatLabel(drawings.ParsedEntry):
    """A label that the task declares."""

    name: drawings.LabelText


class CvatImage(drawings.SizedEntry):
    """A picture."""

    name: drawings.Text


class CvatShape(drawings.ParsedEntry):
    """What all shapes with an area have."""

    label: drawings.LabelText
    group_id: drawings.Whole = 0
    z_order: drawings.Whole = 0
    rotation: drawings.Number = 0.0
    """Degrees, clockwise on the screen."""


class CvatPolygon(CvatShape):
    """A ring of corners."""

    points: Annotated[Any, PlainValidator(_corners)]

    def drawn(self, place: str) -> list[drawings.Corners]:
        """Return where it is."""
        return [self.points]


class CvatBox(CvatShape):
    """A rectangle, perhaps turned about its middle."""

    xtl: drawings.Number
    ytl: drawings.Number
    xbr: drawings.Number
    ybr: drawings.Number

    def drawn(self, place: str) -> list[drawings.Corners]:
        """Return where it is."""
        center = (self.xtl + self.xbr) / 2, (self.ytl + self.ybr) / 2
        return [
            drawings.turn(_rectangle(self.xtl, self.ytl, self.xbr, self.ybr), center, self.rotation)
        ]


class CvatEllipse(CvatShape):
    """An ellipse, perhaps turned about its middle."""

    cx: drawings.Number
    cy: drawings.Number
    rx: drawings.Number
    ry: drawings.Number

    def drawn(self, place: str) -> list[drawings.Corners]:
        """Return where it is."""
        return [drawings.ellipse((self.cx, self.cy), (self.rx, self.ry), self.rotation)]


class CvatMask(CvatShape):
    """Lengths of runs in a window."""

    rle: drawings.Text
    height: drawings.Whole = 0
    width: drawings.Whole = 0
    top: drawings.Whole = 0
    left: drawings.Whole = 0

    def drawn(self, place: str) -> drawings.Runs:
        """Return where it is."""
        try:
            if min(self.height, self.width) < 1:
                raise ValueError("the window has no pixels")
            counts = np.array([int(count) for count in self.rle.split(",")], np.int64)
            drawings.check_counts(counts, self.height * self.width)
        except (ValueError, OverflowError) as error:
            expected = "run lengths that fill width x height pixels."
            reason = drawings.wrong(f"has runs that cannot be read: {error}.", expected, self.rle)
            raise drawings.entry_error(place, reason) from error
        return drawings.Runs(
            counts=counts, height=self.height, width=self.width, top=self.top, left=self.left
        )


_SHAPES: dict[str, type[CvatPolygon | CvatBox | CvatEllipse | CvatMask]] = {
    "polygon": CvatPolygon,
    "box": CvatBox,
    "ellipse": CvatEllipse,
    "mask": CvatMask,
}


def read_cvat(path: Path) -> drawings.Annotations:
    """Return what a CVAT file says. Labels come in the order of the task's list.

    Raises:
        ImsegError: If it is not XML, declares entities, or is another kind of XML.
    """
    root = _parse_xml(path)
    images = list(root.iter("image")) if root.tag == "annotations" else []
    if not images:
        raise _other_xml(path, root)
    tally = drawings.Tally(list)
    declared = [
        drawings.parse(CvatLabel, {"name": label.findtext("name")}, f"{path}: a <label>").name
        for label in root.iter("label")
        if label.find("parent") is None  # parts of skeletons
    ]
    pictures = []
    for index, element in enumerate(images):
        image = drawings.parse(CvatImage, element.attrib, f"{path}: image {index}")
        regions = tuple(_cvat_regions(element, path, tally))
        pictures.append(
            drawings.AnnotatedPicture(name=image.name, size=image.size, regions=regions, file=path)
        )
    used = sorted({region.label for picture in pictures for region in picture.regions})
    return drawings.Annotations(
        format="CVAT",
        source=path,
        labels=tuple(dict.fromkeys([*declared, *used])),
        pictures=tuple(pictures),
        tally=tally,
    )


def _parse_xml(path: Path) -> Any:
    """Return the root element; nothing that the file declares is expanded or fetched."""
    purpose = "to read XML without being tricked by it"
    library = import_extra("defusedxml.ElementTree", extra="polygons", purpose=purpose)
    unsafe = import_extra("defusedxml.common", extra="polygons", purpose=purpose)
    try:
        return library.fromstring(read_bounded(path, drawings.MOST_BYTES), forbid_dtd=True)
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


def _other_xml(path: Path, root: Any) -> ImsegError:
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


def _cvat_regions(image: Any, path: Path, tally: drawings.Tally) -> Iterator[drawings.Region]:
    """Yield the regions of a picture; shapes without an area are noted."""
    for index, element in enumerate(image):
        place, kind = f"{image.get('name')} {element.tag} {index}", element.tag
        if kind == "tag":  # of the whole picture
            continue
        if kind not in _SHAPES:
            tally[f"CVAT {NO_AREA.format(kind)}"].append(place)
            continue
        shape = drawings.parse(_SHAPES[kind], element.attrib, f"{path}: {place}")
        area = drawings.as_area(shape.drawn(f"{path}: {place}"), place, tally)
        if area is not None:
            yield drawings.Region(
                label=shape.label,
                area=area,
                place=place,
                group=str(shape.group_id) if shape.group_id else None,
                order=shape.z_order,
            )
