"""From what a page says to HTML: one file that loads nothing."""

from __future__ import annotations

import re
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from imseg.report.html.blocks import Chart, Page
from imseg.report.html.charts import for_page

_TEMPLATES = resources.files("imseg.report.html") / "templates"


def render(page: Page, *, beside: str) -> str:
    """Return a page as HTML.

    Args:
        page: What it says.
        beside: The name of the folder with figures and tables.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    environment.globals["svg"] = _svg
    style = Markup(_source("style.css"))
    return environment.get_template("page.html.j2").render(page=page, style=style, beside=beside)


def inline(text: str) -> Markup:
    """Return escaped text in which ``**bold**``, ```code``` and ``[links](#key)`` stand out."""
    safe = str(escape(text))
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)
    safe = re.sub(r"\[([^\]]+)\]\((#[a-z-]+)\)", r'<a href="\2">\1</a>', safe)
    return Markup(safe)


def _svg(chart: Chart, *, narrow: bool) -> Markup:
    return Markup(for_page(chart, narrow=narrow))


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
