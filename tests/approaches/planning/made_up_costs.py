"""Costs that nobody measured, for tests of what follows from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from imseg.approaches.planning.measured import Measured, Pace
from imseg.approaches.planning.plan import Plan

FREE = Pace(width=0.5, step=0.0, small_step=0.0, validation=0.0, prediction=0.0)
NOTHING = Measured(
    narrow=FREE,
    wide=FREE,
    scorer=None,
    side_by_side=1,
    alone=1.0,
    gather=0.0,
    copy=0.0,
    decision=0.0,
    first=0.0,
    aside=0.0,
    start_up=0.0,
    memory=0,
    device_memory=0,
)
"""All is free."""


def pace(step: float, *, width: float = 0.5, look: float | None = None) -> Pace:
    """Return networks whose looks at an image cost a third of learning from it, in 32 at once."""
    look = step / 3 / 32 if look is None else look
    return Pace(width=width, step=step, small_step=step / 4, validation=look, prediction=look)


def costs(step: float, **more: Any) -> Measured:
    """Return what networks cost that are all alike."""
    one = pace(step)
    return replace(NOTHING, **{"narrow": one, "wide": one, "judge": one, **more})


def rising(step: float, plan: Plan, *, power: float = 1.5) -> Measured:
    """Return what growing networks cost, up to four times the base width."""
    wide = pace(step * 4**power, width=4 * plan.width)
    return costs(step, narrow=pace(step, width=plan.width), wide=wide)
