"""Batches made part by part: rows gathered on the host, disturbed in groups of equal treatment.

The way for the CPU, where small groups stay in its cache.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from imseg.data.cache.store import gather, open_array
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.samples import Batch, SampleRefs, Samples, as_input
from imseg.engine.training.sample_set import SampleSet
from imseg.ops.augment import augment
from imseg.ops.inconsistency import COLORS, block_input, block_output, draw_color_keys, make_fill
from imseg.tasks import Planes


class CpuBatches:
    """Makes batches of the samples of several parts.

    Args:
        parts: Where images and targets lie, and how they are disturbed.
        samples: What running numbers stand for.
        compute: Device and memory format of the batches.
        paper: Disturb as the reference does where it differs from us.
    """

    def __init__(
        self, parts: tuple[SampleSet, ...], samples: Samples, compute: ComputeConfig, *, paper: bool
    ) -> None:
        self._parts = parts
        self._samples = samples
        self._compute = compute
        self._paper = paper
        self._images = [open_array(part.images) for part in parts]
        self._targets = [open_array(part.targets) for part in parts]
        self._shown = [None if part.shows is None else np.array(part.shows) for part in parts]
        self._masks = [
            None if part.inconsistent is None else open_array(part.inconsistent) for part in parts
        ]
        self._qualities = [
            None if part.qualities is None else open_array(part.qualities) for part in parts
        ]
        self._ignores = any(part.ignores for part in parts)

    def make(self, called: SampleRefs) -> Batch:
        """Return the samples as a batch."""
        pieces = [
            self._make_of(number, called.where(called.part == number))
            for number in called.part.unique().tolist()
        ]
        weights = [piece.weight for piece in pieces if piece.weight is not None]
        qualities = [piece.qualities for piece in pieces if piece.qualities is not None]
        return Batch(
            images=torch.cat([piece.images for piece in pieces]),
            targets=torch.cat([piece.targets for piece in pieces]),
            weight=torch.cat(weights) if weights else None,
            qualities=torch.cat(qualities) if qualities else None,
        )

    def _make_of(self, number: int, called: SampleRefs) -> Batch:
        part, mask, device = self._parts[number], self._masks[number], self._compute.device
        rows, shown = called.row.numpy(), self._shown[number]
        image_rows = rows if shown is None else shown[rows]
        stored = torch.from_numpy(gather(self._images[number], image_rows)).to(device)
        pixels = stored.permute(0, 3, 1, 2)
        targets = torch.from_numpy(gather(self._targets[number], rows)).to(device)
        inconsistent = fill = None
        if mask is not None:
            inconsistent = torch.from_numpy(gather(mask, rows)).to(device).bool()
            if part.blocks_input:
                fill = _fill_of(part, pixels, image_rows)
                pixels = block_input(pixels, inconsistent, fill)
            if part.blocks_output:
                targets = block_output(targets, inconsistent)
        if part.copies is not None:
            names = self._samples.seeds_of(number, called)
            pixels, targets, inconsistent = self._augmented(
                part, names, pixels, targets, inconsistent, fill=fill
            )
        weight = None
        if self._ignores:
            weight = torch.ones_like(targets[:, :1], dtype=torch.float32)
            if inconsistent is not None and part.ignores:
                weight = weight.masked_fill(inconsistent, 0.0)
        return Batch(
            images=as_input(pixels, self._compute),
            targets=targets,
            weight=weight,
            qualities=self._qualities_of(number, called),
        )

    def _qualities_of(self, number: int, called: SampleRefs) -> Float[Tensor, "b r k"] | None:
        stored = self._qualities[number]
        if stored is None:
            return None
        rows = torch.from_numpy(gather(stored, called.row.numpy()))
        return rows.to(self._compute.device, torch.float32)

    def _augmented(
        self,
        part: SampleSet,
        names: list[int | None],
        pixels: UInt8[Tensor, "b c h w"],
        targets: Planes,
        inconsistent: Bool[Tensor, "b 1 h w"] | None,
        *,
        fill: UInt8[Tensor, "b c _ _"] | None,
    ) -> tuple[UInt8[Tensor, "b c h w"], Planes, Bool[Tensor, "b 1 h w"] | None]:
        """Return the samples with those disturbed that have a seed."""
        chosen = [place for place, name in enumerate(names) if name is not None]
        if part.copies is None or not chosen:
            return pixels, targets, inconsistent
        augmented = augment(
            pixels[chosen],
            targets[chosen],
            None if inconsistent is None else inconsistent[chosen],
            seeds=[name for name in names if name is not None],
            strength=part.copies.strength,
            rotate=part.copies.rotate,
            paper=self._paper,
            black=part.reblocks(paper=self._paper),
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
    part: SampleSet, pixels: UInt8[Tensor, "b c h w"], image_rows: npt.NDArray[np.int64]
) -> UInt8[Tensor, "b c _ _"] | None:
    """Return what blocked pixels of stored images become; None: black."""
    if part.block_color == "black":
        return None
    numbers = torch.full((len(pixels),), COLORS.index(part.block_color), device=pixels.device)
    keys = draw_color_keys(image_rows).to(pixels.device)
    return make_fill(pixels, numbers, keys, among={part.block_color})
