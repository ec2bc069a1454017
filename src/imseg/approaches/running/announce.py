"""What a run says about itself before and after it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.stages import planned_stages, planned_steps
from imseg.approaches.running.stage import Stage

LITTLE = 0.2
"""Rank correlation on validation images below which mask scorers are not worth much."""


def announce_plan(plan: Plan, facts: Facts, seconds: float | None) -> str:
    """Return one sentence about what is going to happen."""
    approach, compute = plan.approach, plan.compute
    planned = planned_stages(plan, facts)
    aside = {stage.name: stage.networks for stage in planned}
    stages = f"{aside['start']} networks"
    if "scorer-start" in aside:
        stages += f" and {aside['scorer-start']} that mask scorers learn from"
    if "scorers" in aside:
        stages += f", {aside['scorers']} mask scorers"
    if approach.generations:
        stages += f", then {approach.generations} x {approach.networks}"
    # Mask scorers and those that they learn from too, which are trained aside.
    each = planned_steps(planned) // sum(stage.networks for stage in planned)
    name, width = approach.network.kind, approach.network.relative_width
    widest = max(stage.width for stage in planned if not stage.scores_masks)
    of_width = f" of width {width:g}" if hasattr(approach.network, "width") else ""
    growing = f" growing to {widest:g}" if widest > width else ""
    named = "" if name in ("unet", "paper-unet") else f" ({name})"
    precision = f"{compute.precision}, compiled" if compute.compile else compute.precision
    text = (
        f"{approach.name}: {stages}{named}{of_width}{growing} at {plan.image_size[0]}x"
        f"{plan.image_size[1]} px, about {each} steps each, seed {plan.seed}, {precision},"
        f" {plan.workers} side by side on {compute.device}."
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
    """Return how far the mask scorers of a run can be trusted, and when they are content.

    Args:
        judgment: The content of ``judgment.json``.
    """
    low, high = judgment["thresholds"]
    found = judgment["rank_correlation"]
    text = (
        f"mask scorers: on {judgment['samples']} masks of validation images their score is off"
        f" by {judgment['mae']:.3f} on average, rank correlation with the true one {found:.2f} (0"
        f" is guessing, 1 perfect); good from {low:.3f}, very good from {high:.3f}"
    )
    if found < LITTLE:
        text += ". They hardly know good masks from bad ones; longer training or more labels help"
    return text
