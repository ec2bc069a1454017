"""GeoJSON as QuPath exports it: one file per picture, polygons with holes, in pixels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from imseg.data.images.decoding import SUFFIXES
from imseg.data.polygons import drawings
from imseg.errors import ImsegError, and_more

NO_CLASS = f"objects without a class (taken for {drawings.UNCLASSIFIED})"
"""What is noted for objects that were not classified."""
AROUND = "annotations without a class beside detections: where cells were looked for (left out)"
"""What is noted for areas in which a program was run."""
CORES = "cores of tissue arrays and tiles (left out)"
"""What is noted for objects that QuPath uses to divide a picture."""
NUCLEI = "nuclei of cells (the outline of the whole cell is taken)"
"""What is noted for cells with two outlines."""

_TYPES = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tma_core",
    "PathRootObject": "root",
}
"""Kinds of objects, by what QuPath 0.2 wrote as their ids."""
_DETECTED = ("detection", "cell")
_DIVISIONS = ("tile", "tma_core", "root")


class GeoShape(drawings.ParsedEntry):
    """A geometry of any kind."""

    type: str
    coordinates: Any = None
    geometries: list[Any] = Field(default_factory=list)
    plane: dict[str, Any] = Field(default_factory=dict)


class GeoFeature(drawings.ParsedEntry):
    """An object."""

    id: Any = None
    geometry: Any = None
    nucleus: Any = Field(None, alias="nucleusGeometry")
    properties: dict[str, Any] = Field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``annotation``, ``detection``, ``cell``, ...; empty if it is not said."""
        found = self.properties.get("objectType") or self.properties.get("object_type")
        return str(found or _TYPES.get(str(self.id), ""))

    @property
    def label(self) -> str:
        """The name of its class, which may be derived (``Tumor: Positive``); empty: it has none."""
        found = self.properties.get("classification")
        if isinstance(found, Mapping):
            names = found.get("names")
            joined = ": ".join(map(str, names)) if isinstance(names, list) else ""
            found = found.get("name") or joined
        return str(found or "")


def _positions(found: object) -> drawings.Corners:
    """Return the corners of a ring; heights after x and y are left out."""
    if isinstance(found, list) and all(isinstance(each, list) for each in found):
        found = [each[:2] for each in found]
    return drawings.ring(found)


class GeoRing(drawings.ParsedEntry):
    """An outline, or a hole."""

    coordinates: Annotated[Any, PlainValidator(_positions)]


class GeoLabel(drawings.ParsedEntry):
    """The name of a class."""

    classification: drawings.LabelText


def is_geojson(file: drawings.AnnotationFile) -> bool:
    """Return whether a file looks like GeoJSON, or like a list of its features."""
    plain = file.plain
    if isinstance(plain, list):
        plain = plain[0] if plain else None
    return isinstance(plain, Mapping) and plain.get("type") in ("FeatureCollection", "Feature")


def read_geojson(files: Sequence[drawings.AnnotationFile], source: Path) -> drawings.Annotations:
    """Return what GeoJSON files say. Labels come in alphabetical order.

    Args:
        files: At least one; each has the stem of its picture.
        source: The file or folder that the user named.

    Raises:
        ImsegError: If an object is not as QuPath has it, or objects lie in several planes.
    """
    tally = drawings.Tally(list)
    pictures = []
    for file in files:
        features = _features(file)
        _check_planes(features, file.path)
        name = file.path.stem
        pictures.append(
            drawings.AnnotatedPicture(
                name=name,
                size=None,
                regions=tuple(_regions(features, file.path, tally)),
                file=file.path,
                start=file.path.parent,
                by_stem=Path(name).suffix.lower() not in SUFFIXES,
            )
        )
    return drawings.alphabetical(pictures, format="GeoJSON", source=source, tally=tally)


