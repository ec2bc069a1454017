"""Reading pages as a browser does, without one."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input", "source"}
LOADING = {"src", "srcset", "poster", "data", "action", "background"}
"""Attributes through which something is fetched."""


class Page(HTMLParser):
    """Elements, texts and places of a page.

    Args:
        html: The page.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        self.fetched += [value for name, value in found.items() if name in LOADING]
        if tag in ("link", "use", "image"):
            self.fetched += [found.get("href", ""), found.get("xlink:href", "")]
        if "id" in found:
            self.ids.append(found["id"])
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"{tag} was never opened"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """All that is to be read, spaces made one."""
        return " ".join(" ".join(self.words).split())

    @property
    def foreign(self) -> list[str]:
        """What would be fetched from elsewhere."""
        return [each for each in self.fetched if each and not each.startswith(("data:", "#"))]
