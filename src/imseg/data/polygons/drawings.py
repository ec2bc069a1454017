"""What annotations say, whatever tool wrote them, and how their values are checked."""

import base64
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pydantic
from pydantic_core import PydanticCustomError

from imseg.data.files.listing import has_odd_name
from imseg.errors import ImsegError

Corners = npt.NDArray[np.float64]
"""Corners of a ring, ``p 2``: x and y in pixels; 0, 0 is the upper left edge of the picture."""

MOST_PIXELS = 1_000_000_000
"""No position in a picture is as far out as this; numbers beyond are damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationFile:
    """A file of annotations that was opened to see which format it has."""

    path: Path
    """Where it is."""
    start: bytes
    """Its first bytes that are not blank, at most 512, in UTF-8."""
    plain: Any = None
    """The parsed JSON; None if it is no JSON. A picture inside (``imageData``) is only True."""
    encoding: str | None = None
    """The encoding of texts that are not UTF-8, if the user named one."""


_EXPECTED = {
    "string": "a text that is not empty.",
    "int": "a whole number of pixels.",
    "dict": "an object with named values.",
}
_Model = TypeVar("_Model", bound="ParsedEntry")


def parse(model: type[_Model], plain: object, place: str) -> _Model:
    """Return one object of a JSON file or one element of an XML file, with all values checked.

    Args:
        model: What it must hold.
        plain: Its values by name, as parsed; see ``ParsedEntry``.
        place: Where it stands, as the start of a sentence.

    Raises:
        ImsegError: If a value is missing or wrong.
    """
    try:
        return model.model_validate(plain)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
    names, got = first["loc"], first["input"]
    if len(names) > 1 and isinstance(names[1], int):  # an entry of a list
        place, names = f"{place} {names[0]}[{names[1]}]", names[2:]
    key = str(names[0]) if names else ""
    match first["type"]:
        case "entry":
            what, expected, got = (first["ctx"][part] for part in ("what", "expected", "got"))
            reason = wrong(what.replace("{key}", key), expected, got)
        case "missing":
            reason = wrong(f"has no {key}.", f'a value for "{key}".', list(got))
        case "list_type":
            reason = wrong(f"has no list of {key}.", f'"{key}": [...].', got)
        case _:
            kind = first["type"].partition("_")[0]
            expected = _EXPECTED.get(kind, "a number of pixels.")
            reason = wrong(f"has a wrong {key}.", expected, got)
    raise entry_error(place, reason)


def wrong(what: str, expected: str, got: object) -> PydanticCustomError:
    """Return the error about a value; ``{key}`` in ``what`` stands for its name."""
    return PydanticCustomError("entry", "{what}", {"what": what, "expected": expected, "got": got})


def entry_error(place: str, reason: PydanticCustomError) -> ImsegError:
    """Return the error about the entry that stands at a place."""
    about = reason.context or {}
    got = about["got"]
    text = str(got) if isinstance(got, Exception) else repr(got)
    return ImsegError(
        f"{place} {about['what']}",
        expected=about["expected"],
        got=f"{text if len(text) <= 60 else text[:57] + '...'}.",
        hint="export the annotations again, or mend this entry.",
    )


def _one_line(text: str) -> str:
    if has_odd_name(Path(text.replace("/", "_"))):
        raise wrong("has control characters in {key}.", "a text in one line.", text)
    return text


def _plain_words(text: str) -> str:
    words = "".join(each if each.isprintable() else " " for each in text).split()
    if not words:
        raise wrong("has a wrong {key}.", "a text that is not empty.", text)
    return " ".join(words)


def _without_fraction(found: object) -> object:
    found = int(found) if isinstance(found, float) and found.is_integer() else found
    if not isinstance(found, (int, str)):
        raise wrong("has a wrong {key}.", "a whole number or a text.", found)
    return found


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else b"?", validate=True)
    except ValueError as error:
        raise wrong("{key} is damaged.", "a picture file as base64 text.", error) from error


def ring(numbers: object) -> Corners:
    """Return x, y, x, y, ... or [x, y], [x, y], ... as corners.

    Raises:
        PydanticCustomError: If there is anything else among them, or a number that is no position.
    """
    try:
        found = np.asarray(numbers)
    except (ValueError, OverflowError):
        found = np.asarray(None)
    if found.size == 0:
        return np.zeros((0, 2))
    flat = found.ndim == 1 and len(found) % 2 == 0
    if found.dtype.kind not in "iuf" or not (flat or (found.ndim == 2 and found.shape[1] == 2)):
        raise wrong("has a wrong outline.", "pairs of numbers: x, y, x, y ...", numbers)
    found = found.astype(np.float64).reshape(-1, 2)
    strange = found[~(np.abs(found) <= MOST_PIXELS)]
    if len(strange):
        what = "has an outline with numbers that are no positions."
        raise wrong(what, "pixels of the picture.", float(strange[0]))
    return found


def rectangle(left: float, top: float, right: float, bottom: float) -> Corners:
    """Return the corners of a rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: float = 0) -> Corners:
    """Return corners of an ellipse, so many that no edge is 0.05 px off the curve.

    Args:
        center: x and y.
        radii: Along x and along y, before the turn.
        degrees: How far it is turned, clockwise on the screen.
    """
    corners = max(16, math.ceil(math.pi * math.sqrt(10 * max(abs(radii[0]), abs(radii[1]), 1))))
    angles = 2 * np.pi * np.arange(min(corners, 10_000)) / min(corners, 10_000)
    points = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)], axis=1)
    return turn(points + np.asarray(center), center, degrees)


