"""Batched inference: stored images in, probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.hardware.exhaustion import free_unused, is_exhausted
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
            yield in_halves(lambda some: task.probabilities(network(some)), there)


def predict_mean(
    networks: Sequence[nn.Module], images: Bytes, task: Task, compute: ComputeConfig
) -> Float[Tensor, "b k h w"]:
    """Return the mean of several networks' probabilities for one batch of images."""
    with torch.inference_mode(), compute.applied():
        there = to_device(images, compute)

        def mean(some: Tensor) -> Tensor:
            total = task.probabilities(networks[0](some))
            for network in networks[1:]:
                total = total + task.probabilities(network(some))
            return total / len(networks)

        return in_halves(mean, there)


def probabilities_of(
    network: nn.Module, pixels: UInt8[Tensor, "b c h w"], task: Task, compute: ComputeConfig
) -> Float[Tensor, "b k h w"]:
    """Return probabilities for one batch of images that are on the device."""
    with torch.inference_mode(), compute.applied():
        there = as_input(pixels, compute)
        return in_halves(lambda some: task.probabilities(network(some)), there)


def vote(teachers: Sequence[nn.Module], images: Bytes, task: Task, compute: ComputeConfig) -> Votes:
    """Return the teachers' ballots for one batch of images, on the device."""
    with torch.inference_mode(), compute.applied():
        there = to_device(images, compute)

        def hard_predictions(teacher: nn.Module) -> Tensor:
            return in_halves(
                lambda some: task.hard_prediction(task.probabilities(teacher(some))), there
            )

        return torch.stack([hard_predictions(teacher) for teacher in teachers])


def in_halves(ask: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return what is said about images: all at once, or in halves where memory is too short.

    Args:
        ask: Says something about each image, whatever others there are.
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
