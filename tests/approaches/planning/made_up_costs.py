"""Costs that were never measured, for tests of what follows from them."""

from __future__ import annotations

from typing import Any

from imseg.approaches.planning.duration import Measured
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.stage_plan import planned_stages
from imseg.engine.hardware.benchmark import BenchmarkResult


class EveryStage(dict[str, BenchmarkResult]):
    """The same costs for whatever stage is asked about."""

    def __init__(self, cost: BenchmarkResult) -> None:
        super().__init__(start=cost)
        self._cost = cost

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> BenchmarkResult:
        return self._cost


def paid(cost: BenchmarkResult, *, start_up: float = 0.0) -> Measured:
    """Return that every network costs the same."""
    return Measured(stages=EveryStage(cost), side_by_side=1, start_up=start_up)


def pace(step: float, *, validation: float | None = None, **more: float) -> BenchmarkResult:
    """Return a network that predicts an image in a third of the time of learning from it, in 32."""
    look = step / 3 / 32
    each = look if validation is None else validation
    return BenchmarkResult(**{"step": step, "validation": each, "prediction": look, **more})


def costs(step: float, *, start_up: float = 0.0, **more: float) -> Measured:
    """Return what networks cost that are all alike."""
    return paid(pace(step, **more), start_up=start_up)


def rising(
    step: float, plan: Plan, facts: Facts, *, power: float = 1.5, start_up: float = 0.0, **more: Any
) -> Measured:
    """Return what growing networks cost; of generations, the first and the last are measured."""
    stages = planned_stages(plan, facts)
    generations = [stage for stage in stages if stage.is_generation]
    chosen = [stage for stage in stages if not stage.is_generation]
    chosen += [*generations[:1], *generations[-1:]]
    base = stages[0].width
    found = {each.name: pace(step * (each.width / base) ** power, **more) for each in chosen}
    return Measured(stages=found, side_by_side=1, start_up=start_up)
