"""What an approach is, and how one differs from another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imseg.components.amplification import Augment, MaskScorer
from imseg.components.consensus import Labeler
from imseg.components.consistency import Consistency
from imseg.components.selection import Everything, Select


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeled:
    """The part of a training set that people labeled."""

    hidden_too: bool = False
    """Whether the hidden masks of the unlabeled images are used as well: an upper bound."""
    copies: int = 0
    """Disturbed copies of each labeled image, beside the image itself."""
    online: bool = False
    """Whether each look at a labeled image disturbs it anew."""
    fresh: bool = False
    """Whether each look at a copy draws it anew, instead of once a run."""

    def __str__(self) -> str:
        text = "the labeled images" + (" and the hidden masks" if self.hidden_too else "")
        if self.copies:
            text += f" and {self.copies} disturbed copies of each"
            text += ", drawn anew at every look" if self.fresh else ""
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
    pseudo_label: Labeler | None = None
    """How unlabeled images get labels; None: they get none."""
    select: Select = field(default_factory=Everything)
    """Which pseudo-labeled images are used."""
    augment: Augment | None = None
    """How many disturbed copies of them are used; None: the images as they are."""
    growing: bool = False
    """Whether networks are wider in each generation."""
    objective: Consistency | None = None
    """What networks learn from unlabeled images that have no label."""
    carry: bool = False
    """Whether the label an image was given stays until there is a better one."""
    judge_start: Approach | None = None
    """What trains further networks whose predictions judges learn from."""
    matched: bool = False
    """Whether each network gets the optimizer steps and the width of another run's final
    network."""
    matchable: bool = False
    """Whether it may be given them, and else chooses its own."""

    def __post_init__(self) -> None:
        learns = self.pseudo_label is not None or self.objective is not None
        if (self.generations > 0) != learns:
            raise ValueError("generations need pseudo-labels or an objective, and they need those")
        if self.generations > 0 and self.start is None:
            raise ValueError("generations need a start approach that trains the first teachers")
        if self.augment is not None and self.pseudo_label is None:
            raise ValueError("copies of pseudo-labeled images need pseudo-labels")

    @property
    def stages(self) -> tuple[Any, ...]:
        """What it is made of, without what is not there."""
        parts = (self.labeled, self.pseudo_label, self.select, self.augment, self.objective)
        return tuple(part for part in parts if part is not None)

    @property
    def options(self) -> frozenset[str]:
        """The names of the options that its stages have a use for."""
        return frozenset(name for stage in self.stages for name in options_of(stage))

    @property
    def judge(self) -> MaskScorer | None:
        """How judges of masks are trained; None: there are none."""
        judges = (getattr(stage, "judge", None) for stage in self.stages)
        return next((judge for judge in judges if judge is not None), None)

    @property
    def has_thresholds(self) -> bool:
        """Whether it asks if a mask is good."""
        return self.judge is not None or (self.augment is not None and self.augment.needs_truth)

    @property
    def augments(self) -> bool:
        """Whether any image is disturbed."""
        first = self.start is not None and self.start.augments
        views = self.objective is not None or "views" in self.options
        copies = self.labeled.copies > 0 or self.labeled.online or self.augment is not None
        return first or copies or views or self.judge is not None

    @property
    def has_copies(self) -> bool:
        """Whether any images that networks learn from have disturbed copies."""
        first = self.start is not None and self.start.has_copies
        return first or self.labeled.copies > 0 or self.augment is not None

    @property
    def sees_truth(self) -> bool:
        """Whether it uses hidden masks: an upper bound, not a method."""
        return self.labeled.hidden_too or (self.augment is not None and self.augment.needs_truth)

    @property
    def needs_unlabeled(self) -> bool:
        """Whether it cannot work without unlabeled images."""
        return self.generations > 0 or self.labeled.hidden_too


def options_of(stage: Any) -> dict[str, str]:
    """Return the options of a stage, and the fields that they set."""
    return {
        entry.metadata["option"]: entry.name
        for entry in dataclasses.fields(stage)
        if "option" in entry.metadata
    }


def with_options(stage: Any, given: Mapping[str, Any]) -> Any:
    """Return a stage with the given options in its fields; those it has no use for are ignored."""
    fields = {name: given[option] for option, name in options_of(stage).items() if option in given}
    return dataclasses.replace(stage, **fields) if fields else stage


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