def _features(file: drawings.AnnotationFile) -> list[GeoFeature]:
    """Return the objects of a file."""
    plain = file.plain
    if isinstance(plain, Mapping):
        if "crs" in plain:
            raise ImsegError(
                f"{file.path} has coordinates on a map.",
                expected="outlines in pixels of the picture, as QuPath exports them.",
                got=f'"crs": {plain["crs"]!r:.60}.',
                hint="convert the outlines to pixels with the program that made them.",
            )
        plain = plain.get("features", []) if plain["type"] == "FeatureCollection" else [plain]
    if not isinstance(plain, list):
        reason = drawings.wrong("has no list of features.", '"features": [...].', plain)
        raise drawings.entry_error(f"{file.path}", reason)
    features = []
    for index, each in enumerate(plain):
        place = f"{file.path}: features[{index}]"
        found = drawings.parse(GeoFeature, each, place)
        if found.geometry is not None:
            shape = drawings.parse(GeoShape, found.geometry, place)
            found = found.model_copy(update={"geometry": shape})
        features.append(found)
    return features


def _check_planes(features: Sequence[GeoFeature], path: Path) -> None:
    planes = {
        (str(each.geometry.plane.get("z", 0)), str(each.geometry.plane.get("t", 0)))
        for each in features
        if each.geometry is not None
    }
    if len(planes) > 1:
        raise ImsegError(
            f"{path} has objects on several planes of a stack.",
            expected="the objects of one plane, drawn on a picture of this plane.",
            got=f"{and_more([f'z {z}, t {t}' for z, t in sorted(planes)])}.",
            hint="export each plane as a picture, and its objects as a file of that name.",
        )


def _regions(
    features: Sequence[GeoFeature], path: Path, tally: drawings.Tally
) -> Iterator[drawings.Region]:
    """Yield the regions of a picture; what has no area is noted."""
    detected = any(each.kind in _DETECTED for each in features)
    for index, each in enumerate(features):
        place, whole = f"{path.name} features[{index}]", f"{path}: features[{index}]"
        if each.kind in _DIVISIONS:
            tally[CORES].append(place)
            continue
        if detected and not each.label and each.kind not in _DETECTED:
            tally[AROUND].append(place)
            continue
        kind = each.geometry.type if each.geometry is not None else "no geometry"
        rings = [] if each.geometry is None else list(_rings(each.geometry, whole))
        if not rings:
            tally[drawings.NO_AREA.format(kind)].append(place)
            continue
        area = drawings.as_area(rings, place, tally)
        if area is None:
            continue
        if not each.label:
            tally[NO_CLASS].append(place)
        if each.nucleus is not None:
            tally[NUCLEI].append(place)
        named = {"classification": each.label or drawings.UNCLASSIFIED}
        label = drawings.parse(GeoLabel, named, whole).classification
        # QuPath shows what a program detected above what was drawn.
        order = int(each.kind in _DETECTED)
        yield drawings.Region(label=label, area=area, place=place, order=order)


def _rings(shape: GeoShape, place: str) -> Iterator[drawings.Corners]:
    """Yield a ring for each polygon of a geometry, with its holes cut out."""
    if shape.type == "GeometryCollection":
        for each in shape.geometries:
            yield from _rings(drawings.parse(GeoShape, each, place), place)
        return
    if shape.type not in ("Polygon", "MultiPolygon"):
        return
    found = [shape.coordinates] if shape.type == "Polygon" else shape.coordinates
    if not isinstance(found, list) or not all(isinstance(each, list) for each in found):
        expected = "[[[x, y], ...], ...]: an outline, and the holes in it."
        raise drawings.entry_error(
            place, drawings.wrong("has wrong coordinates.", expected, shape.coordinates)
        )
    for polygon in found:
        rings = [drawings.parse(GeoRing, {"coordinates": each}, place) for each in polygon]
        whole = [each.coordinates for each in rings if len(each.coordinates)]
        if whole:
            yield drawings.merge_rings(whole) if len(whole) > 1 else whole[0]
