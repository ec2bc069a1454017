"""What mask scorers say about masks: stored ones, and candidates for a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.inference.predictor import BATCH
from imseg.engine.loading.loader import BatchLoader, to_device
from imseg.engine.loading.rows import placement_for
from imseg.engine.training.sample_set import SampleSet
from imseg.tasks import Planes
from imseg.tasks.quality import Quality
from imseg.types import Bytes


def score_masks(
    scorers: Sequence[nn.Module],
    part: SampleSet,
    quality: Quality,
    compute: ComputeConfig,
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
    plain = replace(part, copies=None, qualities=None)
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
    compute: ComputeConfig,
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
    compute: ComputeConfig,
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
    compute: ComputeConfig,
) -> Float[Tensor, "n b r k"]:
    with torch.inference_mode(), compute.applied():
        return torch.stack(
            [
                quality.probabilities(
                    scorer_logits(scorer, images, targets, quality=quality, compute=compute)
                ).cpu()
                for scorer in scorers
            ]
        )
