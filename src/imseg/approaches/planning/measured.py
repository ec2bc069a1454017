"""What the networks of a plan cost on this machine: which questions are asked, and the answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.stages import Facts, PlannedStage, planned_stages
from imseg.engine.hardware.benchmark import BenchmarkRequest, BenchmarkResult
from imseg.engine.hardware.memory import how_many_fit, memory_now, training_bytes
from imseg.engine.hardware.probe import Prober, prober
from imseg.engine.training.job import OUR_UNET, PAPER_UNET, NetworkSpec
from imseg.engine.training.networks import NetworkFactory, name_of_factory
from imseg.errors import ImsegError
from imseg.ops.photometric import Strength
from imseg.tasks import task_for
from imseg.tasks.quality import quality_for
from imseg.types import TargetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast networks of one width are, with as many others side by side as will be."""

    width: float
    """The paper's alpha."""
    step: float
    """Seconds of an optimizer step with a full batch."""
    small_step: float
    """The same with a quarter of a batch."""
    validation: float
    """Seconds of a look at one validation image."""
    prediction: float
    """Seconds of a prediction for one image by the whole machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found out about this machine."""

    narrow: Pace
    """Of the narrowest networks."""
    wide: Pace
    """Of the widest ones; the same where networks do not grow."""
    judge: Pace | None
    """Of judges of masks; None where there are none."""
    side_by_side: int
    """Networks that were busy at once."""
    alone: float
    """Time of a step of a network alone, as a share of that with others side by side."""
    gather: float
    """Seconds for bringing an image of a batch to the device."""
    copy: float
    """Seconds for disturbing an image."""
    decision: float
    """Seconds of a vote about an image, by the whole machine."""
    first: float
    """Seconds that the first step of a process takes beyond a step."""
    aside: float
    """Seconds for making a network and counting its operations."""
    start_up: float
    """Seconds until training processes are ready."""
    memory: int
    """Peak bytes of a training process."""
    device_memory: int
    """Peak bytes of a training on a GPU."""

    def of_width(self, width: float) -> Pace:
        """Return the pace of networks between the narrowest and the widest, by a power law."""
        if self.wide.width <= self.narrow.width or width <= self.narrow.width:
            return self.narrow
        share = math.log(width / self.narrow.width) / math.log(self.wide.width / self.narrow.width)

        def between(name: str) -> float:
            low, high = (max(1e-9, getattr(pace, name)) for pace in (self.narrow, self.wide))
            return float(low * (high / low) ** share)

        names = ("step", "small_step", "validation", "prediction")
        return Pace(width=width, **{name: between(name) for name in names})


Measure = Callable[[Plan], Measured]
"""Finds out what the networks of a plan cost."""


def measure(
    plan: Plan, facts: Facts, spec: TargetSpec, factory: NetworkFactory | None = None
) -> Measured:
    """Return what the networks of a plan cost on this machine; it takes seconds.

    Widest first: what is measured later finds the memory handed out, as in a training.

    Args:
        plan: What will be done.
        facts: What the data is like.
        spec: What mask values mean.
        factory: The user's own network.

    Raises:
        ImsegError: If the system ends the measurement, as for a lack of memory.
    """
    stages = planned_stages(plan, facts)
    widths = sorted({plan.width * stage.wider for stage in stages if not stage.judges})
    questions = {
        width: question_about(plan, spec, network_of(plan, facts, width, factory))
        for width in {widths[0], widths[-1]}
    }
    widest = questions[widths[-1]]
    busy = side_by_side(plan, stages)
    if plan.device == "cpu":
        needed = memory_now() + (needed_bytes(plan, facts, spec, factory) or 0)
        busy = how_many_fit(needed, busy)
    with prober(
        device=plan.device, processes=busy, threads=plan.threads, factory=factory
    ) as machine:
        found: dict[float, BenchmarkResult] = {}
        for width in sorted(questions, reverse=True):
            found[width] = machine.ask(questions[width], together=True)
        trained = [found[widths[-1]]]
        judge = None
        if any(stage.judges for stage in stages):
            asked = replace(question_about(plan, spec, judge_of(plan, facts, spec)), judge=True)
            trained.append(machine.ask(asked, together=True))
            judge = _pace(asked, trained[-1], machine.ask(_whole(asked, plan), together=False))
        copies = BenchmarkResult()
        if find_approach(plan.approach).augments:
            asked = replace(widest, what="copies", strength=_strength(plan))
            copies = machine.ask(asked, together=True)
        narrow = questions[widths[0]]
        alone = machine.ask(narrow, together=False) if busy > 1 else found[widths[0]]
        voted = {w: machine.ask(_whole(q, plan), together=False) for w, q in questions.items()}
        paces = [_pace(questions[w], found[w], voted[w]) for w in (widths[0], widths[-1])]
        return Measured(
            narrow=paces[0],
            wide=paces[1],
            judge=judge,
            side_by_side=busy,
            alone=min(1.0, alone.step / found[widths[0]].step),
            gather=found[widths[0]].gather,
            copy=copies.copy,
            decision=voted[widths[0]].decision,
            first=trained[0].first,
            aside=found[widths[0]].aside,
            start_up=machine.start_up + trained[0].opening,
            memory=max(each.memory for each in (*trained, copies)),
            device_memory=max(each.device_memory for each in trained),
        )


