"""Batches of stored images: gathered, disturbed and blocked on the device, in seeded order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from imseg.data.store import gather, open_array
from imseg.engine import seeds
from imseg.engine.device import Numerics
from imseg.engine.job import Recipe
from imseg.engine.part import Copies, Part
from imseg.ops.disturb import disturb
from imseg.ops.inconsistency import block_input, block_output
from imseg.tasks import Planes
from imseg.types import Bytes

PLAIN = -1
"""Stands for the image as it is where copies are numbered from 0."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and targets on the device."""

    images: Float[Tensor, "b c h w"]
    """0..1."""
    targets: Planes
    """Inside numbering."""
    weight: Float[Tensor, "b 1 h w"] | None
    """0 where the loss ignores a pixel; None if nothing is ignored."""
    qualities: Float[Tensor, "b r k"] | None = None
    """What a judge is to say about the targets; None where no judge is trained."""


class Source:
    """Training samples of several parts under one running number.

    Args:
        parts: Where images and targets lie, and how they are disturbed.
        numerics: Device and memory format of the batches.
        seed: Seed of disturbances that are new at every look.
        paper: Disturb as the reference does where it differs from us.

    Raises:
        ValueError: If only some parts have qualities, or there is not one count of copies an image.
    """

    def __init__(
        self, parts: tuple[Part, ...], numerics: Numerics, *, seed: int = 0, paper: bool = False
    ) -> None:
        self._numerics = numerics
        self._parts = parts
        self._paper = paper
        self._seed = seed
        self._images = [open_array(part.images) for part in parts]
        self._targets = [open_array(part.targets) for part in parts]
        self._shown = [None if part.shows is None else np.array(part.shows) for part in parts]
        self._masks = [
            None if part.inconsistent is None else open_array(part.inconsistent) for part in parts
        ]
        self._qualities = [
            None if part.qualities is None else open_array(part.qualities) for part in parts
        ]
        if len({qualities is None for qualities in self._qualities}) > 1:
            raise ValueError("either all parts have qualities or none")
        places = [
            (number, row, copy)
            for number, part in enumerate(parts)
            for row, copy in _rows_and_copies(part)
        ]
        self._places = torch.tensor(places, dtype=torch.long).reshape(-1, 3)
        self._looks = torch.zeros(len(places), dtype=torch.long)
        self._ignores = any(part.ignores for part in parts)

    def __len__(self) -> int:
        return int(self._places.shape[0])

    def take(self, numbers: Tensor) -> Batch:
        """Return the samples with these running numbers, grouped by part.

        What a sample looks like depends on how often it was taken before, never on its neighbors.
        """
        places = self._places[numbers]
        pieces = []
        for number in places[:, 0].unique().tolist():
            chosen = places[:, 0] == number
            pieces.append(self._take_from(number, places[chosen], self._looks[numbers[chosen]]))
        self._looks[numbers] += 1
        weights = [piece.weight for piece in pieces if piece.weight is not None]
        qualities = [piece.qualities for piece in pieces if piece.qualities is not None]
        return Batch(
            images=torch.cat([piece.images for piece in pieces]),
            targets=torch.cat([piece.targets for piece in pieces]),
            weight=torch.cat(weights) if weights else None,
            qualities=torch.cat(qualities) if qualities else None,
        )

    def _take_from(self, number: int, places: Tensor, looks: Tensor) -> Batch:
        part, mask, device = self._parts[number], self._masks[number], self._numerics.device
        rows, shown = places[:, 1].numpy(), self._shown[number]
        image_rows = rows if shown is None else shown[rows]
        stored = torch.from_numpy(gather(self._images[number], image_rows)).to(device)
        pixels = stored.permute(0, 3, 1, 2)
        targets = torch.from_numpy(gather(self._targets[number], rows)).to(device)
        inconsistent = None
        if mask is not None:
            inconsistent = torch.from_numpy(gather(mask, rows)).to(device).bool()
            if part.blocks_input:
                pixels = block_input(pixels, inconsistent)
            if part.blocks_output:
                targets = block_output(targets, inconsistent)
        if part.copies is not None:
            names = self._seeds(part.copies, number, places, looks)
            pixels, targets, inconsistent = self._disturbed(
                part, names, pixels, targets, inconsistent
            )
        weight = None
        if self._ignores:
            weight = torch.ones_like(targets[:, :1], dtype=torch.float32)
            if inconsistent is not None and part.ignores:
                weight = weight.masked_fill(inconsistent, 0.0)
        return Batch(
            images=as_input(pixels, self._numerics),
            targets=targets,
            weight=weight,
            qualities=self._qualities_of(number, places),
        )

    def _qualities_of(self, number: int, places: Tensor) -> Float[Tensor, "b r k"] | None:
        stored = self._qualities[number]
        if stored is None:
            return None
        rows = torch.from_numpy(gather(stored, places[:, 1].numpy()))
        return rows.to(self._numerics.device, torch.float32)

    def _seeds(
        self, copies: Copies, number: int, places: Tensor, looks: Tensor
    ) -> list[int | None]:
        """Return a seed for each sample; None for an image as it is."""
        if copies.online:
            pairs = zip(places[:, 1].tolist(), looks.tolist(), strict=True)
            return [seeds.derive(self._seed, "look", number, row, look) for row, look in pairs]
        return [
            None if copy == PLAIN else seeds.derive(copies.seed, "copy", row, copy)
            for row, copy in places[:, 1:].tolist()
        ]

    def _disturbed(
        self,
        part: Part,
        names: list[int | None],
        pixels: UInt8[Tensor, "b c h w"],
        targets: Planes,
        inconsistent: Bool[Tensor, "b 1 h w"] | None,
    ) -> tuple[UInt8[Tensor, "b c h w"], Planes, Bool[Tensor, "b 1 h w"] | None]:
        """Return the samples with those disturbed that have a seed."""
        chosen = [place for place, name in enumerate(names) if name is not None]
        if part.copies is None or not chosen:
            return pixels, targets, inconsistent
        disturbed = disturb(
            pixels[chosen],
            targets[chosen],
            None if inconsistent is None else inconsistent[chosen],
            seeds=[name for name in names if name is not None],
            strength=part.copies.strength,
            rotate=part.copies.rotate,
            paper=self._paper,
            black=part.blocks_input and not self._paper,
        )
        if len(chosen) == len(names):
            return disturbed
        pixels, targets = pixels.clone(), targets.clone()
        pixels[chosen], targets[chosen] = disturbed[0], disturbed[1]
        if inconsistent is not None and disturbed[2] is not None:
            inconsistent = inconsistent.clone()
            inconsistent[chosen] = disturbed[2]
        return pixels, targets, inconsistent


