"""Values out of parsed JSON and XML; whatever is not as it should be is an error with its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imseg.data.files.atomic import read_bounded
from imseg.data.files.listing import has_odd_name
from imseg.errors import ImsegError

MOST_PIXELS = 1_000_000_000
"""No position in a picture is as far out as this; numbers beyond are damage."""

MOST_BYTES = 2 << 30
"""Bytes that a file of annotations may have; those of all of COCO have a quarter of it."""


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        ImsegError: If it cannot be read, is cut short, is not JSON or is nested too deeply.
    """
    try:
        content = read_bounded(path, MOST_BYTES)
    except OSError as error:
        raise ImsegError(f"{path} cannot be read.", got=f"{error.strerror or error}.") from error
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos : error.pos + 9].strip()
        ends = error.msg.startswith("Unterminated") or any(
            word.startswith(rest) for word in ("true", "false", "null", "-")
        )
        raise ImsegError(
            f"{path} {'ends in the middle' if ends else 'is not valid JSON'}.",
            expected="a whole JSON file, as the annotation tool writes it.",
            got=f"{error.msg} (line {error.lineno}, column {error.colno}).",
            hint="export or copy the file again.",
        ) from error
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        raise ImsegError(
            f"{path} is not a usable JSON file.",
            expected="a JSON file, as the annotation tool writes it.",
            got="lists nested more deeply than any tool writes." if deep else f"{error}.",
            hint="export the file again.",
        ) from error


class Entry:
    """One object of a JSON file or one element of an XML file, and where it stands.

    Args:
        plain: Its values by name.
        place: Where it stands, as the start of a sentence.
    """

    def __init__(self, plain: object, place: str) -> None:
        self.place = place
        if not isinstance(plain, Mapping):
            raise self.wrong("is not an object.", "{...} with named values.", plain)
        self.plain: Mapping[str, Any] = plain

    def wrong(self, what: str, expected: str, got: object) -> ImsegError:
        """Return an error about this entry."""
        shown = repr(got)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        hint = "export the annotations again, or mend this entry."
        return ImsegError(f"{self.place} {what}", expected=expected, got=f"{shown}.", hint=hint)

    def value(self, key: str) -> Any:
        """Return a value that must be there."""
        if self.plain.get(key) is None:
            raise self.wrong(f"has no {key}.", f'a value for "{key}".', list(self.plain))
        return self.plain[key]

    def entries(self, key: str) -> list[Any]:
        """Return a list."""
        found = self.value(key)
        if not isinstance(found, list):
            raise self.wrong(f"has no list of {key}.", f'"{key}": [...].', found)
        return found

    def text(self, key: str) -> str:
        """Return a text that is not empty and has no control characters."""
        found = self.value(key)
        if not isinstance(found, str) or not found.strip():
            raise self.wrong(f"has a wrong {key}.", "a text that is not empty.", found)
        if has_odd_name(Path(found.strip().replace("/", "_"))):
            raise self.wrong(f"has control characters in {key}.", "a text in one line.", found)
        return found.strip()

    def label(self, key: str) -> str:
        """Return a text of printable characters and single spaces, as names of classes are."""
        found = "".join(each if each.isprintable() else " " for each in self.text(key))
        if not found.strip():
            raise self.wrong(f"has a wrong {key}.", "a text that is not empty.", found)
        return " ".join(found.split())

    def identity(self, key: str) -> str:
        """Return what names the entry, so that 7, 7.0 and "7" are one."""
        found = self.value(key)
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, (int, str)):
            raise self.wrong(f"has a wrong {key}.", "a whole number or a text.", found)
        return str(found)

    def number(self, key: str) -> float:
        """Return a finite number; text that says one counts (XML)."""
        found = self.value(key)
        try:
            number = float(found) if isinstance(found, (int, float, str)) else float("nan")
        except (ValueError, OverflowError):
            number = float("nan")
        if isinstance(found, bool) or not abs(number) <= MOST_PIXELS:
            raise self.wrong(f"has a wrong {key}.", "a number of pixels.", found)
        return number

    def whole(self, key: str, default: int = 0) -> int:
        """Return a whole number; ``default`` if there is none."""
        if self.plain.get(key) is None:
            return default
        number = self.number(key)
        if number != int(number):
            raise self.wrong(f"has a wrong {key}.", "a whole number.", self.plain[key])
        return int(number)

    def size(self, height: str, width: str) -> tuple[int, int] | None:
        """Return height and width, or None if they are left out (missing, null or 0)."""
        found = self.whole(height), self.whole(width)
        if min(found) < 0:
            raise self.wrong("has a negative size.", "pixels.", found)
        return found if min(found) > 0 else None

    def ring(self, numbers: object) -> Points:
        """Return x, y, x, y, ... or [x, y], [x, y], ... as corners.

        Raises:
            ImsegError: If there is anything else among them, or a number that is no position.
        """
        try:
            ring = np.asarray(numbers)
        except (ValueError, OverflowError):
            ring = np.asarray(None)
        if ring.size == 0:
            return np.zeros((0, 2))
        flat = ring.ndim == 1 and len(ring) % 2 == 0
        if ring.dtype.kind not in "iuf" or not (flat or (ring.ndim == 2 and ring.shape[1] == 2)):
            raise self.wrong("has a wrong outline.", "pairs of numbers: x, y, x, y ...", numbers)
        ring = ring.astype(np.float64).reshape(-1, 2)
        strange = ring[~(np.abs(ring) <= MOST_PIXELS)]
        if len(strange):
            raise self.wrong(
                "has an outline with numbers that are no positions.",
                "pixels of the picture.",
                float(strange[0]),
            )
        return ring


