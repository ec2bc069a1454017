"""Random numbers that are a function of a seed and of what they are for.

There is no state, so an image gets the same numbers in any batch, on any device and with any number
of threads, and a new use does not disturb the others.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int32, Int64, UInt8
from torch import Tensor

from imseg.ops.memory_layout import Layout

Words = npt.NDArray[np.uint64]
"""Unsigned 64-bit numbers: their products wrap around, which signed ones need not do."""

STEP = np.uint64(0x9E3779B97F4A7C15)
"""2 ** 64 divided by the golden ratio, made odd."""


def mix(words: Words) -> Words:
    """Return each number scrambled, so that every bit depends on every bit; one to one.

    Source: the output function of SplitMix64, Steele, Lea and Flood, OOPSLA 2014.
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def as_words(seeds: Sequence[int] | Int64[Tensor, "b"]) -> Words:
    """Return seeds (whole numbers of up to 63 bits and a sign) as unsigned numbers.

    Raises:
        OverflowError: If a seed needs more than 64 bits.
    """
    numbers: npt.NDArray[Any]
    if isinstance(seeds, Tensor):
        numbers = seeds.detach().cpu().numpy().astype(np.int64)
    else:
        numbers = np.array(seeds, dtype=np.int64)
    return numbers.reshape(-1).view(np.uint64)


def draw_bits(seeds: Words, use: int) -> Words:
    """Return 64 random bits for each seed.

    Args:
        seeds: One an image.
        use: What they are for, 0 or more; different uses are independent.
    """
    start = np.uint64((use + 1) * int(STEP) % 2**64)
    # Seeds are scrambled first: neighboring seeds must not share the bits of different uses.
    return mix(mix(seeds) + start)


def draw_uniform(seeds: Words, use: int) -> npt.NDArray[np.float64]:
    """Return one number of [0, 1) for each seed, with 53 random bits."""
    bits = (draw_bits(seeds, use) >> np.uint64(11)).astype(np.float64)
    return bits / 2.0**53


def draw_below(seeds: Words, use: int, *, count: int) -> Int64[Tensor, "b"]:
    """Return one whole number of [0, count) for each seed."""
    return torch.from_numpy(np.floor(draw_uniform(seeds, use) * count).astype(np.int64))


MAX_NOISE = 255
"""Gray levels; more would not fit what the values are computed in."""


def draw_keys(seeds: Words, use: int) -> Int32[Tensor, "b 2"]:
    """Return a shift and an odd factor for each seed.

    Args:
        seeds: One an image.
        use: Tells this use of the seed from others.
    """
    bits = draw_bits(seeds, use)
    shift, factor = bits & np.uint64(0xFFFFFFFF), (bits >> np.uint64(32)) | np.uint64(1)
    keys = np.stack([shift, factor], axis=-1).astype(np.uint32)
    return torch.from_numpy(keys.view(np.int32))


def make_noise(
    keys: Int32[Tensor, "b 2"],
    reach: Int32[Tensor, "b"],
    *,
    channels: int,
    height: int,
    width: int,
    layout: Layout,
) -> Int32[Tensor, "b _ _ _"]:
    """Return whole numbers, even over [-reach, reach) for each image.

    A number's share is off by less than ``reach`` in 32,768 of itself.

    Args:
        keys: From ``draw_keys``, on the device where the noise is needed.
        reach: Half the width of the range in gray levels, 0 to ``MAX_NOISE``.
        channels: Image channels.
        height: In pixels.
        width: In pixels.
        layout: How the noise lies in memory; a place's value does not depend on it.
    """
    words = _words(channels, height, width, layout=layout, device=keys.device)
    shift, factor = (key.reshape(-1, 1, 1, 1) for key in keys.unbind(dim=1))
    noise = (words + shift).mul_(factor).bitwise_right_shift_(16)
    return noise.mul_(2 * reach.reshape(-1, 1, 1, 1)).bitwise_right_shift_(16)


def add_noise(images: UInt8[Tensor, "b _ _ _"], noise: Tensor) -> UInt8[Tensor, "b _ _ _"]:
    """Return images moved by noise (signed, the same shape, at most 16 bits), cut at 0 and 255."""
    return noise.to(torch.int16, copy=True).add_(images).clamp_(0, 255).to(torch.uint8)


@functools.lru_cache(maxsize=2)
def _words(
    channels: int, height: int, width: int, *, layout: Layout, device: torch.device
) -> Int32[Tensor, "1 _ _ _"]:
    """Return the fixed words of all places; kept, because every batch of a size needs the same."""
    numbers = np.arange(channels * height * width, dtype=np.uint64)
    words = (mix(mix(numbers)) >> np.uint64(32)).astype(np.uint32).view(np.int32)
    planes = torch.from_numpy(words).reshape(1, channels, height, width)
    return layout.pack(planes).to(device)
