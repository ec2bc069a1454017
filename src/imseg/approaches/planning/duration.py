"""How long a plan takes: the one model of time, for fitting steps to a budget and for a dry run.

All pseudo-labels are taken to be admitted and no generation to be left out, and images to get the
number of copies that is typical: a run may be shorter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from imseg.approaches.planning.measured import Measured
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.stages import (
    StagePlan,
    planned_stages,
    scorer_rounds,
    unlabeled_used,
)
from imseg.components.amplification import CopiesByQuality
from imseg.components.proposals import BestProposal
from imseg.components.votes import VoteOfViews
from imseg.engine.hardware.benchmark import BenchmarkResult
from imseg.engine.training import clock
from imseg.engine.training.clock import Clock
from imseg.engine.training.job import Trained

BUDGET_SECONDS = 50 * 60
"""Time that ``standard`` aims at; decoding comes on top."""
MOST_STEPS = 3000
"""Steps above which ``standard`` stops spending time it has."""
STEPS_ROUNDED_TO = 50
"""Steps are rounded down to multiples of this, so that small differences of timing change
nothing."""

TRAINING, AUGMENTATION, VALIDATION = "training", "augmentation", "validation"
PSEUDO_LABELS, SCORERS, FILES, OTHER = "pseudo-labels", "mask scorers", "files", "other"
ACTIVITIES = (TRAINING, AUGMENTATION, VALIDATION, PSEUDO_LABELS, SCORERS, FILES, OTHER)
"""Steps of networks that segment; making their batches; validation; asking teachers; all that mask
scorers cost, their training included; decoding images and looking for changed ones; the rest:
starting processes, counting operations, writing networks."""

_OF_NETWORK = {
    clock.STEPS: TRAINING,
    clock.BATCHES: AUGMENTATION,
    clock.VALIDATION: VALIDATION,
    clock.OTHER: OTHER,
}


def add_stage(
    into: Clock, seconds: float, trained: Sequence[Trained], *, whole: str | None = None
) -> None:
    """Add the time of a stage, shared out as its networks spent theirs.

    Args:
        into: The clock of the run.
        seconds: What the stage took, from begin to end.
        trained: Its networks, which may have been trained side by side.
        whole: The activity that gets all of it; None to share it out.
    """
    spent: dict[str, float] = {}
    for network in trained:
        for activity, each in network.clock.items():
            spent[activity] = spent.get(activity, 0.0) + each
    total = sum(spent.values())
    if whole is not None or not total:
        into.add(whole or OTHER, seconds)
        return
    for activity, each in spent.items():
        into.add(_OF_NETWORK[activity], seconds * each / total)


def as_summary(run: Clock) -> dict[str, float]:
    """Return the seconds of every activity; together they are what the run took."""
    seconds = clock.with_rest(run.seconds, run.passed, OTHER)
    return {name: round(seconds.get(name, 0.0), 2) for name in ACTIVITIES}


def durations(
    plan: Plan, facts: Facts, measured: Measured, *, cap: int | None = None
) -> dict[str, float]:
    """Return the seconds of every activity but files, named as in a run's ``summary.json``.

    Args:
        plan: What will be done.
        facts: What the data is like.
        measured: What it costs here.
        cap: Most steps of any network; None for the plan's own.
    """
    spent = dict.fromkeys(ACTIVITIES, 0.0)
    stages = planned_stages(plan, facts, cap=cap)
    for stage in stages:
        cost = measured.of(stage, stages)
        for activity, seconds in _of_stage(stage, plan, cost).items():
            spent[SCORERS if stage.scores_masks else activity] += seconds
    costs = {stage.name: measured.of(stage, stages) for stage in stages}
    first = max(costs.values(), key=lambda each: each.first)
    spent[OTHER] += measured.start_up + first.opening
    spent[TRAINING] += first.first
    scorer = costs.get("scorers")
    if scorer is not None:
        spent[SCORERS] += _around_scorers(plan, facts, costs["start"], scorer)
    teacher = costs["start"]
    for stage in stages:
        if stage.is_generation and plan.approach.pseudo_label is not None:
            labels, scoring = _label_seconds(plan, teacher, scorer)
            spent[PSEUDO_LABELS] += labels * unlabeled_used(plan, facts)
            spent[SCORERS] += scoring * unlabeled_used(plan, facts)
        if stage.is_generation:
            teacher = costs[stage.name]
    return spent


def seconds_of(plan: Plan, facts: Facts, measured: Measured, *, cap: int | None = None) -> float:
    """Return the seconds of a plan in all, without those for files; see ``durations``."""
    return sum(durations(plan, facts, measured, cap=cap).values())


def fit_to_time(plan: Plan, facts: Facts, measured: Measured | None) -> Plan:
    """Return the plan with as many steps as the time budget allows.

    The size of images does not depend on the measurement: runs of one data set stay comparable.

    Args:
        plan: What will be done.
        facts: What the data is like.
        measured: What it costs here; None: not measured, so steps are the most that there can be.
    """
    if measured is None:
        return plan.with_recipe(max_steps=MOST_STEPS)
    caps = range(MOST_STEPS, 0, -STEPS_ROUNDED_TO)
    fitting = (cap for cap in caps if seconds_of(plan, facts, measured, cap=cap) <= BUDGET_SECONDS)
    return plan.with_recipe(max_steps=next(fitting, STEPS_ROUNDED_TO))


def _of_stage(stage: StagePlan, plan: Plan, cost: BenchmarkResult) -> dict[str, float]:
    """Return the seconds of a stage by activity; it lasts as long as its fullest worker."""
    rounds = -(-stage.networks // max(1, plan.workers))
    workload = stage.workload
    each = {
        TRAINING: workload.steps * cost.step,
        AUGMENTATION: workload.steps * cost.batch,
        VALIDATION: workload.validations * stage.validation * cost.validation,
        OTHER: cost.aside,
    }
    return {activity: seconds * rounds for activity, seconds in each.items()}


def _label_seconds(
    plan: Plan, teacher: BenchmarkResult, scorer: BenchmarkResult | None
) -> tuple[float, float]:
    """Return the seconds of a pseudo-label, and of what mask scorers say about it then."""
    labeler = plan.approach.pseudo_label
    scored = scorer.prediction if scorer is not None else 0.0
    asked = plan.teachers or plan.approach.networks
    looks, scoring = float(asked), 0.0
    if isinstance(labeler, VoteOfViews):
        looks += labeler.views * 2  # augmenting a view costs about as much as looking at it
    seconds = looks * teacher.prediction + teacher.decision * (asked > 1)
    if isinstance(labeler, BestProposal):
        seconds += (asked + 1) * labeler.scorers * scored  # and the label that was kept
    if isinstance(plan.approach.amplification, CopiesByQuality):
        scoring = asked * scored
    return seconds, scoring


def _around_scorers(
    plan: Plan, facts: Facts, start: BenchmarkResult, scorer: BenchmarkResult
) -> float:
    """Return the seconds of making what mask scorers learn from, and of finding their quality."""
    labeler, approach = plan.approach.pseudo_label, plan.approach
    asked = labeler.scorers if isinstance(labeler, BestProposal) else plan.teachers
    learned, looked_at = scorer_rounds(plan)
    starts = approach.first.networks
    starts += approach.scorer_start.networks if approach.scorer_start is not None else 0
    predicted = starts * (facts.labeled + facts.validation) * start.prediction
    validation = facts.validation * looked_at
    # Samples are made one by one, so that each costs several times its share of a batch.
    samples = (facts.labeled * learned + validation) * 4 * start.decision
    thresholds = facts.validation * (2 * start.prediction + asked * scorer.prediction)
    return predicted + samples + asked * validation * scorer.prediction + thresholds


def in_minutes(seconds: float) -> int:
    """Return whole minutes, at least one."""
    return max(1, math.ceil(seconds / 60 - 0.5))


def in_time(seconds: float) -> str:
    """Return a duration in the unit that fits, such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
