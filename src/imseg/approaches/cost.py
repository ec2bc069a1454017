"""What approaches cost beside each other, in the paper's schedule."""

from __future__ import annotations

from dataclasses import dataclass

from imseg.approaches.approach import Approach
from imseg.approaches.budget import make_plan
from imseg.approaches.catalog import APPROACHES, LDT
from imseg.approaches.paper import PAPER
from imseg.approaches.schedule import Facts, planned_stages
from imseg.approaches.settings import Settings

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
    stages = planned_stages(make_plan(settings, _ISIC)[0], _ISIC)
    steps = [stage.networks * stage.steps for stage in stages]
    operations = [count * stage.operations for count, stage in zip(steps, stages, strict=True)]
    return sum(steps), sum(operations)
