"""Batched inference: probabilities of stored images, pictures of any size, scores of masks.

An image may be looked at in several orientations (flipped, turned): each prediction is moved back,
and their mean is what a network says (test-time augmentation).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from imseg.engine.hardware import device
from imseg.engine.loading.loader import BatchLoader, to_device
from imseg.engine.loading.rows import placement_for
from imseg.engine.loading.samples import SampleSet, as_input
from imseg.ops.augment import UNMOVED, Move, move, move_back
from imseg.tasks import Planes, Task, Votes
from imseg.tasks.quality import Quality
from imseg.types import Bytes

BATCH = 32
"""Images predicted at once; results do not depend on it beyond rounding."""


def predict_mean(
    networks: Sequence[nn.Module],
    images: Bytes,
    *,
    task: Task,
    compute: device.ComputeConfig,
    teachers: Sequence[nn.Module] = (),
    moves: Sequence[Move] = UNMOVED,
) -> tuple[Float[Tensor, "b k h w"], Votes | None]:
    """Return the mean of several networks' probabilities for one batch, and what teachers say.

    Each network makes one forward pass per move, also where it is among the teachers.

    Args:
        networks: Whose mean is wanted, at least one.
        images: ``n h w c``.
        task: How outputs become probabilities.
        compute: Device, precision, memory format and threads.
        teachers: Networks whose hard predictions are wanted too.
        moves: The orientations in which each network sees the images; its probabilities are the
            mean over them.

    Returns:
        The mean, and one hard prediction per teacher; None without teachers. On the device.
    """
    with torch.inference_mode(), compute.applied():
        there, every = to_device(images, compute), dict.fromkeys((*networks, *teachers))
        found = {network: _probabilities(network, there, task, moves, compute) for network in every}
        total = found[networks[0]]
        for network in networks[1:]:
            total = total + found[network]
        votes = [task.hard_prediction(found[teacher]) for teacher in teachers]
        return total / len(networks), torch.stack(votes) if votes else None


def probabilities_of(
    network: nn.Module,
    pixels: UInt8[Tensor, "b c h w"],
    task: Task,
    compute: device.ComputeConfig,
    *,
    moves: Sequence[Move] = UNMOVED,
) -> Float[Tensor, "b k h w"]:
    """Return the mean probabilities over moves for one batch of images that are on the device."""
    with torch.inference_mode(), compute.applied():
        return _probabilities(network, as_input(pixels, compute), task, moves, compute)


def vote(
    teachers: Sequence[nn.Module],
    images: Bytes,
    task: Task,
    compute: device.ComputeConfig,
    *,
    moves: Sequence[Move] = UNMOVED,
) -> Votes:
    """Return each teacher's hard prediction for one batch of images, on the device.

    It is made from the teacher's mean probabilities over moves.
    """
    with torch.inference_mode(), compute.applied():
        there = to_device(images, compute)
        return torch.stack(
            [
                task.hard_prediction(_probabilities(teacher, there, task, moves, compute))
                for teacher in teachers
            ]
        )


LOOKS = 6
"""Predictions of one image of which the fastest says how long one takes."""


def seconds_per_image(
    networks: Sequence[nn.Module],
    shape: tuple[int, int, int],
    *,
    task: Task,
    compute: device.ComputeConfig,
) -> float:
    """Return how long one look at an image takes here, all networks together, in seconds.

    A black image is predicted several times, and the fastest counts: the first one sets things up,
    and other work on the machine is not to decide what is predicted.

    Args:
        networks: In inference mode.
        shape: Height, width and channels of the image.
        task: How outputs become probabilities.
        compute: How the networks are computed.
    """
    image, took = np.zeros((1, *shape), np.uint8), []
    for _ in range(LOOKS):
        began = time.monotonic()
        predict_mean(networks, image, task=task, compute=compute)[0].cpu()
        took.append(time.monotonic() - began)
    return min(took)


def _probabilities(
    network: nn.Module,
    images: Float[Tensor, "b c h w"],
    task: Task,
    moves: Sequence[Move],
    compute: device.ComputeConfig,
) -> Float[Tensor, "b k h w"]:
    """Return a network's probabilities, averaged over moves of the images; one move at a time."""

    def seen(some: Tensor, by: Move) -> Tensor:
        moved = move(some, by).contiguous(memory_format=compute.memory_format)
        return move_back(task.probabilities(network(moved)), by)

    def averaged(some: Tensor) -> Tensor:
        total = seen(some, moves[0])
        for by in moves[1:]:
            total = total + seen(some, by)
        return total / len(moves) if len(moves) > 1 else total

    return in_halves(averaged, images)


