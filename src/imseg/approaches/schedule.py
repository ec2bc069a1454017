"""How much a plan trains: the networks of each stage, their steps, and what a step costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from imseg.approaches.approach import Approach
from imseg.approaches.catalog import find_approach
from imseg.approaches.plan import Plan
from imseg.engine.job import Recipe
from imseg.stages.quality import enough_for_judges
from imseg.types import Kind

JUDGE_SECONDS, JUDGE_OPERATIONS = 1.2, 1.64
"""What a judge's step costs, as a multiple of a step of a network of the base width; measured at
64 and 128 px, one head, one thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a plan needs to know about the data."""

    task: Kind
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """The networks of a stage, if all pseudo-labels are admitted."""

    name: str
    """``start``, ``judge-start``, ``judges`` or ``generation-K``."""
    networks: int
    """How many."""
    steps: int
    """Optimizer steps of each."""
    epoch: int
    """Optimizer steps between two looks at the validation images."""
    wider: float = 1.0
    """How wide its networks are, as a multiple of the base width."""
    judges: bool = False
    """Whether they are judges of masks."""
    looks: float = 1.0
    """Passes of an image through the network in a step, on average; two views are two."""

    @property
    def seconds(self) -> float:
        """Seconds of a step, as a multiple of a step of a network of the base width."""
        return JUDGE_SECONDS if self.judges else self.looks * float(self.wider**1.5)

    @property
    def operations(self) -> float:
        """Operations of a step, as a multiple of a step of a network of the base width."""
        return JUDGE_OPERATIONS if self.judges else self.looks * self.wider**2


def planned_stages(plan: Plan, facts: Facts, *, cap: int | None = None) -> list[PlannedStage]:
    """Return the stages of a plan.

    Args:
        plan: What will be done.
        facts: What the data is like.
        cap: Most steps of any network; None for the plan's own.
    """
    plan = plan if cap is None else replace(plan, max_steps=cap)
    recipe, approach = plan.recipe, find_approach(plan.approach)
    first = first_of(approach)
    samples = facts.labeled * first.labeled.samples
    samples += _unlabeled(plan, facts) if approach.labeled.hidden_too else 0
    seen = facts.validation

    def looked_at(recipe: Recipe, samples: int, validation: int = seen) -> Recipe:
        return plan.looked_at(recipe, samples=samples, validation=validation)

    stages = [_stage("start", plan.start_networks, looked_at(recipe, samples), samples)]
    if approach.judge_start is not None:
        further = facts.labeled * approach.judge_start.labeled.samples
        further_recipe = looked_at(recipe, further)
        stages.append(_stage("judge-start", plan.start_networks, further_recipe, further))
    if approach.judge is not None and enough_for_judges(facts.labeled, facts.validation):
        judged = replace(recipe, epochs=min(plan.epochs, approach.judge.epochs))
        predictions = 2 * plan.start_networks + 1  # by both starts, and the truth
        rounds = predictions if approach.judge_start is not None else approach.judge.rounds
        count = facts.labeled * rounds
        judged = looked_at(judged, count, seen * approach.judge.rounds_validation)
        stages.append(_stage("judges", plan.networks, judged, count, judges=True))
    for generation in range(1, plan.generations + 1):
        wider = plan.width_in(generation, growing=approach.growing) / plan.width
        name = f"generation-{generation}"
        stages.append(_generation(name, plan, approach, facts, wider=wider))
    return stages


def _generation(
    name: str, plan: Plan, approach: Approach, facts: Facts, *, wider: float
) -> PlannedStage:
    recipe, unlabeled = generation_recipe(plan, facts), _unlabeled(plan, facts)
    labeled = facts.labeled * approach.labeled.samples
    if approach.objective is not None:
        pairs = recipe.steps_per_epoch(unlabeled)
        both = recipe.steps_per_epoch(labeled) + pairs
        return PlannedStage(
            name=name,
            networks=plan.networks,
            steps=min(recipe.epochs * both, recipe.max_steps or recipe.epochs * both),
            epoch=both // 2 or 1,  # it looks at the validation images after either pass
            wider=wider,
            looks=1 + pairs / both,
        )
    each = 1.0
    if approach.augment is not None:
        each = approach.augment.typical + approach.augment.keep_plain
    samples = labeled + round(unlabeled * each)
    recipe = plan.looked_at(recipe, samples=samples, validation=facts.validation)
    return _stage(name, plan.networks, recipe, samples, wider=wider)


def generation_recipe(plan: Plan, facts: Facts) -> Recipe:
    """Return how the networks of a generation are trained."""
    approach = find_approach(plan.approach)
    times = 1 if approach.objective is None else approach.objective.epochs_times
    full = facts.labeled + facts.unlabeled
    least = int(plan.least_share * (full // plan.batch_size))
    return replace(plan.recipe, epochs=plan.epochs * times, least_steps=max(1, least))


def _unlabeled(plan: Plan, facts: Facts) -> int:
    """Return how many unlabeled images are used."""
    return min(facts.unlabeled, plan.limit_unlabeled or facts.unlabeled)


def _stage(
    name: str,
    networks: int,
    recipe: Recipe,
    samples: int,
    *,
    wider: float = 1.0,
    judges: bool = False,
) -> PlannedStage:
    return PlannedStage(
        name=name,
        networks=networks,
        steps=recipe.steps(samples),
        epoch=recipe.steps_per_epoch(samples) * recipe.validate_every,
        wider=wider,
        judges=judges,
    )


def first_of(approach: Approach) -> Approach:
    """Return the approach that trains the first networks."""
    return approach.start or approach


def planned_steps(plan: Plan, facts: Facts) -> int:
    """Return the optimizer steps of all networks together, if all pseudo-labels are admitted."""
    return sum(stage.networks * stage.steps for stage in planned_stages(plan, facts))


def seconds_of(plan: Plan, facts: Facts, cap: int, cost: float) -> float:
    """Return the training time of all stages; a stage lasts as long as its fullest worker.

    Args:
        plan: What will be done.
        facts: What the data is like.
        cap: Most steps of any network.
        cost: Seconds of a step of a network of the base width.
    """
    total = 0.0
    for stage in planned_stages(plan, facts, cap=cap):
        # Looking at an image costs about a third of learning from it.
        validation = stage.steps / stage.epoch * facts.validation / 3 / plan.batch_size
        rounds = -(-stage.networks // plan.workers)
        total += rounds * (stage.steps + validation) * cost * stage.seconds
    return total
