"""How many networks are trained side by side."""

from __future__ import annotations

from typing import Any

import torch

from imseg.approaches.schedule import Facts
from imseg.approaches.settings import Settings
from imseg.engine.device import Numerics, resolve_precision, usable_cores
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
    settings: Settings,
    facts: Facts,
    budget: dict[str, Any],
    device: str,
    factory: NetworkFactory | None = None,
) -> int:
    """Return how many networks are trained side by side: what was asked for, or what pays.

    Args:
        settings: What was asked for.
        facts: What the data is like.
        budget: Networks, image size, width and batch size of the plan.
        device: Where they are trained.
        factory: The user's own network, which other processes could not make by its name.
    """
    if settings.workers:
        return settings.workers
    kind = torch.device(device).type
    if factory is not None or kind not in ("cpu", "cuda"):
        return 1
    wanted: int = min(usable_cores(), max(budget["start_networks"], budget["networks"]))
    if kind == "cpu":
        return wanted
    free = free_device_memory(device) or 0
    return on_gpu(wanted, free=free, each=_bytes_of(settings, facts, budget, device))


def on_gpu(wanted: int, *, free: int, each: int) -> int:
    """Return how many of so many networks share a GPU, at least one.

    Args:
        wanted: Networks of a stage, or processor cores if they are fewer.
        free: Bytes that are free on it.
        each: Bytes that the training of one takes.
    """
    fitting = int(SHARE * free // (each + CONTEXT))
    return max(1, min(wanted, MOST_ON_GPU, fitting))


def _bytes_of(settings: Settings, facts: Facts, budget: dict[str, Any], device: str) -> int:
    precision = resolve_precision(settings.precision, device)
    spec = NetworkSpec(channels=facts.channels, outputs=facts.outputs, width=budget["width"])
    shape = (budget["batch_size"], facts.channels, *budget["image_size"])
    return training_bytes(spec, Numerics(precision=precision), (shape,))
