"""Colors of figures: as they stand in files, and as names that a page fills in, light or dark."""

from __future__ import annotations

from dataclasses import dataclass

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#6f6f6f", "#8a5a2b")
"""After Okabe and Ito, told apart by nearly everybody; yellow is darker, to be seen on white."""


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