def in_halves(ask: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return what ``ask`` returns for images: all at once, or in halves where memory is too short.

    Args:
        ask: Returns one result per image, whatever other images there are.
        images: Any, along the first axis.
    """
    try:
        return ask(images)
    except Exception as error:
        if len(images) < 2 or not device.is_exhausted(error):
            raise
    device.free_unused()
    half = len(images) // 2
    return torch.cat([in_halves(ask, images[:half]), in_halves(ask, images[half:])])


def score_masks(
    scorers: Sequence[nn.Module],
    part: SampleSet,
    quality: Quality,
    compute: device.ComputeConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "n b r k"]:
    """Return what each mask scorer says about each used target of a part, on the CPU.

    Images and targets are blocked as the part says; copies are left out.

    Args:
        scorers: Networks in inference mode.
        part: At least one image with its target.
        quality: What a mask scorer scores.
        compute: How mask scorers are computed.
        progress: Told about targets: done, and all.

    Raises:
        ValueError: If the part is empty.
    """
    # Each mask is looked at once, so there is nothing to keep on the device.
    passing = replace(placement_for(compute.device), budget=0)
    plain = replace(part, copies=None, qualities=None, window=None)
    source = BatchLoader((plain,), compute, placement=passing)
    if not len(source):
        raise ValueError("there is nothing to score")
    said, done = [], 0
    for batch in source.feed(torch.arange(len(source)).split(BATCH)):
        said.append(_ask(scorers, batch.images, batch.targets, quality=quality, compute=compute))
        done += len(batch)
        if progress is not None:
            progress(done, len(source))
    return torch.cat(said, dim=1)


def score_candidates(
    scorers: Sequence[nn.Module],
    images: Bytes,
    labels: Planes,
    quality: Quality,
    compute: device.ComputeConfig,
) -> Float[Tensor, "n b r k"]:
    """Return what each mask scorer says about a mask for each image of one batch, on the CPU.

    Args:
        scorers: Networks in inference mode.
        images: ``n h w c``, as they are.
        labels: Their candidates, in inside numbering.
        quality: What a mask scorer scores.
        compute: How mask scorers are computed.
    """
    there = labels.to(compute.device)
    return _ask(scorers, to_device(images, compute), there, quality=quality, compute=compute)


def scorer_logits(
    scorer: Callable[..., Tensor],
    images: Float[Tensor, "b c h w"],
    targets: Planes,
    *,
    quality: Quality,
    compute: device.ComputeConfig,
) -> Float[Tensor, "b r k"]:
    """Return what a mask scorer puts out for a batch of images and masks on its device."""
    masks = quality.as_input(targets).contiguous(memory_format=compute.memory_format)
    logits: Tensor = scorer(images, masks)
    return logits.float()


def _ask(
    scorers: Sequence[nn.Module],
    images: Float[Tensor, "b c h w"],
    targets: Planes,
    *,
    quality: Quality,
    compute: device.ComputeConfig,
) -> Float[Tensor, "n b r k"]:
    ask = partial(scorer_logits, images=images, targets=targets, quality=quality, compute=compute)
    with torch.inference_mode(), compute.applied():
        return torch.stack([quality.probabilities(ask(scorer)).cpu() for scorer in scorers])
