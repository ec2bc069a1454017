"""Where the time of a run goes: seconds by activity, for ``summary.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.planning.measured import Measured, Pace
from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.stages import (
    Facts,
    PlannedStage,
    judge_rounds,
    planned_stages,
    unlabeled_used,
)
from imseg.components.amplification import CopiesByQuality
from imseg.components.proposals import BestProposal
from imseg.components.votes import Views
from imseg.engine.training import clock
from imseg.engine.training.clock import Clock
from imseg.engine.training.job import Trained

TRAINING, AUGMENTATION, VALIDATION = "training", "augmentation", "validation"
PSEUDO_LABELS, JUDGES, FILES, OTHER = "pseudo-labels", "judges", "files", "other"
ACTIVITIES = (TRAINING, AUGMENTATION, VALIDATION, PSEUDO_LABELS, JUDGES, FILES, OTHER)
"""Steps of networks that segment; making their batches; looking at validation images; asking
teachers; all that judges of masks cost, their training included; decoding pictures and looking for
changed ones; the rest: starting processes, counting operations, writing networks."""

_OF_MEMBER = {
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
        into.add(_OF_MEMBER[activity], seconds * each / total)


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
        for activity, seconds in _of_stage(stage, plan, measured).items():
            spent[JUDGES if stage.judges else activity] += seconds
    spent[OTHER] += measured.start_up
    spent[TRAINING] += measured.first
    approach = plan.customized()
    judged = any(stage.judges for stage in stages)
    if judged:
        spent[JUDGES] += _around_judges(stages, plan, facts, measured)
    before = plan.width
    for stage in stages:
        if stage.name.startswith("generation"):
            if approach.pseudo_label is not None:
                each, judging = _label_seconds(approach, plan, measured.of_width(before), measured)
                spent[PSEUDO_LABELS] += each * unlabeled_used(plan, facts)
                spent[JUDGES] += judging * unlabeled_used(plan, facts) if judged else 0.0
            before = plan.width * stage.wider
    return spent


def seconds_of(plan: Plan, facts: Facts, measured: Measured, *, cap: int | None = None) -> float:
    """Return the seconds of a plan in all, without those for files; see ``durations``."""
    return sum(durations(plan, facts, measured, cap=cap).values())


def _of_stage(stage: PlannedStage, plan: Plan, measured: Measured) -> dict[str, float]:
    """Return the seconds of a stage by activity; it lasts as long as its fullest worker."""
    pace = measured.of_width(plan.width * stage.wider)
    if stage.judges and measured.judge is not None:
        pace = measured.judge
    rounds = _rounds(stage.networks, plan.workers, measured)
    brought = stage.images * stage.looks
    each = {
        TRAINING: stage.steps * stage.looks * _step(pace, stage.images / plan.batch_size),
        AUGMENTATION: stage.steps * (brought * measured.gather + stage.augmented * measured.copy),
        VALIDATION: stage.validations * stage.looked_at * pace.validation,
        OTHER: measured.aside,
    }
    return {activity: seconds * rounds for activity, seconds in each.items()}


def _rounds(networks: int, workers: int, measured: Measured) -> float:
    """Return how often all workers are busy with a network; with fewer of them all are faster."""
    full, rest = divmod(networks, max(1, workers))
    if not rest:
        return float(full)
    if measured.side_by_side < 2:
        return float(full + 1)
    crowd = min(1.0, (rest - 1) / (measured.side_by_side - 1))
    return full + measured.alone + crowd * (1 - measured.alone)


def _step(pace: Pace, share: float) -> float:
    """Return the seconds of a step with a share of a full batch, from 1 and a quarter."""
    slope = (pace.step - pace.small_step) / 0.75
    return max(0.25 * pace.small_step, pace.step + slope * (share - 1))


def _label_seconds(
    approach: Approach, plan: Plan, teacher: Pace, measured: Measured
) -> tuple[float, float]:
    """Return the seconds of a pseudo-label, and of what judges say about it then."""
    labeler = approach.pseudo_label
    judge = measured.judge.prediction if measured.judge is not None else 0.0
    asked = labeler.teachers if labeler is not None and labeler.teachers else plan.networks
    looks, judging = float(asked), 0.0
    if isinstance(labeler, Views):
        looks += labeler.views
    seconds = looks * teacher.prediction + measured.decision * (asked > 1)
    if isinstance(labeler, Views):
        seconds += labeler.views * measured.copy
    if isinstance(labeler, BestProposal):
        seconds += (asked + 1) * labeler.judges * judge  # and the label that was kept
    if isinstance(approach.augment, CopiesByQuality):
        judging = asked * judge
    return seconds, judging


def _around_judges(
    stages: list[PlannedStage], plan: Plan, facts: Facts, measured: Measured
) -> float:
    """Return the seconds of making what judges learn from, and of finding out how good they are."""
    labeler = plan.customized().pseudo_label
    asked = labeler.judges if isinstance(labeler, BestProposal) else plan.teachers
    judge = measured.judge.prediction if measured.judge is not None else 0.0
    (stage,) = (stage for stage in stages if stage.judges)
    base = measured.of_width(plan.width).prediction
    starts = sum(s.networks for s in stages if s.name in ("start", "judge-start"))
    hard_predictions = starts * (facts.labeled + facts.validation) * base
    approach = find_approach(plan.approach)
    rounds = judge_rounds(plan, approach, approach.judge)[0] if approach.judge else 0
    learned = facts.labeled * rounds
    # Samples are made one by one, so that each costs several times its share of a batch.
    samples = (learned + stage.looked_at) * 4 * measured.decision
    thresholds = facts.validation * (2 * base + asked * judge)
    return hard_predictions + samples + asked * stage.looked_at * judge + thresholds


def in_minutes(seconds: float) -> int:
    """Return whole minutes, at least one."""
    return max(1, math.ceil(seconds / 60 - 0.5))


def in_time(seconds: float) -> str:
    """Return a duration in the unit that fits, such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
