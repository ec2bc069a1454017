"""What an approach is, and how one differs from another."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from imseg.components.amplification import FRESH, Amplification, MaskScorer
from imseg.components.consensus import Everything, Labeler, SameClasses, Select
from imseg.engine.training.objectives.objective import Objective
from imseg.engine.training.objectives.supervised import Supervised
from imseg.engine.training.recipe import Recipe
from imseg.networks.registry import Network, UNetConfig
from imseg.options import STRICT, option, options_in

Selection = Literal["paper", "same-classes", "all"]

SELECTIONS: dict[Selection, Select] = {"same-classes": SameClasses(), "all": Everything()}
"""What goes before an approach's own rule; ``paper`` is that rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeled:
    """The part of a training set that people labeled."""

    __pydantic_config__ = STRICT

    hidden_too: bool = False
    """Whether the hidden masks of the unlabeled images are used as well: an upper bound."""
    copies: int = 0
    """Augmented copies of each labeled image, beside the image itself."""
    online: bool = False
    """Whether a labeled image is augmented anew at every use."""
    fresh: bool = option(False, **FRESH)
    """Whether copies are drawn anew at every use, instead of once a run."""

    def __str__(self) -> str:
        text = "the labeled images" + (" and the hidden masks" if self.hidden_too else "")
        if self.copies:
            text += f" and {self.copies} augmented copies of each"
            text += ", drawn anew at every use" if self.fresh else ""
        return text + (", augmented anew at every use" if self.online else "")

    @property
    def samples(self) -> int:
        """Samples per labeled image and epoch."""
        return 1 + self.copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """A way to get from labeled and unlabeled images to networks.

    In the catalog its numbers are those of the paper; a plan holds one with every number settled.
    """

    __pydantic_config__ = STRICT

    name: str
    """What it is called on the command line."""
    summary: str
    """One plain sentence."""
    parent: str | None = None
    """The approach it was derived from."""
    start: "Approach | None" = None
    """What trains the first teachers; None: this approach is a single stage."""
    networks: int = option(
        5, "Networks of every stage, the start included.", group="budget", low=1, essential=True
    )
    """Networks trained in each generation, or in the single stage."""
    generations: int = option(
        0, "How often teachers teach students.", group="budget", low=1, essential=True
    )
    """How often teachers teach students; 0: never."""
    patience: int = option(
        0,
        "End after so many generations without a rise on validation; 0: never.  [default: 2]",
        group="budget",
        low=0,
        expected="0 (never stop early) or more.",
    )
    """Generations without a rise on validation after which a run ends; 0: never."""
    labeled: Labeled = field(default_factory=Labeled)
    """Which labels are used."""
    pseudo_label: Labeler | None = None
    """How unlabeled images get labels; None: they get none."""
    select: Select = field(default_factory=Everything)
    """Its own rule for which pseudo-labeled images are used; see ``selection``."""
    selecting: Selection = option(
        "paper",
        "Which pseudo-labeled images are used: paper (its rule), same-classes, all.",
        group="method",
        name="select",
    )
    """What goes before that rule."""
    amplification: Amplification | None = None
    """How many augmented copies of them are used; None: the images as they are."""
    keeps_start: bool = False
    """Whether the network of the run may be that of the start, where no generation is better."""
    growing: bool = False
    """Whether networks are wider in each generation."""
    objective: Objective = field(default_factory=Supervised)
    """What networks minimize; in the start it is the start's own."""
    recipe: Recipe = field(default_factory=Recipe)
    """How they are trained."""
    network: Network = field(default_factory=UNetConfig)
    """Which network."""
    carry: bool = False
    """Whether the label an image was given stays until there is a better one."""
    scorer_start: "Approach | None" = None
    """What trains further networks whose predictions mask scorers learn from."""
    thresholds: tuple[float, float] | None = option(
        None,
        "Scores from which on a mask is good, and very good.  [default: from validation images]",
        group="method",
        low=0,
        high=1,
        metavar="LOW HIGH",
        expected="two rising scores from 0 to 1, such as 0.72 0.75.",
    )
    """The scores from which on a mask is good, and very good; None: from validation images."""
    matched: bool = False
    """Whether each network gets the optimizer steps and the width of another run's final
    network."""
    at_cost: bool = False
    """Whether a matched network gets as many operations as all networks of that run took."""
    matchable: bool = False
    """Whether it may be given them, and else chooses its own."""

    def __post_init__(self) -> None:
        follows = self.pseudo_label is not None or self.objective.continues_start
        learns = follows or self.objective.uses_unlabeled
        if (follows and not self.generations) or (self.generations and not learns):
            raise ValueError("generations need pseudo-labels or a start to continue from")
        if self.generations > 0 and self.start is None:
            raise ValueError("generations need a start approach that trains the first teachers")
        if self.amplification is not None and self.pseudo_label is None:
            raise ValueError("copies of pseudo-labeled images need pseudo-labels")

    @property
    def selection(self) -> Select:
        """Which pseudo-labeled images are used."""
        return SELECTIONS.get(self.selecting, self.select)

    @property
    def scorer(self) -> MaskScorer | None:
        """How mask scorers are trained; None: there are none."""
        owners = (self.pseudo_label, self.amplification)
        found = (getattr(owner, "scorer", None) for owner in owners)
        return next((scorer for scorer in found if scorer is not None), None)

    @property
    def has_thresholds(self) -> bool:
        """Whether it asks if a mask is good."""
        return self.scorer is not None or self._copies_by_truth

    @property
    def augments(self) -> bool:
        """Whether any image is augmented."""
        first = self.start is not None and self.start.augments
        views = self.objective.uses_unlabeled or hasattr(self.pseudo_label, "views")
        return first or views or self.labeled.online or self.has_copies or self.scorer is not None

    @property
    def has_copies(self) -> bool:
        """Whether any images that networks learn from have augmented copies."""
        first = self.start is not None and self.start.has_copies
        return first or self.labeled.copies > 0 or self.amplification is not None

    @property
    def sees_truth(self) -> bool:
        """Whether it uses hidden masks: an upper bound, not a method."""
        return self.labeled.hidden_too or self._copies_by_truth

    @property
    def learns_from_unlabeled(self) -> bool:
        """Whether it is a method: it learns from images without masks."""
        return self.generations > 0 or self.objective.uses_unlabeled

    @property
    def needs_unlabeled(self) -> bool:
        """Whether it cannot work without unlabeled images."""
        return self.learns_from_unlabeled or self.labeled.hidden_too

    @property
    def _copies_by_truth(self) -> bool:
        return self.amplification is not None and self.amplification.needs_truth

    @property
    def first(self) -> "Approach":
        """The approach that trains the first networks."""
        return self.start or self

    def throughout(self, change: "Callable[[Approach], Approach]") -> "Approach":
        """Return the approach with a change made to it and to its starts."""
        start = self.start and change(self.start)
        scorer_start = self.scorer_start and change(self.scorer_start)
        return replace(change(self), start=start, scorer_start=scorer_start)

    @property
    def options(self) -> dict[str, Any]:
        """What users can set about it and makes a difference, by name."""
        level = self.recipe.augmentation.level
        published = level == "paper"
        # Mask scorers, and views that vote, are augmented as in the paper in any case.
        strengths = self.scorer is not None or hasattr(self.pseudo_label, "views")
        used = {
            **dict.fromkeys(("generations", "patience", "select"), self.pseudo_label is not None),
            "strength_schedule": self.augments if published else strengths,
            "rotate": self.augments or level in ("weak", "strong"),
            "thresholds": self.has_thresholds,
            "fresh_copies": self.has_copies and published,
            "strength_level": published,
            "consistency_level": published,
        }
        return {name: one for name, one in options_in(self).items() if used.get(name, True)}


def variant(parent: Approach, **changes: Any) -> Approach:
    """Return an approach that is its parent but for the given fields."""
    return replace(parent, parent=parent.name, **changes)


def differences(approach: Approach, parent: Approach) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which an approach differs from another, with (its, the other's) values.

    Names, sentences and descent are not differences.
    """
    told_apart = ("name", "summary", "parent")
    names = [each.name for each in dataclasses.fields(Approach) if each.name not in told_apart]
    pairs = {name: (getattr(approach, name), getattr(parent, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