def side_by_side(plan: Plan, stages: list[PlannedStage]) -> int:
    """Return how many networks are trained at once, at most."""
    return min(plan.workers, max(stage.networks for stage in stages))


def needed_bytes(
    plan: Plan, facts: Facts, spec: TargetSpec, factory: NetworkFactory | None
) -> int | None:
    """Return about how many bytes the largest training takes beside the bare process.

    None for a user's own network that cannot be run without numbers.
    """
    stages = planned_stages(plan, facts)
    shape = (plan.batch_size, facts.channels, *plan.image_size)
    widest = max(plan.width * stage.wider for stage in stages if not stage.judges)
    network = network_of(plan, facts, widest, factory)
    try:
        needed = training_bytes(network, plan.compute, (shape,), factory=factory)
    except Exception:
        # Whatever a user's network does on a device without numbers.
        if factory is None:
            raise
        return None
    if any(stage.judges for stage in stages):
        judge = judge_of(plan, facts, spec)
        mask = (plan.batch_size, judge.outputs, *plan.image_size)
        needed = max(needed, training_bytes(judge, plan.compute, (shape, mask)))
    return needed


def network_of(
    plan: Plan, facts: Facts, width: float, factory: NetworkFactory | None = None
) -> NetworkSpec:
    """Return the network of a width that a plan trains: one of ours, or the user's own."""
    name = PAPER_UNET if plan.paper else OUR_UNET
    if factory is not None:
        name = name_of_factory(factory, channels=facts.channels, outputs=facts.outputs, width=width)
    return NetworkSpec(channels=facts.channels, outputs=facts.outputs, width=width, factory=name)


def judge_of(plan: Plan, facts: Facts, spec: TargetSpec) -> NetworkSpec:
    """Return the judge of masks that a plan trains."""
    quality = quality_for(task_for(spec, paper=plan.paper))
    return NetworkSpec(
        channels=facts.channels,
        outputs=quality.outputs,
        width=plan.judge_width,
        factory=quality.factory(plan.paper),
    )


def question_about(plan: Plan, spec: TargetSpec, network: NetworkSpec) -> BenchmarkRequest:
    """Return the question what training a network of a plan costs."""
    return BenchmarkRequest(
        what="training",
        network=network,
        compute=plan.compute,
        target=spec.as_dict(),
        size=plan.image_size,
        batch_size=plan.batch_size,
        paper=plan.paper,
    )


def _strength(plan: Plan) -> Strength:
    """Return how far copies are pushed, at most."""
    if plan.customized().labeled.copies:
        return plan.strength
    return plan.strength_in(plan.generations or 1)


def _whole(question: BenchmarkRequest, plan: Plan) -> BenchmarkRequest:
    return replace(question, what="predicting", compute=plan.whole_machine)


def _pace(question: BenchmarkRequest, trained: BenchmarkResult, voted: BenchmarkResult) -> Pace:
    return Pace(
        width=question.network.width,
        step=trained.step,
        small_step=trained.small_step,
        validation=trained.validation,
        prediction=voted.prediction,
    )


LEAST_STEPS = 500
"""Steps of a network below which compiling cannot pay and is not even tried."""
HOPED_FOR = 0.3
"""Share of a step that compiling saves at best; if even that would not pay, it is not tried."""
SHORTEST = 10.0
"""Seconds that compiling takes at least."""
MARGIN = 1.5
"""How many times what it costs compiling has to save: costs vary more than steps do."""


def may_pay(plan: Plan, facts: Facts) -> bool:
    """Return whether it is worth finding out if compiling pays.

    On a CPU with one thread a network it never did: see docs/decisions/0021-compiling.md.
    """
    kind = torch.device(plan.device).type
    if kind not in ("cpu", "cuda") or (kind == "cpu" and plan.threads == 1):
        return False
    return max(stage.steps for stage in planned_stages(plan, facts)) >= LEAST_STEPS


def pays(
    plan: Plan,
    facts: Facts,
    spec: TargetSpec,
    factory: NetworkFactory | None = None,
    *,
    machine: Prober | None = None,
) -> bool:
    """Return whether compiled steps save more than compiling costs; finding out takes a minute.

    Args:
        plan: What will be done, without compiling.
        facts: What the data is like.
        spec: What mask values mean.
        factory: The user's own network.
        machine: Who measures; None for this machine.
    """
    if machine is None:
        busy = side_by_side(plan, planned_stages(plan, facts))
        with prober(
            device=plan.device, processes=busy, threads=plan.threads, factory=factory
        ) as found:
            return pays(plan, facts, spec, factory, machine=found)
    asked = question_about(plan, spec, network_of(plan, facts, plan.width, factory))
    compiled = replace(asked, compute=replace(asked.compute, compile=True))
    steps, shapes = _each_worker(plan, facts)
    try:
        plain = machine.ask(asked, together=True)
        if HOPED_FOR * plain.step * steps < MARGIN * SHORTEST * shapes:
            return False
        return is_worth(plain, machine.ask(compiled, together=True), steps=steps, shapes=shapes)
    except ImsegError:
        return False  # the measurement was ended, as for a lack of memory


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


def _each_worker(plan: Plan, facts: Facts) -> tuple[float, int]:
    """Return the steps that a worker makes, as many as base networks make, and their shapes."""
    stages = planned_stages(plan, facts)
    steps = sum(-(-stage.networks // plan.workers) * stage.steps * stage.wider for stage in stages)
    return steps, len({(stage.wider, stage.judges) for stage in stages})
