"""Colors of figures: as they stand in files, and as names that a page fills in, light or dark."""

from __future__ import annotations

from dataclasses import dataclass

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#6f6f6f", "#8a5a2b")
"""After Okabe and Ito, told apart by nearly everybody; yellow is darker, to be seen on white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ink:
    """What a figure is drawn with."""

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


ON_PAPER = Ink(text="#1d2329", faint="#5c666f", rule="#d9dee3", paper="#ffffff", series=SERIES)
"""Figures as files."""

ON_PAGE = Ink(
    text="#010203",
    faint="#010204",
    rule="#010205",
    paper="#010206",
    series=tuple(f"#0103{number:02x}" for number in range(len(SERIES))),
)
"""Figures in a page: no colors, but names of colors."""

VARIABLES = {
    ON_PAGE.text: "currentColor",
    ON_PAGE.faint: "var(--faint)",
    ON_PAGE.rule: "var(--rule)",
    ON_PAGE.paper: "var(--paper)",
    **{color: f"var(--line-{number})" for number, color in enumerate(ON_PAGE.series)},
}
"""What the page's style sheet calls them."""
