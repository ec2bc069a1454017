"""How many networks are trained side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.methods.paper import PAPER
from imseg.approaches.planning.duration import seconds_of
from imseg.approaches.planning.measured import Measure, Measured
from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.settings import SMALLEST_SIDE, Blocking, Effort, Settings
from imseg.approaches.planning.stages import Facts, first_of, planned_stages
from imseg.engine.hardware.device import resolve_device, resolve_precision, usable_cores
from imseg.engine.hardware.memory import free_device_memory, training_bytes
from imseg.engine.training.job import NetworkSpec, Recipe
from imseg.engine.training.networks import NetworkFactory
from imseg.types import Kind

MOST_ON_GPU = 5
"""Networks that share a GPU at most. One alone leaves it idle between its kernels; with a few the
gaps are filled. See docs/decisions/0022-several-networks-on-one-gpu.md."""
CONTEXT = 700 * 2**20
"""Bytes of GPU memory that a process takes before it trains anything."""
SHARE = 0.8
"""Share of the free GPU memory that is planned with."""


def workers_for(
    asked: int | None, plan: Plan, facts: Facts, factory: NetworkFactory | None = None
) -> int:
    """Return how many networks are trained side by side: what was asked for, or what pays.

    Args:
        asked: What was asked for.
        plan: What will be done, whoever does it.
        facts: What the data is like.
        factory: The user's own network, which other processes could not make by its name.
    """
    kind = torch.device(plan.device).type
    if factory is not None or kind not in ("cpu", "cuda"):
        return 1
    if asked:
        return asked
    wanted = min(usable_cores(), max(plan.start_networks, plan.networks))
    if kind == "cpu":
        return wanted
    free = free_device_memory(plan.device) or 0
    return on_gpu(wanted, free=free, each=_bytes_of(plan, facts))


def on_gpu(wanted: int, *, free: int, each: int) -> int:
    """Return how many of so many networks share a GPU, at least one.

    Args:
        wanted: Networks of a stage, or processor cores if they are fewer.
        free: Bytes that are free on it.
        each: Bytes that the training of one takes.
    """
    fitting = int(SHARE * free // (each + CONTEXT))
    return max(1, min(wanted, MOST_ON_GPU, fitting))


def _bytes_of(plan: Plan, facts: Facts) -> int:
    """Return the bytes of the widest network; a judge takes less than a network of its width."""
    widths = [
        plan.judge_width if stage.judges else plan.width * stage.wider
        for stage in planned_stages(plan, facts)
    ]
    spec = NetworkSpec(channels=facts.channels, outputs=facts.outputs, width=max(widths))
    shape = (plan.batch_size, facts.channels, *plan.image_size)
    return training_bytes(spec, plan.compute, (shape,))


BUDGET_SECONDS = 50 * 60
"""Time that ``standard`` aims at; decoding comes on top."""
ENOUGH_STEPS = 500
"""Steps that few labels get under ``standard``, by more epochs than the paper's 50."""
MOST_STEPS = 3000
"""Steps above which ``standard`` stops spending time it has."""
STEPS_ROUNDED_TO = 50
"""Steps are rounded down to multiples of this, so that small differences of timing change
nothing."""
PATIENCE = 2
"""Generations without a rise on validation after which a run ends, if nothing else is asked for."""
LONGEST_SIDE = {"quick": 96, "standard": 128, "paper": 256}
"""Pixels to which the longer side of images is limited on a CPU; on a GPU it is always 256."""
LONGEST_SIDE_ON_GPU = 256


