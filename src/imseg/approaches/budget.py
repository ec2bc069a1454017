"""How much is trained: chosen from what was asked for, from the data, and from this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from imseg.approaches.approach import Approach
from imseg.approaches.catalog import find_approach
from imseg.approaches.plan import Plan
from imseg.approaches.settings import SMALLEST_SIDE, Effort, Settings
from imseg.engine.device import resolve_device, resolve_precision, usable_cores
from imseg.engine.job import NetworkSpec, Recipe
from imseg.engine.networks import NetworkFactory
from imseg.engine.probe import seconds_per_step

BUDGET_SECONDS = 50 * 60
"""Training time that ``standard`` aims at; decoding, pseudo-labels and validation come on top."""
ENOUGH_STEPS = 500
"""Steps that few labels get under ``standard``, by more epochs than the paper's 50."""
MOST_STEPS = 3000
"""Steps above which ``standard`` stops spending time it has."""
STEPS_ROUNDED_TO = 50
"""Steps are rounded down to multiples of this, so that small differences of timing change
nothing."""
LONGEST_SIDE = {"quick": 96, "standard": 128, "paper": 256}
"""Pixels to which the longer side of images is limited on a CPU; on a GPU it is always 256."""
LONGEST_SIDE_ON_GPU = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a plan needs to know about the data."""

    task: str
    """The kind of target."""
    labeled: int
    """Labeled images that are trained on."""
    validation: int
    """Images that are chosen by."""
    unlabeled: int
    """Unlabeled images."""
    channels: int
    """Image channels."""
    outputs: int
    """Network outputs."""
    typical_size: tuple[int, int]
    """Median height and width of the labeled images in pixels."""


def make_plan(
    settings: Settings, facts: Facts, *, factory: NetworkFactory | None = None
) -> tuple[Plan, float | None]:
    """Return the plan, and the training seconds it was measured to need (None: not measured).

    Args:
        settings: What was asked for.
        facts: What the data is like.
        factory: The user's own network.
    """
    approach = find_approach(settings.approach)
    device = resolve_device(settings.device)
    on_cpu = device == "cpu"
    budget = _budget(settings, approach, facts, device)
    side_by_side = min(usable_cores(), max(budget["start_networks"], budget["networks"]))
    workers = settings.workers or (side_by_side if on_cpu and factory is None else 1)
    base = Plan(
        approach=approach.name,
        effort=settings.effort,
        paper=settings.effort == "paper",
        seed=settings.seed,
        task=facts.task,
        device=device,
        precision=resolve_precision(settings.precision, device),
        threads=max(1, usable_cores() // workers) if on_cpu else 1,
        workers=workers,
        channels_last=True,
        limit_unlabeled=settings.limit_unlabeled,
        erode=settings.erode or 0,
        dilate=settings.dilate or 0,
        blocking=settings.blocking or "both",
        ignore=bool(settings.ignore),
        select=settings.select or "paper",
        teachers=settings.teachers
        or (approach.pseudo_label.teachers if approach.pseudo_label else 0),
        ladder=settings.ladder or "default",
        rotate=_rotates(facts.task) if settings.rotate is None else settings.rotate,
        **budget,
    )
    timed = settings.effort == "standard" and settings.match is None
    measured = timed and settings.max_steps is None
    return _fit_to_time(base, facts, factory) if measured else (base, None)


def _budget(settings: Settings, approach: Approach, facts: Facts, device: str) -> dict[str, Any]:
    """Return generations, networks, epochs, steps, size, width and batch size for an effort."""
    quick, paper = settings.effort == "quick", settings.effort == "paper"
    several = bool(approach.pseudo_label)
    generations = settings.generations or {"quick": 1, "standard": 2, "paper": 5}[settings.effort]
    start = 10 if paper and settings.match is None else 5 if paper else 2 if quick else 3
    later = 5 if paper else 2 if quick else 3
    least = settings.teachers or 2 if several else 1
    batch_size = settings.batch_size or 32
    recipe = Recipe(batch_size=batch_size, paper=paper)
    longest = LONGEST_SIDE[settings.effort] if device == "cpu" else LONGEST_SIDE_ON_GPU
    epochs = settings.epochs or _enough_epochs(
        settings.effort, recipe.steps_per_epoch(facts.labeled * _first(approach).labeled.samples)
    )
    return {
        "generations": generations if several else 0,
        "start_networks": settings.networks or max(start, least),
        "networks": settings.networks or max(later, least),
        "epochs": epochs,
        "max_steps": settings.max_steps or (150 if quick else None),
        "image_size": settings.image_size or _working_size(facts.typical_size, longest),
        "width": settings.width or (1.0 if paper and facts.task != "binary" else 0.5),
        "batch_size": batch_size,
    }


def _first(approach: Approach) -> Approach:
    """Return the approach that trains the first networks."""
    return approach.start or approach


def _rotates(task: str) -> bool:
    """Return whether pictures may be turned: scenes of classes and depths have an above."""
    return task in ("binary", "multilabel")


def _enough_epochs(effort: Effort, steps_per_epoch: int) -> int:
    """Return the paper's 50 epochs, or more where few labels would give too few steps."""
    if effort == "paper":
        return 50
    wanted = 150 if effort == "quick" else ENOUGH_STEPS
    return max(50, -(-wanted // steps_per_epoch))


def _working_size(typical: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return a size of the same shape, in multiples of 16, with a limited longer side."""
    scale = min(1.0, longest / max(typical))
    height, width = (max(SMALLEST_SIDE, round(side * scale / 16) * 16) for side in typical)
    return height, width


def _fit_to_time(plan: Plan, facts: Facts, factory: NetworkFactory | None) -> tuple[Plan, float]:
    """Return the plan with as many steps as the time budget allows, and the seconds they take.

    The size of images does not depend on the measurement: runs of one data set stay comparable.
    """
    cost = seconds_per_step(
        NetworkSpec(channels=facts.channels, outputs=facts.outputs, width=plan.width),
        plan.numerics,
        size=plan.image_size,
        batch_size=plan.batch_size,
        workers=plan.workers,
        factory=factory,
    )
    caps = range(MOST_STEPS, 0, -STEPS_ROUNDED_TO)
    fitting = (cap for cap in caps if _seconds(plan, facts, cap, cost) <= BUDGET_SECONDS)
    affordable = next(fitting, STEPS_ROUNDED_TO)
    return replace(plan, max_steps=affordable), _seconds(plan, facts, affordable, cost)


def _seconds(plan: Plan, facts: Facts, cap: int, cost: float) -> float:
    """Return the training time of all stages; a stage lasts as long as its fullest worker."""
    total = 0.0
    for networks, steps, in_epoch in _stages(plan, facts, cap):
        # Looking at an image costs about a third of learning from it.
        validation = steps / in_epoch * facts.validation / 3 / plan.batch_size
        rounds = -(-networks // plan.workers)
        total += rounds * (steps + validation) * cost
    return total


def _stages(plan: Plan, facts: Facts, cap: int) -> list[tuple[int, int, int]]:
    """Return networks, steps of each and steps an epoch, if all pseudo-labels are admitted."""
    recipe = replace(plan.recipe, max_steps=cap)
    approach = find_approach(plan.approach)
    unlabeled = min(facts.unlabeled, plan.limit_unlabeled or facts.unlabeled)
    first = facts.labeled * _first(approach).labeled.samples
    first += unlabeled if approach.labeled.hidden_too else 0
    stages = [(plan.start_networks, first)]
    later = facts.labeled * approach.labeled.samples + unlabeled
    stages += [(plan.networks, later)] * plan.generations
    return [
        (networks, recipe.steps(images), recipe.steps_per_epoch(images))
        for networks, images in stages
    ]


def planned_steps(plan: Plan, facts: Facts) -> int:
    """Return the optimizer steps of all networks together, if all pseudo-labels are admitted."""
    return sum(n * steps for n, steps, _ in _stages(plan, facts, plan.max_steps or 10**9))
