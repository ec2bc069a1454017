"""What a run says about itself before and after it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.stages import Facts, planned_stages, planned_steps
from imseg.approaches.running.stage import Stage

LITTLE = 0.2
"""Rank correlation on validation images below which judges are not worth much."""


def announce_plan(plan: Plan, facts: Facts, seconds: float | None) -> str:
    """Return one sentence about what is going to happen."""
    planned = planned_stages(plan, facts)
    stages = f"{plan.start_networks} networks"
    aside = {stage.name: stage.networks for stage in planned}
    if "judge-start" in aside:
        stages += f" and {aside['judge-start']} that judges learn from"
    if "judges" in aside:
        stages += f", {aside['judges']} judges of masks"
    if plan.generations:
        stages += f", then {plan.generations} x {plan.networks}"
    # Judges and those that they learn from too, which are trained aside.
    each = planned_steps(plan, facts) // sum(stage.networks for stage in planned)
    widest = max(stage.wider for stage in planned) * plan.width
    growing = f" growing to {widest:g}" if widest > plan.width else ""
    precision = f"{plan.precision}, compiled" if plan.compile else plan.precision
    text = (
        f"{plan.approach}: {stages} of width {plan.width:g}{growing} at {plan.image_size[0]}x"
        f"{plan.image_size[1]} px, about {each} steps each, seed {plan.seed}, {precision},"
        f" {plan.workers} side by side on {plan.device}."
    )
    if seconds is not None:
        minutes = max(1, round(seconds / 60))
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


def calibration_in_words(judgment: Mapping[str, Any]) -> str:
    """Return how far the judges of a run can be trusted, and when they are content.

    Args:
        judgment: The content of ``judgment.json``.
    """
    low, high = judgment["thresholds"]
    found = judgment["rank_correlation"]
    text = (
        f"judges of masks: on {judgment['samples']} masks of validation images their score is off"
        f" by {judgment['mae']:.3f} on average, rank correlation with the true one {found:.2f} (0"
        f" is guessing, 1 perfect); good from {low:.3f}, very good from {high:.3f}"
    )
    if found < LITTLE:
        text += ". They hardly know good masks from bad ones; longer training or more labels help"
    return text
