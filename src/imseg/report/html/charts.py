"""Colors of figures: as they stand in files, and as names that a page fills in, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jinja2
import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from imseg.report.html.blocks import Chart, ReportPage

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#6f6f6f", "#8a5a2b")
"""After Okabe and Ito, told apart by nearly all people; yellow is darker, to be seen on white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ink:
    """What a figure is drawn with; no two of its colors are equal."""

    text: str
    """Axes, ticks and words."""
    faint: str
    """What is beside the point."""
    rule: str
    """Grid lines."""
    paper: str
    """What lies below."""
    series: tuple[str, ...]
    """One color a line."""

    def line(self, number: int) -> str:
        """Return the color of a line; after the last one they begin anew."""
        return self.series[number % len(self.series)]


INK = Ink(text="#1d2329", faint="#5c666f", rule="#d9dee3", paper="#ffffff", series=SERIES)
"""The colors of files; in a page each one gives way to a name."""

VARIABLES = {
    INK.text: "currentColor",
    INK.faint: "var(--faint)",
    INK.rule: "var(--rule)",
    INK.paper: "var(--paper)",
    **{color: f"var(--line-{number})" for number, color in enumerate(INK.series)},
}
"""What the page's style sheet calls them."""

WIDE, NARROW = 7.0, 3.4
"""Inches; a page shows them at 96 pixels an inch, so that letters have one size everywhere."""
DOTS_PER_INCH = 160
STYLE_FILE = "figures.mplstyle"
_TEMPLATES = Path(__file__).parent / "templates"
MOST_LETTERS = 16
"""Letters up to which two entries of a legend stand side by side on a phone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure as it goes into a page and into files."""

    wide: str
    """SVG for a page with room, in the page's colors and letters."""
    narrow: str
    """The same for a phone."""
    svg: bytes
    """A file."""
    png: bytes
    """A file."""


def drawing_of(chart: Chart) -> Drawing:
    """Return a figure in all its forms."""
    style = matplotlib.rc_params_from_file(_TEMPLATES / STYLE_FILE, use_default_template=False)
    with matplotlib.rc_context(style):
        wide = _drawn(chart, (WIDE, chart.height))
        svg = _as_svg(wide)
        stream = io.BytesIO()
        FigureCanvasAgg(wide)
        wide.savefig(stream, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        narrow = _as_svg(_drawn(chart, (NARROW, chart.narrow_height)))
    return Drawing(
        wide=_for_page(svg, prefix=f"{chart.name}-wide-"),
        narrow=_for_page(narrow, prefix=f"{chart.name}-narrow-"),
        svg=svg.encode(),
        png=stream.getvalue(),
    )


def dress(axes: Axes, ink: Ink, *, grid: Literal["x", "y", "both"] = "y") -> None:
    """Give axes the colors of a page, and lines to read values by."""
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_color(ink.faint)
    axes.tick_params(colors=ink.text, which="both", length=3)
    axes.grid(visible=False)
    axes.grid(visible=True, axis=grid, color=ink.rule)
    for each in (axes.xaxis.label, axes.yaxis.label, axes.title):
        each.set_color(ink.text)


def legend(figure: Figure, axes: Axes, ink: Ink, *, columns: int = 3) -> None:
    """Put a legend above a figure."""
    handles, labels = axes.get_legend_handles_labels()
    if not is_wide(figure):
        columns = 1 if max(map(len, labels)) > MOST_LETTERS else min(columns, 2)
    found = figure.legend(handles, labels, loc="outside upper left", ncols=columns, borderpad=0)
    for text in found.get_texts():
        text.set_color(ink.text)


def is_wide(figure: Figure) -> bool:
    """Return whether a figure has the width of a column of text."""
    return bool(figure.get_figwidth() > (WIDE + NARROW) / 2)


def _drawn(chart: Chart, size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    figure.set_facecolor(INK.paper)
    chart.draw(figure, INK)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # everything has its place now, in every form
    return figure


def _as_svg(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue().decode()


def _for_page(text: str, *, prefix: str) -> str:
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
    return text.replace(size.group(), f'width="{width}" height="{height}" aria-hidden="true"', 1)


def render(page: ReportPage, drawings: Mapping[str, Drawing], *, beside: str) -> str:
    """Return a page as HTML.

    Args:
        page: Its content.
        drawings: Its figures, by their names.
        beside: The name of the folder with figures and tables.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "code": code}
    environment.filters["class_name"] = lambda block: type(block).__name__
    style = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))
    # Figures are markup: matplotlib has escaped the words in them.
    safe = {
        name: {"wide": Markup(each.wide), "narrow": Markup(each.narrow)}
        for name, each in drawings.items()
    }
    return environment.get_template("page.html.j2").render(
        page=page, style=style, beside=beside, drawings=safe
    )


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
