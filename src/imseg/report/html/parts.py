"""What a page is made of, how its figures are drawn, and how all of it becomes HTML and files."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jinja2
import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from imseg.data.files.atomic import write_whole
from imseg.report.tables import DataTable


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
    draw: Callable[[Figure], None]
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


WIDE, NARROW = 7.0, 3.4
"""Inches; a page shows them at 96 pixels an inch, so that letters have one size everywhere."""
DOTS_PER_INCH = 160
MOST_LETTERS = 16
"""Letters up to which two entries of a legend stand side by side on a phone."""

_TEMPLATES = Path(__file__).parent / "templates"
STYLE = matplotlib.rc_params_from_file(_TEMPLATES / "figures.mplstyle", use_default_template=False)
"""How figures look. Lines have the colors ``C0``, ``C1`` ...; no two colors are equal."""
TEXT, FAINT = STYLE["text.color"], STYLE["axes.edgecolor"]
"""Colors of axes and words, and of what is beside the point."""
VARIABLES = {
    TEXT: "currentColor",
    FAINT: "var(--faint)",
    STYLE["grid.color"]: "var(--rule)",
    STYLE["figure.facecolor"]: "var(--paper)",
    **{
        color: f"var(--line-{i})"
        for i, color in enumerate(STYLE["axes.prop_cycle"].by_key()["color"])
    },
}
"""What the page's style sheet calls these colors, light or dark."""


def draw_chart(chart: Chart) -> tuple[dict[str, Markup], dict[str, bytes]]:
    """Return a figure in all its forms.

    Returns:
        For a page, in its colors and letters: SVG that is ``wide``, and ``narrow`` for a phone. For
        files: their content by their ending, ``svg`` and ``png``.
    """
    with matplotlib.rc_context(STYLE):
        wide = _laid_out(chart, (WIDE, chart.height))
        narrow = _laid_out(chart, (NARROW, chart.narrow_height))
        texts = {"wide": _as_svg(wide), "narrow": _as_svg(narrow)}
        stream = io.BytesIO()
        wide.savefig(stream, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    page = {name: _for_page(each, prefix=f"{chart.name}-{name}-") for name, each in texts.items()}
    return page, {"svg": texts["wide"].encode(), "png": stream.getvalue()}


def legend(figure: Figure, axes: Axes, *, columns: int = 3) -> None:
    """Put a legend above a figure."""
    handles, labels = axes.get_legend_handles_labels()
    if not is_wide(figure):
        columns = 1 if max(map(len, labels)) > MOST_LETTERS else min(columns, 2)
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, borderpad=0)


def is_wide(figure: Figure) -> bool:
    """Return whether a figure has the width of a column of text."""
    return bool(figure.get_figwidth() > (WIDE + NARROW) / 2)


def _laid_out(chart: Chart, size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    chart.draw(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # everything has its place now, in every form
    return figure


def _as_svg(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue().decode()


def _for_page(text: str, *, prefix: str) -> Markup:
    """Return SVG that takes its colors and letters from the page around it.

    Args:
        text: As matplotlib writes it.
        prefix: Begins the names of its parts, which must differ from those of other figures.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    for color, variable in VARIABLES.items():
        text = text.replace(f": {color}", f": {variable}")
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"font: ([^\"';]*?)'[^\";]*", r"font: \1inherit", text)
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = text.replace('xlink:href="#', f'href="#{prefix}').replace("url(#", f"url(#{prefix}")
    text = re.sub(r"\s*\n\s*", " ", text)
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    if size is None:
        raise ValueError("matplotlib writes the size of a figure in points")
    width, height = (round(float(part) / 72 * 96) for part in size.groups())
    own = f'width="{width}" height="{height}" aria-hidden="true"'
    return Markup(text.replace(size.group(), own, 1))  # matplotlib has escaped the words in it


def write_page(page: ReportPage, target: Path, *, beside: Path) -> Path:
    """Write a page, and its figures and tables beside it, as whole files, and return the page.

    Args:
        page: Its content.
        target: The HTML file.
        beside: The folder of figures and tables.

    Raises:
        ImsegError: If a file cannot be written.
    """
    drawings: dict[str, dict[str, Markup]] = {}
    files: dict[str, bytes] = {}
    for block in [block for section in page.sections for block in section.blocks]:
        if isinstance(block, Chart):
            drawings[block.name], forms = draw_chart(block)
            files |= {f"figures/{block.name}.{ending}": forms[ending] for ending in forms}
        elif isinstance(block, DataTable) and block.name:
            content = block.as_csv().encode(errors="backslashreplace")
            files[f"tables/{block.name}.csv"] = content
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "code": code}
    template = environment.get_template("page.html.j2")
    html = template.render(page=page, beside=beside.name, drawings=drawings)
    for name, content in files.items():
        write_whole(beside / name, content)
    # Names that are no text are shown as they are in messages.
    write_whole(target, html.encode(errors="backslashreplace"))
    return target


def inline(text: str) -> Markup:
    """Return escaped text in which ``**bold**``, ```code``` and ``[links](#key)`` stand out."""
    safe = str(escape(text))
    safe = re.sub(r"`([^`]+)`", lambda found: str(code(Markup(found[1]))), safe)
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)
    safe = re.sub(r"\[([^\]]+)\]\((#[a-z-]+)\)", r'<a href="\2">\1</a>', safe)
    return Markup(safe)


def code(text: str) -> Markup:
    """Return an escaped command line of which no word is broken that fits on a line."""
    words = [Markup("<span>{}</span>").format(word) for word in text.split(" ")]
    return Markup("<code>{}</code>").format(Markup(" ").join(words))
