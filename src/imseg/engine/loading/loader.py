"""Batches of stored images: gathered, augmented and blocked, in seeded order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.cpu_batches import CpuBatches
from imseg.engine.loading.device_batches import DeviceBatches
from imseg.engine.loading.rows import Placement, placement_for
from imseg.engine.loading.samples import Batch, SampleIndex, as_input
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.sample_set import SampleSet
from imseg.types import Bytes


class BatchLoader:
    """Training samples of several sample sets under one running number.

    Args:
        sample_sets: Where images and targets lie, and how they are augmented.
        compute: Device and memory format of the batches.
        seed: Seed of augmentations that are new at every look.
        paper: Augment as the reference does where it differs from us.
        placement: How batches are made, which changes no number; by the device when None.

    Raises:
        ValueError: If only some sample sets have qualities, or there is not one count of copies per
            image.
    """

    def __init__(
        self,
        sample_sets: tuple[SampleSet, ...],
        compute: ComputeConfig,
        *,
        seed: int = 0,
        paper: bool = False,
        placement: Placement | None = None,
    ) -> None:
        if len({each.qualities is None for each in sample_sets}) > 1:
            raise ValueError("either all sample sets have qualities or none")
        self._samples = SampleIndex(sample_sets, seed=seed)
        placement = placement_for(compute.device) if placement is None else placement
        self._maker: CpuBatches | DeviceBatches
        if placement.on_device and len(self._samples):
            self._maker = DeviceBatches(
                sample_sets, self._samples, compute, placement=placement, paper=paper
            )
        else:
            self._maker = CpuBatches(sample_sets, self._samples, compute, paper=paper)

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def on_device(self) -> bool:
        """Whether batches are made on the device."""
        return isinstance(self._maker, DeviceBatches)

    def feed(self, batches: Sequence[Int64[Tensor, "b"]]) -> Iterator[Batch]:
        """Yield the samples with these running numbers, batch after batch, each set by set.

        What a sample looks like depends on how often it was taken before, never on its neighbors.
        On a device other than the CPU all that the host knows about all batches is sent ahead.

        Args:
            batches: Running numbers on the CPU, of a whole pass if possible.
        """
        refs = map(self._samples.refs, batches)
        if isinstance(self._maker, DeviceBatches):
            yield from self._maker.feed(list(refs))
        else:
            yield from map(self._maker.make, refs)

    def skip(self, batches: Sequence[Int64[Tensor, "b"]]) -> None:
        """Count the looks of ``feed`` without making anything."""
        for numbers in batches:
            self._samples.refs(numbers)

    def take(self, numbers: Int64[Tensor, "b"]) -> Batch:
        """Return the samples with these running numbers: ``feed`` of one batch."""
        return next(self.feed([numbers]))

    def forget_looks(self) -> None:
        """Make the next look at each sample its first."""
        self._samples.forget_looks()


def to_device(pixels: Bytes, compute: ComputeConfig) -> Float[Tensor, "b c h w"]:
    """Return ``n h w c`` unsigned bytes as images with values 0..1 on the device."""
    there = torch.from_numpy(np.array(pixels)).to(compute.device)
    return as_input(there.permute(0, 3, 1, 2), compute)


def epochs(
    images: int, recipe: Recipe, generator: torch.Generator
) -> Iterator[list[UInt8[Tensor, "b"]]]:
    """Yield the batches up to each look at the validation images until the steps are spent.

    Batches hold running numbers. There is a look every ``validate_every`` epochs.

    Ours: an epoch is every image once. ``paper``: an endless stream, reshuffled every pass with its
    short last batch included, cut into epochs of floor(n / batch size) steps.
    """
    left = recipe.limited(recipe.epochs * recipe.steps_per_epoch(images))
    in_epoch = recipe.steps_per_epoch(images) * max(1, recipe.validate_every)
    stream = _endless(images, recipe, generator)
    while left > 0:
        count = min(left, in_epoch)
        yield [next(stream) for _ in range(count)]
        left -= count


def _endless(images: int, recipe: Recipe, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        batches = list(torch.randperm(images, generator=generator).split(recipe.batch_size))
        alone = len(batches[-1]) == 1 and recipe.batch_size > 1
        if not recipe.paper and len(batches) > 1 and alone:
            batches[-2:] = [torch.cat(batches[-2:])]
        yield from batches
