"""What annotation files say, whatever tool wrote them: pictures, and regions with labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

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
