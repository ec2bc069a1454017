"""Random numbers that are a function of a seed and of what they are for.

There is no state, so an image gets the same numbers in any batch, on any device and with any number
of threads, and a new use does not disturb the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int64
from torch import Tensor

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