def to_device(pixels: Bytes, numerics: Numerics) -> Float[Tensor, "b c h w"]:
    """Return ``n h w c`` unsigned bytes as images with values 0..1 on the device."""
    there = torch.from_numpy(np.array(pixels)).to(numerics.device)
    return as_input(there.permute(0, 3, 1, 2), numerics)


def as_input(pixels: UInt8[Tensor, "b c h w"], numerics: Numerics) -> Float[Tensor, "b c h w"]:
    """Return bytes as images with values 0..1 in the memory format of the network."""
    return pixels.float().div_(255).contiguous(memory_format=numerics.memory_format)


def _rows_and_copies(part: Part) -> list[tuple[int, int]]:
    """Return the samples of a part: all plain images, then all first copies, all second ones."""
    copies = part.copies
    if copies is None or copies.online:
        return [(row, PLAIN) for row in part.indices]
    counts = copies.counts or (copies.count,) * len(part.indices)
    wanted = list(zip(part.indices, counts, strict=True))
    plain = [(row, PLAIN) for row in part.indices if copies.plain]
    return plain + [
        (row, copy)
        for copy in range(max(counts, default=0))
        for row, count in wanted
        if copy < count
    ]


def epochs(
    images: int, recipe: Recipe, generator: torch.Generator
) -> Iterator[list[UInt8[Tensor, "b"]]]:
    """Yield the batches of each epoch as running numbers until the recipe's steps are spent.

    Ours: an epoch is every image once. ``paper``: an endless stream, reshuffled every pass with its
    short last batch included, cut into epochs of floor(n / batch size) steps.
    """
    left = recipe.steps(images)
    in_epoch = recipe.steps_per_epoch(images)
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
