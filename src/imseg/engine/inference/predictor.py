"""Batched inference: stored images in, probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.hardware.memory import free_unused, is_exhausted
from imseg.engine.loading.loader import to_device
from imseg.engine.loading.samples import as_input
from imseg.tasks import Task, Votes
from imseg.types import Bytes

BATCH = 32
"""Images predicted at once; results do not depend on it beyond rounding."""


def predict(
    network: nn.Module, images: Bytes, task: Task, compute: ComputeConfig, *, batch: int = BATCH
) -> Iterator[Float[Tensor, "b k h w"]]:
    """Yield probabilities for ``n h w c`` images, batch after batch, on the device.

    Args:
        network: In inference mode.
        images: Stored images of one size.
        task: How outputs become probabilities.
        compute: Device, precision, memory format and threads.
        batch: Images at once.
    """
    with torch.inference_mode(), compute.applied():
        for start in range(0, len(images), batch):
            there = to_device(images[start : start + batch], compute)
            yield _probabilities(network, there, task)


def predict_mean(
    networks: Sequence[nn.Module],
    images: Bytes,
    *,
    task: Task,
    compute: ComputeConfig,
    teachers: Sequence[nn.Module] = (),
) -> tuple[Float[Tensor, "b k h w"], Votes | None]:
    """Return the mean of several networks' probabilities for one batch, and what teachers say.

    Each network makes one forward pass, also where it is among the teachers.

    Args:
        networks: Whose mean is wanted, at least one.
        images: ``n h w c``.
        task: How outputs become probabilities.
        compute: Device, precision, memory format and threads.
        teachers: Networks whose hard predictions are wanted too.

    Returns:
        The mean, and one hard prediction per teacher; None without teachers. On the device.
    """
    with torch.inference_mode(), compute.applied():
        there, every = to_device(images, compute), dict.fromkeys((*networks, *teachers))
        found = {network: _probabilities(network, there, task) for network in every}
        total = found[networks[0]]
        for network in networks[1:]:
            total = total + found[network]
        votes = [task.hard_prediction(found[teacher]) for teacher in teachers]
        return total / len(networks), torch.stack(votes) if votes else None


def probabilities_of(
    network: nn.Module, pixels: UInt8[Tensor, "b c h w"], task: Task, compute: ComputeConfig
) -> Float[Tensor, "b k h w"]:
    """Return probabilities for one batch of images that are on the device."""
    with torch.inference_mode(), compute.applied():
        return _probabilities(network, as_input(pixels, compute), task)


def vote(teachers: Sequence[nn.Module], images: Bytes, task: Task, compute: ComputeConfig) -> Votes:
    """Return each teacher's hard prediction for one batch of images, on the device."""
    with torch.inference_mode(), compute.applied():
        there = to_device(images, compute)
        return torch.stack(
            [task.hard_prediction(_probabilities(teacher, there, task)) for teacher in teachers]
        )


def _probabilities(
    network: nn.Module, images: Float[Tensor, "b c h w"], task: Task
) -> Float[Tensor, "b k h w"]:
    return in_halves(lambda some: task.probabilities(network(some)), images)


def in_halves(ask: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return what ``ask`` returns for images: all at once, or in halves where memory is too short.

    Args:
        ask: Returns one result per image, whatever other images there are.
        images: Any, along the first axis.
    """
    try:
        return ask(images)
    except Exception as error:
        if len(images) < 2 or not is_exhausted(error):
            raise
    free_unused()
    half = len(images) // 2
    return torch.cat([in_halves(ask, images[:half]), in_halves(ask, images[half:])])
