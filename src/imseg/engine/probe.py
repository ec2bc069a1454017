"""How long an optimizer step takes on this machine: measured, not guessed."""

from __future__ import annotations

import time

import torch

from imseg.engine.device import Numerics, keep_freed_memory
from imseg.engine.job import NetworkSpec
from imseg.engine.networks import NetworkFactory, build

CROWDING = 1.25
"""How much slower a step is when every core trains a network of its own (shared memory
bandwidth)."""


def seconds_per_step(
    spec: NetworkSpec,
    numerics: Numerics,
    *,
    size: tuple[int, int],
    batch_size: int,
    workers: int,
    factory: NetworkFactory | None = None,
) -> float:
    """Return the seconds of an optimizer step of a network with others side by side.

    Args:
        spec: Which network.
        numerics: How it is computed.
        size: Height and width of the images.
        batch_size: Images a step.
        workers: Networks trained at the same time.
        factory: The user's own network.
    """
    keep_freed_memory()
    small = max(2, min(batch_size, 8))
    network = build(spec, numerics, factory=factory).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    images = torch.rand(small, spec.channels, *size, device=numerics.device)
    images = images.contiguous(memory_format=numerics.memory_format)
    best = float("inf")
    for _ in range(3):
        began = time.monotonic()
        with numerics.applied():
            optimizer.zero_grad()
            network(images).float().square().mean().backward()
            optimizer.step()
        if images.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.monotonic() - began)
    return best * batch_size / small * (CROWDING if workers > 1 else 1.0)
