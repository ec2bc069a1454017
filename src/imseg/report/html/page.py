"""From what a page says to HTML: one file that loads nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from imseg.report.html.blocks import Page
from imseg.report.html.charts import Drawing

_TEMPLATES = resources.files("imseg.report.html") / "templates"


def render(page: Page, drawings: Mapping[str, Drawing], *, beside: str) -> str:
    """Return a page as HTML.

    Args:
        page: What it says.
        drawings: Its figures, by their names.
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
    environment.filters["code"] = code
    style = Markup(_source("style.css"))
    return environment.get_template("page.html.j2").render(
        page=page, style=style, beside=beside, drawings=_safe(drawings)
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


def _safe(drawings: Mapping[str, Drawing]) -> dict[str, dict[str, Markup]]:
    """Return figures as markup: matplotlib has escaped the words in them."""
    return {
        name: {"wide": Markup(each.wide), "narrow": Markup(each.narrow)}
        for name, each in drawings.items()
    }


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