def merge_rings(rings: Sequence[Corners]) -> Corners:
    """Return one ring that is inside where an odd number of rings is: the way to have holes.

    The rings are joined by edges that are gone there and back, which change nothing. They are
    visited in rows of the picture, so that these edges are short.

    Args:
        rings: At least one.
    """
    heights = [float(ring[0, 1]) for ring in rings]
    row = max(1.0, float(np.ptp(heights)) / math.sqrt(len(rings)))
    ordered = sorted(rings, key=lambda ring: (ring[0, 1] // row, ring[0, 0]))
    there = itertools.chain.from_iterable((ring, ring[:1]) for ring in ordered)
    back = (ring[:1] for ring in reversed(ordered[1:-1]))
    return np.concatenate([*there, *back])


def turn(points: Corners, center: tuple[float, float], degrees: float) -> Corners:
    """Return points turned about a center, clockwise on the screen."""
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned: Corners = (points - np.asarray(center)) @ matrix + np.asarray(center)
    return turned


Text = Annotated[
    str,
    pydantic.StringConstraints(strip_whitespace=True, min_length=1),
    pydantic.AfterValidator(_one_line),
]
"""A text that is not empty and has no control characters."""
LabelText = Annotated[Text, pydantic.AfterValidator(_plain_words)]
"""A text of printable characters and single spaces, as names of classes are."""
Identity = Annotated[
    str, pydantic.Field(coerce_numbers_to_str=True), pydantic.BeforeValidator(_without_fraction)
]
"""What names an entry, so that 7, 7.0 and "7" are one."""
Number = Annotated[float, pydantic.Field(ge=-MOST_PIXELS, le=MOST_PIXELS)]
"""A finite number of pixels; a text that says one counts (XML)."""
Whole = Annotated[int, pydantic.Field(ge=-MOST_PIXELS, le=MOST_PIXELS)]
"""A whole number of pixels."""
Ring = Annotated[Any, pydantic.PlainValidator(ring)]
"""The corners of an outline."""
PictureFile = Annotated[bytes, pydantic.PlainValidator(_decoded)]
"""A picture file as base64 text."""


class ParsedEntry(pydantic.BaseModel):
    """One object of a JSON file or one element of an XML file; see ``parse``.

    None counts as left out, and names of other values do not matter.
    """

    model_config = pydantic.ConfigDict(frozen=True, arbitrary_types_allowed=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _named_values(cls, plain: object) -> dict[str, Any]:
        if not isinstance(plain, Mapping):
            raise wrong("is not an object.", "{...} with named values.", plain)
        return {key: each for key, each in plain.items() if each is not None}


class SizedEntry(ParsedEntry):
    """A picture with its size, which may be left out."""

    height: Whole = 0
    """Rows; 0: it is not said."""
    width: Whole = 0
    """Columns; 0: it is not said."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, or None if they are left out."""
        return (self.height, self.width) if min(self.height, self.width) > 0 else None

    @pydantic.model_validator(mode="after")
    def _is_no_negative_size(self) -> "SizedEntry":
        if min(self.height, self.width) < 0:
            raise wrong("has a negative size.", "pixels.", (self.height, self.width))
        return self


VOID_LABELS = frozenset({"__ignore__"})
"""Labels (in lower case) whose pixels are neither trained on nor scored."""

BACKGROUND_LABELS = frozenset({"_background_", "background"})
"""Labels (in lower case) that stand for no object."""

UNCLASSIFIED = "unclassified"
"""The label of regions that were given none."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One or several rings; a pixel inside any of them belongs."""

    rings: tuple[Corners, ...]
    """At least three corners each."""
    shares: bool = False
    """Whether corners are shares of the picture's width and height in place of pixels (YOLO)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A rectangle of the picture, in pixels."""

    height: int
    """Its rows."""
    width: int
    """Its columns."""
    top: int = 0
    """Row of the picture where it begins."""
    left: int = 0
    """Column of the picture where it begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs(Window):
    """Lengths of runs of pixels: first of those that do not belong, then of those that do, ..."""

    counts: npt.NDArray[np.int64]
    """The lengths; their sum is ``height * width``."""
    by_columns: bool = False
    """Whether runs go down the columns (COCO) instead of along the rows (CVAT)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stencil(Window):
    """A small PNG picture whose pixels belong where they are not 0."""

    png: bytes
    """The file's content."""


Area = Outline | Runs | Stencil
"""Which pixels a region covers."""


def decode_counts(text: str) -> npt.NDArray[np.int64]:
    """Return the run lengths of COCO's compressed text.

    Each number is a chain of characters: ``"0"`` plus five bits, lowest first, and 32 if another
    follows; the last one's bit of 16 is the sign. From the fourth number on it is the difference
    to the last but one. The library's own decoder reads past the end of damaged texts.

    Raises:
        ValueError: If the text has other characters or ends inside a number.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"the character {character!r} cannot stand there")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = shift = 0
    if shift:
        raise ValueError("the text ends inside a number")
    return np.asarray(counts, np.int64)


def check_counts(counts: npt.NDArray[np.int64], pixels: int) -> npt.NDArray[np.int64]:
    """Return run lengths that fill a window of so many pixels.

    Raises:
        ValueError: If one is negative, or their sum is another.
    """
    if len(counts) and (counts.min() < 0 or counts.max() > pixels):
        raise ValueError("a run is negative or longer than the picture")
    if int(counts.sum()) != pixels:
        raise ValueError(f"the runs are {int(counts.sum())} pixels long, not {pixels}")
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Pixels of one label; one object, or a part of one."""

    label: str
    """The label's name."""
    area: Area
    """Where it is."""
    place: str
    """Where it stands in the annotations, for messages."""
    group: str | None = None
    """Regions of one picture with one label and one group are one object."""
    order: int = 0
    """Higher ones lie on top; among equals the later one does."""
    crowd: bool = False
    """Whether it stands for many objects that were not drawn one by one."""

    @property
    def role(self) -> Literal["object", "void", "background"]:
        """What the region says about its pixels."""
        if self.crowd or self.label.lower() in VOID_LABELS:
            return "void"
        return "background" if self.label.lower() in BACKGROUND_LABELS else "object"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedPicture:
    """One picture of the annotations."""

    name: str
    """Its file name as the annotations have it."""
    size: tuple[int, int] | None
    """Height and width for which the regions were drawn; None if they are not given."""
    regions: tuple[Region, ...]
    """In the order of the file."""
    file: Path
    """The file of annotations that lists it."""
    start: Path | None = None
    """The folder from which the name leads to the picture (LabelMe); None: the images folder."""
    embedded: Callable[[], bytes] | None = None
    """Returns the content of the picture's file, if ``file`` holds it, too (LabelMe)."""
    by_stem: bool = False
    """Whether the name has no suffix, so that the picture of this stem is meant, of any type."""
    finished: bool = False
    """Whether no region means that nothing is there, so that the mask is all background."""
    subset: str = ""
    """The part of the data set that it belongs to, as the annotations call it, such as ``train``;
    empty: they do not say."""


Tally = defaultdict[str, list[str]]
"""What was left out or changed, and the places where: nothing disappears silently."""

NO_AREA = "shapes without an area ({})"
"""What is noted for lines, points and the like."""
FEW_POINTS = "outlines with fewer than 3 points"
"""What is noted for outlines that enclose nothing."""


def as_area(drawn: Runs | Stencil | Sequence[Corners], place: str, tally: Tally) -> Area | None:
    """Return an area; of rings, those that enclose something, or None if none does.

    Args:
        drawn: An area already, or rings.
        place: Where it stands in the annotations.
        tally: Rings of fewer than three corners are noted here.
    """
    if isinstance(drawn, Window):
        return drawn
    whole = tuple(ring for ring in drawn if len(ring) >= 3)
    for _ in range(len(drawn) - len(whole)):
        tally[FEW_POINTS].append(place)
    return Outline(whole) if whole else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Everything that the annotations of one data set say."""

    format: str
    """What users call the format, such as ``COCO``."""
    source: Path
    """The file or folder they were read from."""
    labels: tuple[str, ...]
    """Every label that is declared, in the order in which they are numbered."""
    pictures: tuple[AnnotatedPicture, ...]
    """In the order of the file."""
    tally: Tally
    """What was left out while reading."""

    @property
    def used(self) -> tuple[str, ...]:
        """The labels of objects that are drawn somewhere, in the order of ``labels``."""
        drawn = {
            region.label
            for picture in self.pictures
            for region in picture.regions
            if region.role == "object" or region.crowd
        }
        return tuple(label for label in self.objects if label in drawn)

    @property
    def objects(self) -> tuple[str, ...]:
        """The declared labels without those for background and void."""
        special = VOID_LABELS | BACKGROUND_LABELS
        return tuple(label for label in self.labels if label.lower() not in special)


def alphabetical(
    pictures: Sequence[AnnotatedPicture], *, format: str, source: Path, tally: Tally
) -> Annotations:
    """Return annotations of a format that declares no labels: those that are drawn, sorted."""
    labels = {region.label for picture in pictures for region in picture.regions}
    return Annotations(
        format=format,
        source=source,
        labels=tuple(sorted(labels)),
        pictures=tuple(pictures),
        tally=tally,
    )


def join(parts: Sequence[Annotations], source: Path | None = None) -> Annotations:
    """Return what several files or sources say; labels of one name are one label.

    Labels come in the order of the first part that has them; those of parts that all have the
    order of the alphabet keep that order.

    Args:
        parts: At least one.
        source: The file or folder that the user named; None: that of the first part.
    """
    tally = Tally(list)
    for part in parts:
        for what, places in part.tally.items():
            tally[what] += places
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    if all(list(part.labels) == sorted(part.labels) for part in parts):
        labels = tuple(sorted(labels))
    return Annotations(
        format=" and ".join(dict.fromkeys(part.format for part in parts)),
        source=source or parts[0].source,
        labels=labels,
        pictures=tuple(picture for part in parts for picture in part.pictures),
        tally=tally,
    )
