"""Batched inference: stored images in, probabilities out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from imseg.engine.batches import as_input, to_device
from imseg.engine.device import Numerics
from imseg.tasks import Task, Votes
from imseg.types import Bytes

BATCH = 32
"""Images predicted at once; results do not depend on it beyond rounding."""


def predict(
    network: nn.Module, images: Bytes, task: Task, numerics: Numerics, *, batch: int = BATCH
) -> Iterator[Float[Tensor, "b k h w"]]:
    """Yield probabilities for ``n h w c`` images, batch after batch, on the device.

    Args:
        network: In inference mode.
        images: Stored images of one size.
        task: How outputs become probabilities.
        numerics: Device, precision, memory format and threads.
        batch: Images at once.
    """
    with torch.inference_mode(), numerics.applied():
        for start in range(0, len(images), batch):
            yield task.probabilities(network(to_device(images[start : start + batch], numerics)))


def predict_mean(
    networks: Sequence[nn.Module], images: Bytes, task: Task, numerics: Numerics
) -> Float[Tensor, "b k h w"]:
    """Return the mean of several networks' probabilities for one batch of images."""
    with torch.inference_mode(), numerics.applied():
        there = to_device(images, numerics)
        total = task.probabilities(networks[0](there))
        for network in networks[1:]:
            total = total + task.probabilities(network(there))
        return total / len(networks)


def probabilities_of(
    network: nn.Module, pixels: UInt8[Tensor, "b c h w"], task: Task, numerics: Numerics
) -> Float[Tensor, "b k h w"]:
    """Return probabilities for one batch of images that are on the device."""
    with torch.inference_mode(), numerics.applied():
        return task.probabilities(network(as_input(pixels, numerics)))


def vote(teachers: Sequence[nn.Module], images: Bytes, task: Task, numerics: Numerics) -> Votes:
    """Return the teachers' ballots for one batch of images, on the device."""
    with torch.inference_mode(), numerics.applied():
        there = to_device(images, numerics)
        return torch.stack(
            [task.ballot(task.probabilities(teacher(there))) for teacher in teachers]
        )
