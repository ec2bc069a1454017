"""How many networks are trained side by side."""

from __future__ import annotations

import torch

from imseg.approaches.plan import Plan
from imseg.approaches.schedule import Facts, planned_stages
from imseg.engine.device import usable_cores
from imseg.engine.job import NetworkSpec
from imseg.engine.memory import free_device_memory, training_bytes
from imseg.engine.networks import NetworkFactory

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
    return training_bytes(spec, plan.numerics, (shape,))
