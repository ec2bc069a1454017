"""What a run says about itself before and after it trains."""

from __future__ import annotations

from collections.abc import Sequence

from imseg.approaches.plan import Plan
from imseg.approaches.schedule import Facts, planned_stages, planned_steps
from imseg.approaches.stage import Stage


def announce_plan(plan: Plan, facts: Facts, seconds: float | None) -> str:
    """Return one sentence about what is going to happen."""
    stages = f"{plan.start_networks} networks"
    if plan.generations:
        stages += f", then {plan.generations} x {plan.networks}"
    # Judges and those that they learn from too, which are trained aside.
    networks = sum(stage.networks for stage in planned_stages(plan, facts))
    each = planned_steps(plan, facts) // networks
    text = (
        f"{plan.approach}: {stages} of width {plan.width:g} at {plan.image_size[0]}x"
        f"{plan.image_size[1]} px, about {each} steps each, seed {plan.seed}, {plan.precision},"
        f" {plan.workers} side by side on {plan.device}."
    )
    if seconds is not None:
        minutes = max(1, round(seconds * 1.15 / 60))
        text += f" Measured on this machine, that takes about {minutes} min."
    return text


def start_was_better(stages: Sequence[Stage], final: Stage) -> str:
    """Return that the start was better than the stage the network of the run is from.

    Args:
        stages: All stages, the start first.
        final: The stage that was chosen.
    """
    start, best = stages[0].best, final.best
    metric = stages[0].metric
    here, there = (metric.number(network.scores[metric.key]) for network in (best, start))
    return (
        f"on validation {final.name} is not better than the start ({here} against {there}):"
        f" unlabeled images have not helped here. The network of the run is that of {final.name};"
        f" --network {start.name} evaluates the other."
    )
