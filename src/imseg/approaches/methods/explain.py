"""What approaches cost beside each other, in the paper's schedule."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from imseg.approaches.methods.approach import SELECTIONS, Approach, differences
from imseg.approaches.methods.catalog import APPROACHES, LDT, find_approach
from imseg.approaches.methods.paper import PAPER
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.plan import Facts
from imseg.approaches.planning.settings import Settings
from imseg.approaches.planning.stage_plan import planned_stages, planned_steps

COST_OF = "the paper's schedule on ISIC 2018, 259 of 2,594 images labeled"
"""What is counted."""

_ISIC = Facts(
    task="binary",
    labeled=259,
    validation=100,
    unlabeled=2335,
    channels=3,
    outputs=1,
    typical_size=PAPER["isic2018"].image_size,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an approach costs as a multiple of ldt."""

    steps: float
    """Optimizer steps of all networks."""
    operations: float
    """Floating point operations of these steps; they grow with the square of the width."""


def relative_cost(approach: Approach) -> Cost | None:
    """Return what an approach costs as a multiple of ldt, if all pseudo-labels are admitted.

    None where another run decides that, or where the catalog does not know the approach. Where the
    number of copies depends on quality, the middle of what is possible is counted.
    """
    if approach.matched or APPROACHES.get(approach.name) != approach:
        return None
    (steps, operations), (least, fewest) = (_cost(each) for each in (approach, LDT))
    return Cost(steps=steps / least, operations=operations / fewest)


def _cost(approach: Approach) -> tuple[float, float]:
    settings = Settings(approach=approach.name, paper="isic2018", effort="paper", device="cpu")
    stages = planned_stages(make_plan(settings, _ISIC), _ISIC)
    return planned_steps(stages), sum(s.networks * s.steps * s.operations for s in stages)


OWN_RULE = "that rule itself"
SELECTING = {"paper": OWN_RULE, **{name: str(each) for name, each in SELECTIONS.items()}}
MEANINGS = {
    "start": "which approach trains the first teachers",
    "networks": "networks trained in each stage",
    "generations": "how often teachers teach students",
    "patience": "generations without a rise on validation after which a run ends",
    "labeled": "which labels are used",
    "pseudo_label": "how unlabeled images get labels",
    "select": "which pseudo-labeled images are used",
    "selecting": "what decides that in place of this rule",
    "amplification": "how many augmented copies of pseudo-labeled images students see",
    "keeps_start": "whether the network of the run may be that of the start, if that is better",
    "growing": "whether networks are wider in each generation",
    "objective": "what networks minimize",
    "recipe": "how networks are trained",
    "network": "which network",
    "carry": "whether the label an image was given stays until there is a better one",
    "scorer_start": "which approach trains further networks whose masks mask scorers learn from",
    "thresholds": "the scores from which on a mask is good, and very good",
    "at_cost": "one network trains for as many operations as all those of the other run took",
    "matched": "steps and width are those of another run's final network",
    "matchable": "steps and width can be those of another run's final network",
}
"""What each field of an approach means, in words."""


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

    cost: Cost | None
    """What it costs; None where another run decides that."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Return the explanation for a terminal."""
        lines = [self.name, f"  {self.summary}", ""]
        for name, value in self.settings.items():
            if value not in ("-", "no", "0", OWN_RULE):
                lines += [f"  {name:<13} {value}", f"  {'':<13} ({MEANINGS[name]})"]
        lines += ["", f"  cost          {_cost_in_words(self.name, self.cost)}"]
        child = self.name
        for parent, changed in self.chain:
            lines += ["", f"  {child} differs from {parent} in:"]
            width = max(len(child), len(parent))
            for name, (here, there) in changed.items():
                lines.append(f"    {name}, {MEANINGS[name]}:")
                lines += [f"      {child:<{width}}  {here}", f"      {parent:<{width}}  {there}"]
            child = parent
        return "\n".join(lines)


def explain_approach(approach: Approach) -> Explanation:
    """Return what an approach does and the chain of differences that leads to it."""
    chain, current = [], approach
    while current.parent is not None:
        parent = find_approach(current.parent)
        pairs = differences(current, parent).items()
        chain.append((parent.name, {name: (_say(a), _say(b)) for name, (a, b) in pairs}))
        current = parent
    selects = approach.pseudo_label is not None
    names = [name for name in MEANINGS if name != "select" or selects]
    return Explanation(
        name=approach.name,
        summary=approach.summary,
        settings={name: _say(getattr(approach, name)) for name in names},
        chain=tuple(chain),
        cost=relative_cost(approach),
    )


def _cost_in_words(name: str, cost: Cost | None) -> str:
    if cost is None:
        return "what another run decides (--match), or not known"
    if name == LDT.name:
        return "the least; the others are measured by it"
    return (
        f"{_times(cost.steps)} the optimizer steps of ldt and {_times(cost.operations)} its"
        f" operations\n{'':<16}({COST_OF})"
    )


def _times(factor: float) -> str:
    return f"{factor:.0f} times" if factor >= 10 else f"{factor:.1f} times"


def _say(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " and ".join(f"{each:g}" for each in value)
    return value.name if isinstance(value, Approach) else SELECTING.get(value, str(value))
