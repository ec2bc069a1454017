"""Batches made set by set: rows gathered on the host, augmented in groups of equal parameters.

The way for the CPU, where small groups stay in its cache.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from imseg.data.cache.store import gather, open_array
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.samples import Batch, SampleIndex, SampleRefs, as_input
from imseg.engine.training.sample_set import SampleSet
from imseg.ops.augment import augment
from imseg.ops.inconsistency import COLORS, block_input, block_output, draw_color_keys, make_fill
from imseg.tasks import Planes


class CpuBatches:
    """Makes batches of the samples of several sample sets.

    Args:
        sample_sets: Where images and targets lie, and how they are augmented.
        samples: What running numbers stand for.
        compute: Device and memory format of the batches.
        paper: Augment as the reference does where it differs from us.
    """

    def __init__(
        self,
        sample_sets: tuple[SampleSet, ...],
        samples: SampleIndex,
        compute: ComputeConfig,
        *,
        paper: bool,
    ) -> None:
        self._sample_sets = sample_sets
        self._samples = samples
        self._compute = compute
        self._paper = paper
        names = ("images", "targets", "inconsistent", "qualities")
        self._arrays = [
            {name: open_array(path) for name in names if (path := getattr(each, name)) is not None}
            for each in sample_sets
        ]
        self._shows = [None if each.shows is None else np.array(each.shows) for each in sample_sets]
        self._ignores = any(each.ignores for each in sample_sets)

    def make(self, refs: SampleRefs) -> Batch:
        """Return the samples as a batch."""
        pieces = [
            self._make_of(number, refs.where(refs.sample_set == number))
            for number in refs.sample_set.unique().tolist()
        ]
        weights = [piece.weight for piece in pieces if piece.weight is not None]
        qualities = [piece.qualities for piece in pieces if piece.qualities is not None]
        return Batch(
            images=torch.cat([piece.images for piece in pieces]),
            targets=torch.cat([piece.targets for piece in pieces]),
            weight=torch.cat(weights) if weights else None,
            qualities=torch.cat(qualities) if qualities else None,
        )

    def _make_of(self, number: int, refs: SampleRefs) -> Batch:
        sample_set, arrays = self._sample_sets[number], self._arrays[number]
        rows, shows = refs.row.numpy(), self._shows[number]
        image_rows = rows if shows is None else shows[rows]

        def fetch(name: str, rows: npt.NDArray[np.int64] = rows) -> Tensor:
            return torch.from_numpy(gather(arrays[name], rows)).to(self._compute.device)

        pixels, targets = fetch("images", image_rows).permute(0, 3, 1, 2), fetch("targets")
        inconsistent = fill = None
        if "inconsistent" in arrays:
            inconsistent = fetch("inconsistent").bool()
            if sample_set.blocks_input:
                fill = _fill_of(sample_set, pixels, image_rows)
                pixels = block_input(pixels, inconsistent, fill)
            if sample_set.blocks_output:
                targets = block_output(targets, inconsistent)
        if sample_set.copies is not None:
            names = self._samples.seeds_of(number, refs)
            pixels, targets, inconsistent = self._augmented(
                sample_set, names, pixels, targets, inconsistent, fill=fill
            )
        weight = None
        if self._ignores:
            weight = torch.ones_like(targets[:, :1], dtype=torch.float32)
            if inconsistent is not None and sample_set.ignores:
                weight = weight.masked_fill(inconsistent, 0.0)
        return Batch(
            images=as_input(pixels, self._compute),
            targets=targets,
            weight=weight,
            qualities=fetch("qualities").float() if "qualities" in arrays else None,
        )

    def _augmented(
        self,
        sample_set: SampleSet,
        names: list[int | None],
        pixels: UInt8[Tensor, "b c h w"],
        targets: Planes,
        inconsistent: Bool[Tensor, "b 1 h w"] | None,
        *,
        fill: UInt8[Tensor, "b c _ _"] | None,
    ) -> tuple[UInt8[Tensor, "b c h w"], Planes, Bool[Tensor, "b 1 h w"] | None]:
        """Return the samples with those augmented that have a seed."""
        chosen = [place for place, name in enumerate(names) if name is not None]
        if sample_set.copies is None or not chosen:
            return pixels, targets, inconsistent
        augmented = augment(
            pixels[chosen],
            targets[chosen],
            None if inconsistent is None else inconsistent[chosen],
            seeds=[name for name in names if name is not None],
            strength=sample_set.copies.strength,
            rotate=sample_set.copies.rotate,
            paper=self._paper,
            black=sample_set.reblocks(paper=self._paper),
            fill=None if fill is None else fill[chosen],
        )
        if len(chosen) == len(names):
            return augmented
        pixels, targets = pixels.clone(), targets.clone()
        pixels[chosen], targets[chosen] = augmented[0], augmented[1]
        if inconsistent is not None and augmented[2] is not None:
            inconsistent = inconsistent.clone()
            inconsistent[chosen] = augmented[2]
        return pixels, targets, inconsistent


def _fill_of(
    sample_set: SampleSet, pixels: UInt8[Tensor, "b c h w"], image_rows: npt.NDArray[np.int64]
) -> UInt8[Tensor, "b c _ _"] | None:
    """Return what blocked pixels of stored images become; None: black."""
    color = sample_set.block_color
    if color == "black":
        return None
    numbers = torch.full((len(pixels),), COLORS.index(color), device=pixels.device)
    keys = draw_color_keys(image_rows).to(pixels.device)
    return make_fill(pixels, numbers, keys, among={color})
