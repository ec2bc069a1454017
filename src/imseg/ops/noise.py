"""Noise that is a function of the image's own seed and of the place of the value.

Every place (channel, row, column) has a fixed random 32-bit word. An image turns it into noise by
``(word + shift) * factor`` modulo 2 ** 32, with its own shift and its own odd factor, of which the
upper 16 bits are used: two operations a value, where a generator would need dozens.

Source: multiply-shift hashing, Dietzfelbinger et al., J. Algorithms 25, 1997; the fixed words take
away the regularity that it has on consecutive numbers.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from jaxtyping import Int32, UInt8
from torch import Tensor

from imseg.ops.hashing import Words, draw_bits, mix
from imseg.ops.memory_format import Layout

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
