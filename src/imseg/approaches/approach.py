"""What an approach is, and how one differs from another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from imseg.stages.pseudo_label import Consensus
from imseg.stages.select import Everything, Select


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeled:
    """The part of a training set that people labeled."""

    hidden_too: bool = False
    """Whether the hidden masks of the unlabeled images are used as well: an upper bound."""
    copies: int = 0
    """Disturbed copies of each labeled image, drawn once a run, beside the image itself."""
    online: bool = False
    """Whether each look at a labeled image disturbs it anew."""

    def __str__(self) -> str:
        text = "the labeled images" + (" and the hidden masks" if self.hidden_too else "")
        if self.copies:
            text += f" and {self.copies} disturbed copies of each"
        return text + (", disturbed anew at every look" if self.online else "")

    @property
    def samples(self) -> int:
        """Samples that a labeled image gives in an epoch."""
        return 1 + self.copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """A way to get from labeled and unlabeled images to networks."""

    name: str
    """What it is called on the command line."""
    summary: str
    """One plain sentence."""
    parent: str | None = None
    """The approach it was derived from."""
    start: Approach | None = None
    """What trains the first teachers; None: this approach is a single stage."""
    networks: int = 5
    """Networks trained in each generation, or in the single stage."""
    generations: int = 0
    """How often teachers teach students."""
    labeled: Labeled = field(default_factory=Labeled)
    """Which labels are used."""
    pseudo_label: Consensus | None = None
    """How unlabeled images get labels; None: they are not used."""
    select: Select = field(default_factory=Everything)
    """Which pseudo-labeled images are used."""
    matched: bool = False
    """Whether each network gets the optimizer steps and the width of another run's final
    network."""
    matchable: bool = False
    """Whether it may be given them, and else chooses its own."""

    def __post_init__(self) -> None:
        if (self.generations > 0) != (self.pseudo_label is not None):
            raise ValueError("generations and pseudo-labels need each other")
        if self.generations > 0 and self.start is None:
            raise ValueError("generations need a start approach that trains the first teachers")

    @property
    def disturbs(self) -> bool:
        """Whether any image is disturbed."""
        first = self.start is not None and self.start.disturbs
        return first or self.labeled.copies > 0 or self.labeled.online

    @property
    def needs_unlabeled(self) -> bool:
        """Whether it cannot work without unlabeled images."""
        return self.pseudo_label is not None or self.labeled.hidden_too


def variant(parent: Approach, **changes: Any) -> Approach:
    """Return an approach that is its parent but for the given fields."""
    return dataclasses.replace(parent, parent=parent.name, **changes)


def differences(approach: Approach, parent: Approach) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which an approach differs from another, with (its, the other's) values.

    Names, sentences and descent are not differences.
    """
    told_apart = ("name", "summary", "parent")
    pairs = {
        entry.name: (getattr(approach, entry.name), getattr(parent, entry.name))
        for entry in dataclasses.fields(Approach)
        if entry.name not in told_apart
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
