"""Batches of stored images: gathered from memory maps, blocked on the device, in seeded order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from imseg.data.store import open_array
from imseg.engine.device import Numerics
from imseg.engine.job import Part, Recipe
from imseg.ops.inconsistency import block_input, block_output
from imseg.types import Bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and targets on the device."""

    images: Float[Tensor, "b c h w"]
    """0..1."""
    targets: UInt8[Tensor, "b t h w"]
    """Inside numbering."""
    weight: Float[Tensor, "b 1 h w"] | None
    """0 where the loss ignores a pixel; None if nothing is ignored."""


class Source:
    """Training images of several parts under one running number.

    Args:
        parts: Where images and targets lie.
        numerics: Device and memory format of the batches.
    """

    def __init__(self, parts: tuple[Part, ...], numerics: Numerics) -> None:
        self._numerics = numerics
        self._parts = parts
        self._images = [open_array(part.images) for part in parts]
        self._targets = [open_array(part.targets) for part in parts]
        self._masks = [
            None if part.inconsistent is None else open_array(part.inconsistent) for part in parts
        ]
        places = [(p, i) for p, part in enumerate(parts) for i in part.indices]
        self._places = torch.tensor(places, dtype=torch.long).reshape(-1, 2)
        self._ignores = any(part.ignores for part in parts)

    def __len__(self) -> int:
        return int(self._places.shape[0])

    def take(self, numbers: Tensor) -> Batch:
        """Return the images with these running numbers, grouped by part."""
        places = self._places[numbers]
        pieces = [
            self._take_from(p, places[places[:, 0] == p, 1].numpy())
            for p in places[:, 0].unique().tolist()
        ]
        weights = [piece.weight for piece in pieces if piece.weight is not None]
        return Batch(
            images=torch.cat([piece.images for piece in pieces]),
            targets=torch.cat([piece.targets for piece in pieces]),
            weight=torch.cat(weights) if weights else None,
        )

    def _take_from(self, number: int, rows: np.ndarray) -> Batch:
        part, mask = self._parts[number], self._masks[number]
        images = to_device(self._images[number][rows], self._numerics)
        targets = torch.from_numpy(self._targets[number][rows]).to(self._numerics.device)
        weight = torch.ones_like(targets[:, :1], dtype=torch.float32) if self._ignores else None
        if mask is not None:
            inconsistent = torch.from_numpy(mask[rows]).to(self._numerics.device).bool()
            if part.blocks_input:
                images = block_input(images, inconsistent)
            if part.blocks_output:
                targets = block_output(targets, inconsistent)
            if weight is not None and part.ignores:
                weight = weight.masked_fill(inconsistent, 0.0)
        return Batch(images=images, targets=targets, weight=weight)


def to_device(pixels: Bytes, numerics: Numerics) -> Float[Tensor, "b c h w"]:
    """Return ``n h w c`` unsigned bytes as images with values 0..1 on the device."""
    bytes_there = torch.from_numpy(np.array(pixels)).to(numerics.device)
    images = bytes_there.permute(0, 3, 1, 2).float().div_(255)
    return images.contiguous(memory_format=numerics.memory_format)


def epochs(
    images: int, recipe: Recipe, generator: torch.Generator
) -> Iterator[list[UInt8[Tensor, "b"]]]:
    """Yield the batches of each epoch as running numbers until the recipe's steps are spent.

    Ours: an epoch is every image once. ``paper``: an endless stream, reshuffled every pass with its
        short
    last batch included, cut into epochs of floor(n / batch size) steps.
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
