"""Trainings for so many minutes: how large images are, how wide networks, and how many steps."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imseg.approaches.planning import duration
from imseg.approaches.planning.budget import make_plan, tiles_for
from imseg.approaches.planning.duration import Measured
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.run_options import SMALLEST_SIDE
from imseg.approaches.planning.settings import Settings
from imseg.data.doubts.small_objects import working_shape
from imseg.errors import ImsegError

MOST_STEPS = 5000
"""Steps above which a network gains nothing more; time that is left then is not spent."""
LONG = 2000
"""Steps that every network gets before it is taken wider."""
ENOUGH = 400
"""Steps that every network gets before images are taken larger or networks wider: 300 steps at 192
px are worth more for nuclei than 1,000 at 96 px, at equal time."""
WIDE = 9.0
"""Pixels of the narrowest tenth of the objects from which on whole images are large enough: where
they are 9.5 or 13.5 px wide larger images gave less in the same time, at 4.3 px they gave more."""
PLAIN = 128
"""Pixels of the longer side that are enough where objects are large, or their size is not known."""
FEWEST = 50
"""Steps below which a training is not worth beginning."""
COST_EXPONENT = 0.85
"""Seconds of a step grow with its operations to this power; between 96 and 256 px and widths .5 and
1, measured on a processor."""
LEAST_TIMES = 3
"""How many times as long as labels alone a training takes at least that tries both."""
FEW_LABELS = 30
"""Labeled images up to which unlabeled ones are tried before networks are taken wider. With 10 and
with 30 they were worth more than anything labels alone make of the same time, if there is time for
``LONG`` steps; in half of it they were not. See benchmarks/RESULTS.md, "What unlabeled images
add"."""
SPARED = 0.06
"""Share of the time that is left for what is not foreseen: costs vary while a run goes on."""
ENDING = 15.0
"""Seconds that are left for the last validation and the report."""


SIDES = (96, 128, 192, 256, 384, 512)
"""Pixels of the longer side at which networks work, unless images are smaller: the more time, the
larger, as far as objects need it. Measured in benchmarks/RESULTS.md, "What minutes buy"."""
WIDTH, WIDER = 0.5, 1.0
"""How wide networks are, and how wide where a long training has time for it."""


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

    With few labels they are tried sooner; what is better on validation is handed over (``auto``).

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
        return next(iter(plans)).with_recipe(max_steps=MOST_STEPS), None

    def fitted(plan: Plan, known: Measured | None = None) -> _Fitted:
        measured = measure(plan) if known is None else known
        seconds = left(plan)
        steps = duration.most_steps(plan, facts, measured, seconds=seconds, most=MOST_STEPS)
        share = duration.seconds_of(plan, facts, measured, cap=ENOUGH) / max(seconds, 1e-3)
        return _Fitted(plan.with_recipe(max_steps=max(1, steps)), measured, steps, share / ENOUGH)

    found = _best(plans, fitted)
    plan, measured = found.plan, found.measured
    few = facts.labeled <= FEW_LABELS
    if chosen and facts.unlabeled > facts.labeled and (few or found.is_like(list(plans)[-1])):
        every = list(_plans_on(asked.but(approach="auto"), facts))
        alike = next(each for each in every if each.image_size == plan.image_size)
        for both in [every[-1], alike] if few else [every[-1]]:
            dearer = (_operations(both) / _operations(plan)) ** COST_EXPONENT
            if found.share * dearer * LONG * LEAST_TIMES < 1:
                tried = fitted(both)
                if tried.steps >= LONG:
                    return tried.plan, tried.measured
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


def _plans_on(asked: Settings, facts: Facts) -> dict[Plan, int]:
    """Return plans from the cheapest to the best, each with the steps from which on it is better.

    What was asked for by name is the same in all.
    """
    base = asked.but(max_steps=MOST_STEPS)
    approach = asked.composition
    if asked.networks is None:
        least = max(asked.mask_scorers or 0, asked.teachers or 2)
        base = base.but(networks=1 if approach.pseudo_label is None else least)
    if asked.generations is None and approach.generations > 1:
        base = base.but(generations=1)
    fixed = "width" in asked.given or not hasattr(approach.network, "width")
    base = base if fixed else base.but(width=WIDTH)
    found = {make_plan(each, facts): ENOUGH for each in _sized(base, facts)}
    if not fixed:
        wider = make_plan(
            base.but(width=WIDER, image_size=_sized(base, facts)[-1].image_size), facts
        )
        found[wider] = LONG
    return found


def _sized(asked: Settings, facts: Facts) -> list[Settings]:
    """Return settings with image sizes that rise as far as objects need it."""
    if asked.image_size is not None or tiles_for(asked, facts) is not None:
        return [asked]
    needed = PLAIN if facts.narrow is None else max(PLAIN, WIDE / facts.narrow)
    smaller = [side for side in SIDES if side < needed]
    sides = [*smaller, *SIDES[len(smaller) :][:1]]
    sizes = (working_shape(facts.typical_size, longest=e, least=SMALLEST_SIDE) for e in sides)
    return [asked.but(image_size=size) for size in dict.fromkeys(sizes)]


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A plan with as many steps as there is time for."""

    plan: Plan
    measured: Measured
    steps: int
    """Of every network; 0 if there is time for none."""
    share: float
    """The share of the time that a step takes."""

    def is_like(self, plan: Plan) -> bool:
        """Return whether images and networks are those of another plan."""
        return plan.image_size == self.plan.image_size and plan.network == self.plan.network


def _best(plans: Mapping[Plan, int], fitted: Callable[..., _Fitted]) -> _Fitted:
    """Return the last of some plans that has time for enough steps, else the first."""
    every = list(plans)
    found, at = fitted(every[0]), 0
    for number, (plan, steps) in enumerate(plans.items()):
        dearer = (_operations(plan) / _operations(every[0])) ** COST_EXPONENT
        if found.share * dearer * steps <= 1:
            at = number
    for plan in every[at:0:-1]:  # what was guessed is measured
        better = fitted(plan)
        if better.steps >= plans[plan]:
            return better
    return fitted(every[0], found.measured)  # in the time that measuring has left


def _operations(plan: Plan) -> float:
    height, width = plan.image_size
    return height * width * plan.network.relative_width**2