def make_plan(
    settings: Settings,
    facts: Facts,
    *,
    factory: NetworkFactory | None = None,
    measure: Measure | None = None,
) -> tuple[Plan, Measured | None]:
    """Return the plan, and what was measured to fit it to a budget of time (None: nothing).

    Args:
        settings: What was asked for.
        facts: What the data is like.
        factory: The user's own network.
        measure: Finds out what networks cost on this machine; None: nothing is measured, and where
            steps depend on it, they are the most that there can be.
    """
    approach = find_approach(settings.approach)
    published = PAPER[settings.paper] if settings.paper else None
    device = resolve_device(settings.device)
    on_cpu = device == "cpu"
    budget = _budget(settings, approach, facts, device)
    base = Plan(
        approach=approach.name,
        effort=settings.effort,
        paper=settings.effort == "paper",
        published=settings.paper,
        seed=settings.seed,
        task=facts.task,
        device=device,
        precision=resolve_precision(settings.precision, device),
        threads=1,
        workers=1,
        channels_last=True,
        compile=settings.compile == "on",
        limit_unlabeled=settings.limit_unlabeled,
        erode=settings.erode or 0,
        dilate=settings.dilate or 0,
        grow_labels=_grow_labels(settings),
        blocking=_blocking(settings),
        ignore=_ignores(settings),
        block_color=settings.block_color or "black",
        reblock=settings.reblock,
        fresh_copies=bool(settings.fresh_copies),
        rung=settings.rung,
        select=settings.select or "paper",
        teachers=_teachers(settings, approach),
        patience=_patience(settings, approach),
        vote=settings.vote,
        views=settings.views,
        plain_view=_plain_view(settings, approach),
        validate_every=settings.validate_every or (1 if settings.effort == "paper" else 0),
        judges=settings.judges,
        consistency_weight=settings.consistency_weight,
        consistency_ramp=settings.consistency_ramp,
        consistency_level=settings.consistency_level,
        thresholds=settings.thresholds or (published.thresholds if published else None),
        ladder=settings.ladder or "default",
        rotate=_rotates(settings, facts.task),
        **budget,
    )
    workers = workers_for(settings.workers, base, facts, factory)
    threads = max(1, usable_cores() // workers) if on_cpu else 1
    base = replace(base, workers=workers, threads=threads)
    if not fits_time(settings):
        return base, None
    return _fit_to_time(base, facts, measure)


def fits_time(settings: Settings) -> bool:
    """Return whether the number of steps is chosen by what they cost on this machine."""
    timed = settings.effort == "standard" and settings.match is None
    return timed and settings.max_steps is None


def _budget(settings: Settings, approach: Approach, facts: Facts, device: str) -> dict[str, Any]:
    """Return generations, networks, epochs, steps, size, width and batch size for an effort."""
    quick, paper = settings.effort == "quick", settings.effort == "paper"
    published = PAPER[settings.paper] if settings.paper else None
    wanted = settings.generations or {"quick": 1, "standard": 2, "paper": 5}[settings.effort]
    # An approach of one stage, or of one generation, is what it is.
    generations = wanted if approach.generations > 1 else approach.generations
    start = 10 if paper and settings.match is None else 5 if paper else 2 if quick else 3
    later = 5 if paper else 2 if quick else 3
    least = max(settings.judges or 0, settings.teachers or 2) if approach.pseudo_label else 1
    batch_size = settings.batch_size or 32
    recipe = Recipe(batch_size=batch_size, paper=paper)
    longest = LONGEST_SIDE[settings.effort] if device == "cpu" else LONGEST_SIDE_ON_GPU
    epochs = settings.epochs or _enough_epochs(
        settings.effort, recipe.steps_per_epoch(facts.labeled * first_of(approach).labeled.samples)
    )
    return {
        "generations": generations,
        "start_networks": settings.networks or max(start, least),
        "networks": settings.networks or max(later, least),
        "epochs": epochs,
        "max_steps": settings.max_steps or (150 if quick else None),
        "image_size": settings.image_size
        or (published.image_size if published else _working_size(facts.typical_size, longest)),
        "width": settings.width or _width(settings, facts),
        "batch_size": batch_size,
    }


def _rotates(settings: Settings, task: Kind) -> bool:
    """Return whether pictures may be turned: scenes of classes and depths have an above."""
    if settings.rotate is not None:
        return settings.rotate
    return PAPER[settings.paper].rotate if settings.paper else task in ("binary", "multilabel")


def _width(settings: Settings, facts: Facts) -> float:
    """Return the paper's alpha of networks that do not grow."""
    if settings.paper:
        return PAPER[settings.paper].widths[0]
    return 1.0 if settings.effort == "paper" and facts.task != "binary" else 0.5


def _blocking(settings: Settings) -> Blocking:
    """Return where inconsistent pixels are made 0; see docs/decisions/0028-defaults.md.

    In the paper in image and label. Who names a color wants the image blocked, and who erodes the
    mask wants something left of what it took off.
    """
    if settings.blocking is not None:
        return settings.blocking
    asked = (settings.block_color, settings.reblock, settings.erode or None)
    wanted = any(each is not None for each in asked)
    return "both" if settings.effort == "paper" or wanted else "none"


def _ignores(settings: Settings) -> bool:
    """Return whether inconsistent pixels have no weight: by default where they are not blocked."""
    if settings.ignore is not None:
        return settings.ignore
    return settings.blocking is None and _blocking(settings) == "none"


def _teachers(settings: Settings, approach: Approach) -> int:
    """Return how many networks vote; 0 where all do, or none does."""
    labeler = approach.pseudo_label
    return settings.teachers or (labeler.teachers or 0 if labeler else 0)


def _patience(settings: Settings, approach: Approach) -> int:
    """Return generations without a rise after which a run ends; 0: never."""
    if settings.patience is not None:
        return settings.patience
    return 0 if settings.effort == "paper" or approach.generations < 2 else PATIENCE


def _grow_labels(settings: Settings) -> bool:
    """Return whether labels are dilated: as the reference does whenever it erodes the mask."""
    if settings.grow_labels is not None:
        return settings.grow_labels
    return settings.effort == "paper" and bool(settings.erode)


def _plain_view(settings: Settings, approach: Approach) -> bool | None:
    """Return whether the image as it is votes; in the reference it does not."""
    if settings.plain_view is not None or "plain_view" not in approach.options:
        return settings.plain_view
    return settings.effort != "paper"


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


def _fit_to_time(plan: Plan, facts: Facts, measure: Measure | None) -> tuple[Plan, Measured | None]:
    """Return the plan with as many steps as the time budget allows, and what was measured.

    The size of images does not depend on the measurement: runs of one data set stay comparable.
    """
    if measure is None:
        return replace(plan, max_steps=MOST_STEPS), None
    measured = measure(plan)
    caps = range(MOST_STEPS, 0, -STEPS_ROUNDED_TO)
    fitting = (cap for cap in caps if seconds_of(plan, facts, measured, cap=cap) <= BUDGET_SECONDS)
    return replace(plan, max_steps=next(fitting, STEPS_ROUNDED_TO)), measured