Points = npt.NDArray[np.float64]
"""Corners of a ring, ``p 2``: x and y in pixels; 0, 0 is the upper left edge of the picture."""

Role = Literal["object", "void", "background"]
"""What a region says about its pixels."""

VOID_LABELS = frozenset({"__ignore__"})
"""Labels (in lower case) whose pixels are neither trained on nor scored."""

BACKGROUND_LABELS = frozenset({"_background_", "background"})
"""Labels (in lower case) that stand for no object."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One or several rings; a pixel inside any of them belongs."""

    rings: tuple[Points, ...]
    """At least three corners each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Lengths of runs of pixels: first of those that do not belong, then of those that do, ..."""

    counts: npt.NDArray[np.int64]
    """The lengths; their sum is ``height * width``."""
    height: int
    """Rows of the window."""
    width: int
    """Columns of the window."""
    top: int = 0
    """Row of the picture where the window begins."""
    left: int = 0
    """Column of the picture where the window begins."""
    by_columns: bool = False
    """Whether runs go down the columns (COCO) instead of along the rows (CVAT)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stencil:
    """A small PNG picture whose pixels belong where they are not 0."""

    png: bytes
    """The file's content."""
    height: int
    """Rows of the window."""
    width: int
    """Columns of the window."""
    top: int
    """Row of the picture where the window begins."""
    left: int
    """Column of the picture where the window begins."""


Area = Outline | Runs | Stencil
"""Which pixels a region covers."""


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
    """Whether it stands for many objects that nobody drew one by one."""

    @property
    def role(self) -> Role:
        """What the region says about its pixels."""
        if self.crowd or self.label.lower() in VOID_LABELS:
            return "void"
        return "background" if self.label.lower() in BACKGROUND_LABELS else "object"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of the annotations."""

    name: str
    """Its file name as the annotations have it."""
    size: tuple[int, int] | None
    """Height and width for which the regions were drawn; None if that is not said."""
    regions: tuple[Region, ...]
    """In the order of the file."""
    file: Path
    """The file that says so."""
    start: Path | None = None
    """The folder from which the name leads to the picture (LabelMe); None: the images folder."""
    embedded: bool = False
    """Whether ``file`` holds the picture, too (LabelMe)."""


@dataclass(slots=True)
class Tally:
    """What was left out or changed, and where; nothing disappears silently."""

    places: dict[str, list[str]] = field(default_factory=dict)
    """Where it happened, by what happened."""

    def add(self, what: str, place: str) -> None:
        """Note that something happened there."""
        self.places.setdefault(what, []).append(place)

    def add_all(self, other: Tally) -> None:
        """Note everything that another tally holds."""
        for what, places in other.places.items():
            self.places.setdefault(what, []).extend(places)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {what: list(places) for what, places in self.places.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Everything that the annotations of one data set say."""

    format: str
    """``COCO``, ``LabelMe`` or ``CVAT``."""
    source: Path
    """The file or folder they were read from."""
    labels: tuple[str, ...]
    """Every label that is declared, in the order in which they are numbered."""
    pictures: tuple[Picture, ...]
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
