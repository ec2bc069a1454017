"""What a page is made of: sections of a few kinds of blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imseg.report.tables import DataTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from imseg.report.html.charts import Ink


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs. ``**bold**`` and ```code``` are understood; everything else is plain text."""

    paragraphs: tuple[str, ...]
    """The text."""


@dataclass(frozen=True, slots=True)
class ShortList:
    """A list of short sentences."""

    items: tuple[str, ...]
    """The sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure that is drawn with matplotlib."""

    name: str
    """Its file's name."""
    draw: Callable[[Figure, Ink], None]
    """Draws it into an empty figure; narrow figures are for phones."""
    alt: str
    """What is seen, for those who cannot see it."""
    caption: str
    """What is seen and how it is read."""
    height: float = 3.3
    """Inches, where there is room."""
    narrow_height: float = 3.3
    """Inches, on a phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageImage:
    """A small image."""

    source: str
    """A data URI."""
    width: int
    """Its own width in pixels."""
    height: int
    """Its own height in pixels."""
    alt: str
    """What it shows."""
    text: str
    """What stands below it."""
    name: bool = False
    """Whether that is a file's name, which may be broken anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRows:
    """Rows of images side by side."""

    rows: tuple[tuple[str, tuple[PageImage, ...]], ...]
    """A heading for each row, and its images."""
    caption: str
    """What is seen."""
    legend: tuple[tuple[str, tuple[int, int, int]], ...] = ()
    """What colors mean."""
    columns: int = 4
    """Images side by side where there is room, 3 to 6."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Command lines to be copied, each with a word on what it does."""

    items: tuple[tuple[str, str], ...]
    """What it does, and the command."""


@dataclass(frozen=True, slots=True)
class Fold:
    """A text that is only shown on demand."""

    title: str
    """What it is."""
    text: str
    """The text as it stands."""


PageBlock = Prose | ShortList | Chart | DataTable | ImageRows | Commands | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading of its own."""

    key: str
    """Its place in links."""
    title: str
    """Its heading."""
    blocks: tuple[PageBlock, ...]
    """What it contains, tables that are only files included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSummary:
    """What people read first."""

    lead: str
    """The answer in one or two sentences."""
    explained: tuple[str, ...]
    """What the score means, and what can be said about unlabeled images."""
    doubts: tuple[str, ...] = ()
    """What is doubtful."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage:
    """All content of a page."""

    title: str
    """Its heading."""
    subtitle: str
    """A line below it."""
    summary: PageSummary
    """What people read first."""
    sections: tuple[Section, ...]
    """The rest, in order."""
    footer: str
    """Where it comes from."""
