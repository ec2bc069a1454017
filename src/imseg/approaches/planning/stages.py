"""How much a plan trains: the networks of each stage, their steps, and what they look at."""

from __future__ import annotations

from dataclasses import dataclass, replace

from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.planning.plan import Plan
from imseg.components.amplification import MaskScorer, enough_for_judges
from imseg.engine.training.job import Recipe
from imseg.engine.training.objectives.objective import mean_batch
from imseg.types import Kind

JUDGE_OPERATIONS = 1.64
"""Operations of a judge's step, as a multiple of a step of a network of the base width; counted at
64 and 128 px, one head."""


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
    images: float
    """Samples in a step, on average."""
    augmented: float = 0.0
    """Images that are disturbed for a step, on average."""
    looked_at: int
    """Validation samples of each look at them."""

    @property
    def validations(self) -> int:
        """How often a network looks at the validation images: every so many epochs, and at last."""
        return -(-self.steps // self.epoch) + 1

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
    extra = unlabeled_used(plan, facts) if approach.labeled.hidden_too else 0
    stages = [_labels_alone("start", plan, facts, first, extra=extra)]
    if approach.judge_start is not None:
        stages.append(_labels_alone("judge-start", plan, facts, approach.judge_start))
    if approach.judge is not None and enough_for_judges(facts.labeled, facts.validation):
        judged = replace(recipe, epochs=min(plan.epochs, approach.judge.epochs))
        learned, looked_at = judge_rounds(plan, approach, approach.judge)
        consensus = approach.judge.learns_from == "consensus"
        stages.append(
            _stage(
                plan,
                "judges",
                plan.networks,
                judged,
                facts.labeled * learned,
                looked_at=facts.validation * looked_at,
                augmented=0.5 if consensus else 0.0,
                judges=True,
            )
        )
    for generation in range(1, plan.generations + 1):
        wider = plan.width_in(generation, growing=approach.growing) / plan.width
        name = f"generation-{generation}"
        stages.append(_generation(name, plan, approach, facts, wider=wider))
    return stages


def judge_rounds(plan: Plan, approach: Approach, judge: MaskScorer) -> tuple[int, int]:
    """Return how often judges learn from each labeled image, and look at each validation image."""
    if judge.learns_from == "consensus":
        return judge.rounds, judge.rounds_validation
    starts = 1 if approach.judge_start is None else 2
    fewer = min(plan.start_networks, judge.networks_validation)
    return starts * plan.start_networks + 1, starts * fewer + 1  # predictions, and the truth


def _labels_alone(
    name: str, plan: Plan, facts: Facts, approach: Approach, *, extra: int = 0
) -> PlannedStage:
    """Return a stage that learns from labeled images, and so many extra ones."""
    labeled = facts.labeled * approach.labeled.samples
    return _stage(
        plan,
        name,
        plan.start_networks,
        plan.recipe,
        labeled + extra,
        looked_at=facts.validation,
        augmented=_disturbed_labels(approach, facts) / (labeled + extra),
    )


def _disturbed_labels(approach: Approach, facts: Facts) -> int:
    """Return the samples of an epoch that are disturbed labeled images."""
    return facts.labeled * (1 if approach.labeled.online else approach.labeled.copies)


def _generation(
    name: str, plan: Plan, approach: Approach, facts: Facts, *, wider: float
) -> PlannedStage:
    recipe, unlabeled = generation_recipe(plan, facts), unlabeled_used(plan, facts)
    labeled = facts.labeled * approach.labeled.samples
    if approach.objective is not None:
        pairs = recipe.steps_per_epoch(unlabeled)
        both = recipe.steps_per_epoch(labeled) + pairs
        paired = pairs / both
        seen = mean_batch(recipe, unlabeled)
        return PlannedStage(
            name=name,
            networks=plan.networks,
            steps=min(recipe.epochs * both, recipe.max_steps or recipe.epochs * both),
            epoch=both // 2 or 1,  # it looks at the validation images after either pass
            wider=wider,
            looks=1 + paired,
            images=paired * seen + (1 - paired) * mean_batch(recipe, labeled),
            augmented=2 * paired * seen,
            looked_at=facts.validation,
        )
    copies, plain = 0.0, 1
    if approach.augment is not None:
        copies, plain = approach.augment.typical, int(approach.augment.keep_plain)
    samples = labeled + round(unlabeled * (copies + plain))
    augmented = _disturbed_labels(approach, facts) + unlabeled * copies
    return _stage(
        plan,
        name,
        plan.networks,
        recipe,
        samples,
        looked_at=facts.validation,
        augmented=min(1.0, augmented / samples),
        wider=wider,
    )


def generation_recipe(plan: Plan, facts: Facts) -> Recipe:
    """Return how the networks of a generation are trained."""
    approach = find_approach(plan.approach)
    times = 1 if approach.objective is None else approach.objective.epochs_times
    full = facts.labeled + facts.unlabeled
    least = int(plan.least_share * (full // plan.batch_size))
    return replace(plan.recipe, epochs=plan.epochs * times, least_steps=max(1, least))


def unlabeled_used(plan: Plan, facts: Facts) -> int:
    """Return how many unlabeled images are used."""
    return min(facts.unlabeled, plan.limit_unlabeled or facts.unlabeled)


def _stage(
    plan: Plan,
    name: str,
    networks: int,
    recipe: Recipe,
    samples: int,
    *,
    looked_at: int,
    augmented: float,
    wider: float = 1.0,
    judges: bool = False,
) -> PlannedStage:
    """Return a stage that learns from so many samples, of which a share is disturbed."""
    images = mean_batch(recipe, samples)
    recipe = plan.looked_at(recipe, samples=samples, validation=looked_at)
    return PlannedStage(
        name=name,
        networks=networks,
        steps=recipe.steps(samples),
        epoch=recipe.steps_per_epoch(samples) * recipe.validate_every,
        wider=wider,
        judges=judges,
        images=images,
        augmented=augmented * images,
        looked_at=looked_at,
    )


def first_of(approach: Approach) -> Approach:
    """Return the approach that trains the first networks."""
    return approach.start or approach


def planned_steps(plan: Plan, facts: Facts) -> int:
    """Return the optimizer steps of all networks together, if all pseudo-labels are admitted."""
    return sum(stage.networks * stage.steps for stage in planned_stages(plan, facts))
