"""What the networks of a plan cost on this machine, and whether compiling them pays."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.stages import StagePlan, planned_stages
from imseg.engine.hardware.benchmark import BenchmarkRequest, BenchmarkResult
from imseg.engine.hardware.memory import how_many_fit, memory_now, training_bytes
from imseg.engine.hardware.probe import Prober, prober
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

        return replace(
            low,
            step=between("step"),
            batch=between("batch"),
            validation=between("validation"),
            prediction=between("prediction"),
        )

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
            trained = machine.ask(request, together=True)
            job = replace(request.job, compute=plan.whole_machine)
            asked = replace(request, what="predicting", job=job)
            predicted = machine.ask(asked, together=False)
            found[stage.name] = replace(
                trained, prediction=predicted.prediction, decision=predicted.decision
            )
        return Measured(stages=found, side_by_side=busy, start_up=machine.start_up)


def _prober(plan: Plan, busy: int) -> AbstractContextManager[Prober]:
    return prober(
        device=plan.compute.device,
        processes=busy,
        threads=plan.compute.threads,
        network=plan.network,
    )


def request_for(stage: StagePlan, plan: Plan, facts: Facts, spec: TargetSpec) -> BenchmarkRequest:
    """Return the request for what training a network of a stage costs."""
    job = stage.rehearsed(plan, facts, spec)
    return BenchmarkRequest(what="training", job=job, size=plan.image_size)


def side_by_side(plan: Plan, stages: list[StagePlan]) -> int:
    """Return how many networks are trained at once, at most."""
    return min(plan.workers, max(stage.networks for stage in stages))


def needed_bytes(plan: Plan, facts: Facts) -> int | None:
    """Return about how many bytes the largest training takes beside the bare process.

    None for a user's own network that cannot be run without numbers.
    """
    shape = (plan.recipe.batch_size, facts.channels, *plan.image_size)
    mask = (plan.recipe.batch_size, facts.outputs, *plan.image_size)
    found = []
    for stage in planned_stages(plan, facts):
        inputs = (shape, mask) if stage.scores_masks else (shape,)
        try:
            needed = training_bytes(
                stage.network,
                plan.compute,
                inputs,
                channels=facts.channels,
                outputs=stage.outputs,
            )
        except Exception:
            # Whatever a user's network does on a device without numbers.
            if not isinstance(stage.network, CustomConfig):
                raise
            return None
        found.append(needed)
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
        plain = machine.ask(asked, together=True)
        if HOPED_FOR * plain.step * steps < MARGIN * SHORTEST * shapes:
            return False
        compiled = machine.ask(replace(asked, job=job), together=True)
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
