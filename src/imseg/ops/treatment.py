"""What happens to each image of a batch, as columns that a device can compute with.

``disturb.draw`` says what will be done; here the same is a row of numbers an image, in which what
does not happen to an image leaves it as it is: a gain of 1, a blur of one tap, noise that reaches
nowhere. See ``together``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float32, Int16, Int32, Int64
from torch import Tensor

from imseg.ops import disturb
from imseg.ops.blur import KERNELS, MAX_RADIUS
from imseg.ops.photometric import Strength


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What may happen to any image at all: known before anything is drawn."""

    mirrors: bool = False
    """Whether left and right may be exchanged."""
    turns: bool = False
    """Whether up and down may be exchanged."""
    swaps: bool = False
    """Whether height and width may be exchanged."""
    scales: bool = False
    """Whether there may be gain and offset."""
    blur: int = 0
    """The largest radius in pixels."""
    noise: bool = False
    """Whether there may be noise."""

    def __or__(self, other: Extent) -> Extent:
        """Return what may happen to images of either kind."""
        return Extent(
            mirrors=self.mirrors or other.mirrors,
            turns=self.turns or other.turns,
            swaps=self.swaps or other.swaps,
            scales=self.scales or other.scales,
            blur=max(self.blur, other.blur),
            noise=self.noise or other.noise,
        )


def extent_of(strength: Strength, *, rotate: bool, square: bool, moves: bool = True) -> Extent:
    """Return what draws of this kind can do to an image; see ``disturb.draw``.

    Args:
        strength: How far values may be pushed.
        rotate: Whether all moves are allowed, or only left to right.
        square: Whether images are as high as wide.
        moves: Whether images are moved at all.
    """
    return Extent(
        mirrors=moves,
        turns=moves and rotate,
        swaps=moves and rotate and square,
        scales=bool(strength.gain or strength.offset),
        blur=int(strength.blur),
        noise=bool(strength.noise),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What happens to each image, ready to be computed with: one row an image, on one device."""

    swapped: Bool[Tensor, "b"]
    """Whether height and width are exchanged, first."""
    upside_down: Bool[Tensor, "b"]
    """Whether up and down are exchanged, second."""
    mirrored: Bool[Tensor, "b"]
    """Whether left and right are exchanged, third."""
    gain: Float32[Tensor, "b"]
    """Values are multiplied by this; 1 is none."""
    offset: Float32[Tensor, "b"]
    """Then this is added, in gray levels; 0 is none."""
    taps: Int16[Tensor, "b 4"]
    """Weights of the blur at a distance of 0..3 pixels along an axis."""
    half: Int32[Tensor, "b"]
    """Added to weighted sums before the last bits are dropped, so that halves go up."""
    shift: Int32[Tensor, "b"]
    """How many bits are dropped."""
    reach: Int32[Tensor, "b"]
    """Noise lies in [-reach, reach), in gray levels; 0 is none."""
    noise_keys: Int32[Tensor, "b 2"]
    """What the image's noise is made from."""

    def __len__(self) -> int:
        return int(self.gain.shape[0])

    def tensors(self) -> dict[str, Tensor]:
        """Return all columns by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def rows(self, first: int, end: int) -> Treatment:
        """Return the treatment of images that follow each other: the same memory."""
        return Treatment(**{name: column[first:end] for name, column in self.tensors().items()})

    def put(self, rows: Int64[Tensor, "n"], others: Treatment) -> None:
        """Write the treatment of some images over what there was."""
        for name, column in self.tensors().items():
            column[rows] = getattr(others, name)


def no_treatment(images: int) -> Treatment:
    """Return rows that leave images as they are, on the CPU."""
    never, whole = torch.zeros(images, dtype=torch.bool), torch.zeros(images, dtype=torch.int32)
    return Treatment(
        swapped=never.clone(),
        upside_down=never.clone(),
        mirrored=never.clone(),
        gain=torch.ones(images),
        offset=torch.zeros(images),
        **_blur_columns(torch.zeros(images, dtype=torch.long)),
        reach=whole.clone(),
        noise_keys=torch.zeros(images, 2, dtype=torch.int32),
    )


def treatment_of(draws: disturb.Draws) -> Treatment:
    """Return draws in the form that is computed with, on the CPU.

    Raises:
        ValueError: If the noise itself is given, which only the grouped way takes.
    """
    values = draws.values
    if values.noise is not None:
        raise ValueError("noise that is given is added in groups, not together")
    odd, one = draws.turns % 2 == 1, torch.ones(())
    return Treatment(
        # A quarter turn exchanges the axes and then reverses one of them.
        swapped=odd,
        upside_down=((draws.turns == 1) | (draws.turns == 2)) ^ (draws.flip & odd),
        mirrored=(draws.turns >= 2) ^ (draws.flip & ~odd),
        gain=torch.where(values.scaled, values.gain, one),
        offset=torch.where(values.scaled, values.offset, 0 * one),
        **_blur_columns(values.radius),
        reach=values.reach,
        noise_keys=values.noise_keys,
    )


def _blur_columns(radius: Int64[Tensor, "b"]) -> dict[str, Tensor]:
    taps = torch.zeros(len(KERNELS), MAX_RADIUS + 1, dtype=torch.int16)
    for number, kernel in enumerate(KERNELS):
        taps[number, : number + 1] = torch.tensor(kernel[number:], dtype=torch.int16)
    totals = torch.tensor([sum(kernel) ** 2 for kernel in KERNELS], dtype=torch.int32)
    shifts = torch.tensor([sum(kernel).bit_length() * 2 - 2 for kernel in KERNELS]).int()
    return {"taps": taps[radius], "half": totals[radius] // 2, "shift": shifts[radius]}
