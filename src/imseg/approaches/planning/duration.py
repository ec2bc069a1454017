"""How long a run takes: what its steps cost here, and the time of all stages."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch

from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.stage_plan import StagePlan, planned_stages
from imseg.components.amplification import CopiesByQuality
from imseg.components.votes import BestProposal, VoteOfViews
from imseg.engine.hardware.benchmark import BenchmarkRequest, BenchmarkResult, Prober, prober
from imseg.engine.hardware.device import how_many_fit, memory_now, training_bytes
from imseg.engine.training import monitor
from imseg.engine.training.job import Trained
from imseg.errors import ImsegError
from imseg.networks.registry import CustomConfig
from imseg.types import TargetSpec

LEAST_STEPS = 500
"""Steps of a network below which compiling cannot pay and is not even tried."""
HOPED_FOR = 0.3
"""Share of a step that compiling saves at best; if even that would not pay, it is not tried."""
SHORTEST = 10.0
"""Seconds that compiling takes at least."""
MARGIN = 1.5
"""How many times what it costs compiling has to save: costs vary more than steps do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found out about this machine."""

    stages: dict[str, BenchmarkResult]
    """What the networks of a stage cost, by the name of the stage; of generations the first and the
    last."""
    side_by_side: int
    """Networks that were busy at once."""
    start_up: float
    """Seconds until training processes are ready."""

    def of(self, stage: StagePlan, stages: list[StagePlan]) -> BenchmarkResult:
        """Return what the networks of a stage cost; between two that were measured, by their width.

        Args:
            stage: Which.
            stages: All stages of the plan.
        """
        if stage.name in self.stages:
            return self.stages[stage.name]
        known = [each for each in stages if each.is_generation and each.name in self.stages]
        narrow, wide = known[0], known[-1]
        low, high = self.stages[narrow.name], self.stages[wide.name]
        if wide.width <= narrow.width:
            return low
        share = math.log(stage.width / narrow.width) / math.log(wide.width / narrow.width)

        def between(name: str) -> float:
            ends = [max(1e-9, getattr(each, name)) for each in (low, high)]
            return float(ends[0] * (ends[1] / ends[0]) ** share)

        names = ("step", "batch", "validation", "prediction")
        costs: dict[str, Any] = {name: between(name) for name in names}
        return replace(low, **costs)

    @property
    def memory(self) -> int:
        """Peak bytes of a training process."""
        return max(each.memory for each in self.stages.values())

    @property
    def device_memory(self) -> int:
        """Peak bytes of a training on a GPU."""
        return max(each.device_memory for each in self.stages.values())


def measure(plan: Plan, facts: Facts, spec: TargetSpec) -> Measured:
    """Return what the networks of a plan cost on this machine; it takes seconds.

    Widest first: what is measured later finds the memory handed out, as in a training.

    Args:
        plan: What will be done.
        facts: What the data is like.
        spec: What mask values mean.

    Raises:
        ImsegError: If the system ends the measurement, as for a lack of memory.
    """
    stages = planned_stages(plan, facts)
    generations = [stage for stage in stages if stage.is_generation]
    chosen = {stage.name: stage for stage in stages if not stage.is_generation}
    chosen |= {stage.name: stage for stage in (*generations[:1], *generations[-1:])}
    busy = side_by_side(plan, stages)
    if plan.compute.device == "cpu":
        needed = memory_now() + (needed_bytes(plan, facts) or 0)
        busy = how_many_fit(needed, busy)
    found: dict[str, BenchmarkResult] = {}
    with _prober(plan, busy) as machine:
        for stage in sorted(chosen.values(), key=lambda each: -each.operations):
            request = request_for(stage, plan, facts, spec)
            trained = machine.ask(request, side_by_side=True)
            job = replace(request.job, compute=plan.whole_machine)
            predicted = machine.ask(
                replace(request, what="predicting", job=job), side_by_side=False
            )
            prediction, decision = predicted.prediction, predicted.decision
            found[stage.name] = replace(trained, prediction=prediction, decision=decision)
        return Measured(stages=found, side_by_side=busy, start_up=machine.start_up)


def _prober(plan: Plan, busy: int) -> AbstractContextManager[Prober]:
    compute, network = plan.compute, plan.network
    return prober(device=compute.device, processes=busy, threads=compute.threads, network=network)


def request_for(stage: StagePlan, plan: Plan, facts: Facts, spec: TargetSpec) -> BenchmarkRequest:
    """Return the request for what training a network of a stage costs."""
    job = stage.rehearsed(plan, facts, spec)
    return BenchmarkRequest(what="training", job=job, size=plan.row_size)


def side_by_side(plan: Plan, stages: list[StagePlan]) -> int:
    """Return how many networks are trained at once, at most."""
    return min(plan.workers, max(stage.networks for stage in stages))


def needed_bytes(plan: Plan, facts: Facts) -> int | None:
    """Return about how many bytes the largest training takes beside the bare process.

    None for a user's own network that cannot be run without numbers.
    """
    channels, outputs, found = facts.channels, facts.outputs, []
    for stage in planned_stages(plan, facts):
        planes = (channels, outputs) if stage.scores_masks else (channels,)
        at_once = stage.objective.images_at_once(plan.recipe)
        inputs = tuple((at_once, each, *plan.image_size) for each in planes)
        made, compute = stage.network, plan.compute
        try:
            found.append(training_bytes(made, compute, inputs, channels=channels, outputs=outputs))
        except Exception:
            # Whatever a user's network does on a device without numbers.
            if not isinstance(made, CustomConfig):
                raise
            return None
    return max(found)


def compiling_may_pay(plan: Plan, facts: Facts) -> bool:
    """Return whether it is worth finding out if compiling pays.

    On a CPU with one thread per network it never did: see docs/decisions/0021-compiling.md.
    """
    kind = torch.device(plan.compute.device).type
    if kind not in ("cpu", "cuda") or (kind == "cpu" and plan.compute.threads == 1):
        return False
    return max(stage.steps for stage in planned_stages(plan, facts)) >= LEAST_STEPS


def compiling_pays(
    plan: Plan, facts: Facts, spec: TargetSpec, *, machine: Prober | None = None
) -> bool:
    """Return whether compiled steps save more than compiling costs; finding out takes a minute.

    Args:
        plan: What will be done, without compiling.
        facts: What the data is like.
        spec: What mask values mean.
        machine: Who measures; None for this machine.
    """
    stages = planned_stages(plan, facts)
    if machine is None:
        with _prober(plan, side_by_side(plan, stages)) as found:
            return compiling_pays(plan, facts, spec, machine=found)
    asked = request_for(stages[0], plan, facts, spec)
    job = replace(asked.job, compute=replace(asked.job.compute, compile=True))
    base = stages[0].width
    each = [-(-s.networks // plan.workers) * s.steps * s.width / base for s in stages]
    steps, shapes = sum(each), len({(s.width, s.scores_masks) for s in stages})
    try:
        plain = machine.ask(asked, side_by_side=True)
        if HOPED_FOR * plain.step * steps < MARGIN * SHORTEST * shapes:
            return False
        compiled = machine.ask(replace(asked, job=job), side_by_side=True)
    except ImsegError:
        return False  # the measurement was ended, as for a lack of memory
    return is_worth(plain, compiled, steps=steps, shapes=shapes)


def is_worth(
    plain: BenchmarkResult, compiled: BenchmarkResult, *, steps: float, shapes: int
) -> bool:
    """Return whether what was measured says that compiling pays.

    Args:
        plain: Of plain steps.
        compiled: Of compiled ones.
        steps: Optimizer steps that a worker makes.
        shapes: Networks of different shapes that it compiles.
    """
    saved = (plain.step - compiled.step) * steps
    return compiled.compiled and saved > MARGIN * compiled.first * shapes


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
    monitor.STEPS: TRAINING,
    monitor.BATCHES: AUGMENTATION,
    monitor.VALIDATION: VALIDATION,
    monitor.OTHER: OTHER,
}


def add_stage(
    into: monitor.Clock, seconds: float, trained: Sequence[Trained], *, whole: str | None = None
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


def as_summary(run: monitor.Clock) -> dict[str, float]:
    """Return the seconds of every activity; together they are what the run took."""
    seconds = monitor.with_rest(run.seconds, run.passed, OTHER)
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
    costs = {stage.name: measured.of(stage, stages) for stage in stages}
    for stage in stages:
        cost, workload = costs[stage.name], stage.workload
        each = {
            TRAINING: workload.steps * cost.step,
            AUGMENTATION: workload.steps * cost.batch,
            VALIDATION: workload.validations * stage.validation * cost.validation,
            OTHER: cost.aside,
        }
        rounds = -(-stage.networks // max(1, plan.workers))  # as long as its fullest worker
        for activity, seconds in each.items():
            spent[SCORERS if stage.scores_masks else activity] += seconds * rounds
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
            spent[PSEUDO_LABELS] += labels * plan.unlabeled_used(facts)
            spent[SCORERS] += scoring * plan.unlabeled_used(facts)
        if stage.is_generation:
            teacher = costs[stage.name]
    return spent


def seconds_of(plan: Plan, facts: Facts, measured: Measured, *, cap: int | None = None) -> float:
    """Return the seconds of a plan in all, without those for files; see ``durations``."""
    return sum(durations(plan, facts, measured, cap=cap).values())


def fit_to_time(plan: Plan, facts: Facts, measured: Measured | None) -> Plan:
    """Return the plan with as many steps as the time budget of its effort allows.

    The size of images does not depend on the measurement: runs of one data set stay comparable.

    Args:
        plan: What will be done.
        facts: What the data is like.
        measured: What it costs here; None: not measured, so steps are the most that there can be.
    """
    steps = MOST_STEPS
    if measured is not None:
        steps = most_steps(plan, facts, measured, seconds=BUDGET_SECONDS, most=MOST_STEPS)
    return plan.with_recipe(max_steps=max(STEPS_ROUNDED_TO, steps))


def most_steps(plan: Plan, facts: Facts, measured: Measured, *, seconds: float, most: int) -> int:
    """Return the steps of every network for which a time is enough, 0 if for none.

    Args:
        plan: What will be done.
        facts: What the data is like.
        measured: What it costs here.
        seconds: The time.
        most: The most that there may be.
    """
    caps = range(most, 0, -STEPS_ROUNDED_TO)
    fitting = (cap for cap in caps if seconds_of(plan, facts, measured, cap=cap) <= seconds)
    return next(fitting, 0)


def _label_seconds(
    plan: Plan, teacher: BenchmarkResult, scorer: BenchmarkResult | None
) -> tuple[float, float]:
    """Return the seconds of a pseudo-label, and of what mask scorers say about it then."""
    labeler = plan.approach.pseudo_label
    scored = scorer.prediction if scorer is not None else 0.0
    asked = plan.teachers or plan.approach.networks
    looks, scoring = float(asked * len(plan.teacher_moves)), 0.0
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
    labeler, approach, facts = plan.approach.pseudo_label, plan.approach, plan.in_tiles(facts)
    asked = labeler.scorers if isinstance(labeler, BestProposal) else plan.teachers
    learned, looked_at = plan.scorer_rounds
    starts = approach.first.networks
    starts += approach.scorer_start.networks if approach.scorer_start is not None else 0
    prediction = start.prediction * len(plan.teacher_moves)
    predicted = starts * (facts.labeled + facts.validation) * prediction
    validation = facts.validation * looked_at
    # Samples are made one by one, so that each costs several times its share of a batch.
    samples = (facts.labeled * learned + validation) * 4 * start.decision
    thresholds = facts.validation * (2 * prediction + asked * scorer.prediction)
    return predicted + samples + asked * validation * scorer.prediction + thresholds
