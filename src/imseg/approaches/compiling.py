"""Whether compiling training steps pays for itself in a run: measured once, before it starts."""

from __future__ import annotations

from dataclasses import replace

import torch

from imseg.approaches.measured import network_of, question_about, side_by_side
from imseg.approaches.plan import Plan
from imseg.approaches.schedule import Facts, planned_stages
from imseg.engine.networks import NetworkFactory
from imseg.engine.probe import Prober, prober
from imseg.engine.question import Answer
from imseg.errors import ImsegError
from imseg.types import TargetSpec

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
    compiled = replace(asked, numerics=replace(asked.numerics, compile=True))
    steps, shapes = _each_worker(plan, facts)
    try:
        plain = machine.ask(asked, together=True)
        if HOPED_FOR * plain.step * steps < MARGIN * SHORTEST * shapes:
            return False
        return is_worth(plain, machine.ask(compiled, together=True), steps=steps, shapes=shapes)
    except ImsegError:
        return False  # the measurement was ended, as for a lack of memory


def is_worth(plain: Answer, compiled: Answer, *, steps: float, shapes: int) -> bool:
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
