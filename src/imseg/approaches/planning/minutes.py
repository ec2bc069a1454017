"""Trainings for so many minutes: how large images are, how wide networks, and how many steps."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from imseg.approaches.planning import duration
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.duration import Measured
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.run_options import SMALLEST_SIDE
from imseg.approaches.planning.settings import Settings
from imseg.data.doubts.small_objects import working_shape
from imseg.errors import ImsegError

MOST_STEPS = 5000
"""Steps above which a network gains nothing more; time that is left then is not spent."""
ENOUGH = 1000
"""Steps that every network gets before images are taken larger or networks wider."""
FEWEST = 50
"""Steps below which a training is not worth beginning."""
COST_EXPONENT = 0.85
"""Seconds of a step grow with its operations to this power; between 96 and 256 px and widths .5 and
1, measured on a processor."""
LEAST_TIMES = 3
"""How many times as long as labels alone a training with teachers takes at least."""
SPARED = 0.06
"""Share of the time that is left for what is not foreseen: costs vary while a run goes on."""
ENDING = 15.0
"""Seconds that are left for the last validation and the report."""


@dataclass(frozen=True, slots=True)
class TrainingSize:
    """What a training with more time has more of."""

    longest: int
    """Pixels of the longer side at which networks work, unless images are smaller."""
    width: float
    """How wide networks are."""


SIZES = (
    TrainingSize(96, 0.5),
    TrainingSize(128, 0.5),
    TrainingSize(192, 0.5),
    TrainingSize(256, 0.5),
    TrainingSize(384, 0.5),
    TrainingSize(512, 0.5),
    TrainingSize(512, 1.0),
)
"""From the cheapest to the best; measured in benchmarks/RESULTS.md, "What minutes buy"."""


def time_left(asked: Settings, since: float) -> float:
    """Return the seconds that are left of the minutes that were asked for.

    Args:
        asked: What was asked for.
        since: When the run began, by ``time.monotonic``.
    """
    passed = time.monotonic() - since
    return (60 * (asked.minutes or 0.0) - passed) * (1 - SPARED) - ENDING


def fit_to_minutes(
    asked: Settings,
    facts: Facts,
    *,
    left: Callable[[Plan], float],
    measure: Callable[[Plan], Measured] | None,
) -> tuple[Plan, Measured | None]:
    """Return the plan that makes the most of a time, and what it costs here.

    Images are as large, and networks as wide, as leaves every network enough steps; what was asked
    for by name is kept. Labels alone come first: where no approach was asked for, unlabeled images
    are used only if that changes neither.

    Args:
        asked: What was asked for.
        facts: What the data is like.
        left: Returns the seconds that are left for training now, for a plan.
        measure: Returns what a plan costs on this machine; None: nothing may be measured, and the
            plan is the cheapest, with the most steps that there can be.

    Raises:
        ImsegError: If the time is not enough for anything.
    """
    alone = asked.but(approach="ldt")
    chosen = "approach" not in asked.given and not alone.unused
    plans = _plans_on(alone if chosen else asked, facts)
    if measure is None:
        return plans[0].with_recipe(max_steps=MOST_STEPS), None

    def fitted(plan: Plan, known: Measured | None = None) -> _Fitted:
        measured = measure(plan) if known is None else known
        seconds = left(plan)
        steps = duration.most_steps(plan, facts, measured, seconds=seconds, most=MOST_STEPS)
        enough = duration.seconds_of(plan, facts, measured, cap=ENOUGH) / max(seconds, 1e-3)
        return _Fitted(plan.with_recipe(max_steps=max(1, steps)), measured, steps, enough)

    found = _climbed(plans, fitted)
    plan, measured = found.plan, found.measured
    if chosen and found.is_like(plans[-1]) and found.enough * LEAST_TIMES < 1:
        taught = fitted(_plans_on(asked, facts)[-1])
        if taught.steps >= ENOUGH:
            return taught.plan, taught.measured
    if found.steps < FEWEST:
        needed = duration.seconds_of(plan, facts, measured, cap=FEWEST) - left(plan)
        raise ImsegError(
            f"{asked.minutes:g} minutes are not enough for {plan.approach.name} on this machine.",
            expected=f"time for {FEWEST} steps of every network, about"
            f" {math.ceil(((asked.minutes or 0) + needed / 60) / 0.9)} minutes.",
            got=f"{asked.minutes:g} minutes, less what reading images and measuring took.",
            hint="more --minutes, or a smaller --image-size or --width.",
        )
    return plan, measured


def _plans_on(asked: Settings, facts: Facts) -> list[Plan]:
    """Return the plan of each size, without repetitions, for what is left open."""
    base = asked.but(max_steps=MOST_STEPS)
    approach = asked.composition
    if asked.networks is None:
        least = max(asked.mask_scorers or 0, asked.teachers or 2)
        base = base.but(networks=1 if approach.pseudo_label is None else least)
    if asked.generations is None and approach.generations > 1:
        base = base.but(generations=1)
    fixed = "width" in asked.given or not hasattr(approach.network, "width")
    found: dict[Settings, Plan] = {}
    for each in SIZES:
        settings = base
        if asked.image_size is None:
            size = working_shape(facts.typical_size, longest=each.longest, least=SMALLEST_SIDE)
            settings = settings.but(image_size=size)
        if not fixed:
            settings = settings.but(width=each.width)
        if settings not in found:
            found[settings] = make_plan(settings, facts)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A plan with as many steps as there is time for."""

    plan: Plan
    measured: Measured
    steps: int
    """Of every network; 0 if there is time for none."""
    enough: float
    """The share of the time that enough steps take."""

    def is_like(self, plan: Plan) -> bool:
        """Return whether images and networks are those of another plan."""
        return plan.image_size == self.plan.image_size and plan.network == self.plan.network


def _climbed(plans: list[Plan], fitted: Callable[..., _Fitted]) -> _Fitted:
    """Return the last of some plans that has time for enough steps, else the first."""
    found, at = fitted(plans[0]), 0
    for number, plan in enumerate(plans):
        dearer = (_operations(plan) / _operations(plans[0])) ** COST_EXPONENT
        if found.enough * dearer <= 1:
            at = number
    while at > 0:  # what was guessed is measured
        better = fitted(plans[at])
        if better.steps >= ENOUGH:
            return better
        at -= 1
    return fitted(plans[0], found.measured)  # in the time that measuring has left


def _operations(plan: Plan) -> float:
    height, width = plan.image_size
    return height * width * plan.network.relative_width**2
