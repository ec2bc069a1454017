"""An approach in words: what it does, and the chain of differences that leads to it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from imseg.approaches.approach import Approach, differences
from imseg.approaches.catalog import find_approach

MEANINGS = {
    "start": "which approach trains the first teachers",
    "networks": "networks trained in each stage",
    "generations": "how often teachers teach students",
    "labeled": "which labels are used",
    "pseudo_label": "how unlabeled images get labels",
    "select": "which pseudo-labeled images are used",
    "matched": "steps and width are those of another run's final network",
    "matchable": "steps and width can be those of another run's final network",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """An approach in words."""

    name: str
    """The approach."""
    summary: str
    """One plain sentence."""
    settings: dict[str, str]
    """Its fields, in the paper's schedule."""
    chain: tuple[tuple[str, dict[str, tuple[str, str]]], ...]
    """From the approach to its first ancestor: (parent, field -> (value here, value there))."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Return the explanation for a terminal."""
        lines = [self.name, f"  {self.summary}", ""]
        for name, value in self.settings.items():
            lines.append(f"  {name:<13} {value}")
            lines.append(f"  {'':<13}   ({MEANINGS[name]})")
        for parent, changed in self.chain:
            lines += ["", f"  differs from {parent} in:"]
            for name, (here, there) in changed.items():
                lines.append(f"    {name}: {here}  (there: {there})")
        return "\n".join(lines)


def explain_approach(approach: Approach) -> Explanation:
    """Return what an approach does and the chain of differences that leads to it."""
    chain = []
    current = approach
    while current.parent is not None:
        parent = find_approach(current.parent)
        pairs = differences(current, parent).items()
        chain.append((parent.name, {name: (_say(a), _say(b)) for name, (a, b) in pairs}))
        current = parent
    return Explanation(
        name=approach.name,
        summary=approach.summary,
        settings={name: _say(getattr(approach, name)) for name in MEANINGS},
        chain=tuple(chain),
    )


def _say(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.name if isinstance(value, Approach) else str(value)
