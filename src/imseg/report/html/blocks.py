"""What a page is made of: sections of a few kinds of blocks, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from imseg.report.html.charts import Ink


Cell = str | int | float | None
"""A value in a table of numbers; None is an empty cell."""


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs. ``**bold**`` and ```code``` are understood; everything else is plain text."""

    paragraphs: tuple[str, ...]
    """What they say."""
    kind: str = "prose"
    """How the template knows it."""


@dataclass(frozen=True, slots=True)
class Points:
    """A list of short sentences."""

    items: tuple[str, ...]
    """What they say."""
    kind: str = "points"
    """How the template knows it."""


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
    kind: str = "chart"
    """How the template knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text; the first column names them."""

    header: tuple[str, ...]
    """Names of columns."""
    rows: tuple[tuple[str, ...], ...]
    """Text, ready to be shown."""
    caption: str
    """What is seen."""
    swatches: tuple[tuple[int, int, int], ...] = ()
    """A color before each row's name; none when empty."""
    words: tuple[int, ...] = ()
    """Columns (from 0) that hold words; all others but the first hold numbers."""
    kind: str = "table"
    """How the template knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A small picture."""

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
class Pictures:
    """Rows of pictures side by side."""

    rows: tuple[tuple[str, tuple[Picture, ...]], ...]
    """A heading for each row, and its pictures."""
    caption: str
    """What is seen."""
    legend: tuple[tuple[str, tuple[int, int, int]], ...] = ()
    """What colors mean."""
    columns: int = 4
    """Pictures side by side where there is room, 3 to 6."""
    kind: str = "pictures"
    """How the template knows it."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Command lines to be copied, each with a word on what it does."""

    items: tuple[tuple[str, str], ...]
    """What it does, and the command."""
    kind: str = "commands"
    """How the template knows it."""


@dataclass(frozen=True, slots=True)
class Fold:
    """A text that is only shown on demand."""

    title: str
    """What it is."""
    text: str
    """The text as it stands."""
    kind: str = "fold"
    """How the template knows it."""


Block = Prose | Points | Chart | Table | Pictures | Commands | Fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Csv:
    """Numbers that go into a file beside the page, in full precision."""

    name: str
    """The file's name, without its ending."""
    header: Sequence[str]
    """Names of columns."""
    rows: Sequence[Sequence[Cell]]
    """Values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with a heading of its own."""

    key: str
    """Its place in links."""
    title: str
    """Its heading."""
    blocks: tuple[Block, ...]
    """What it says and shows."""
    tables: tuple[Csv, ...] = ()
    """The numbers behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What people read first."""

    lead: str
    """The answer in one or two sentences."""
    explained: tuple[str, ...]
    """What the score means, and what can be said about unlabeled images."""
    doubts: tuple[str, ...] = ()
    """What is doubtful."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything a page says."""

    title: str
    """Its heading."""
    subtitle: str
    """A line below it."""
    answer: Answer
    """What people read first."""
    sections: tuple[Section, ...]
    """The rest, in order."""
    footer: str = ""
    """Where it comes from."""
    tables: tuple[Csv, ...] = field(default=())
    """Numbers that belong to no section."""
