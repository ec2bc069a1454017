"""What blocked pixels of an image become: black, the image's mean, or noise of its own.

On fluorescence images black is background, so it may say something wrong. A color depends on the
image alone, never on its batch, the device or how often it was looked at; it stays in place when
the image is moved.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Int32, Int64, UInt8
from torch import Tensor

from imseg.ops.hashing import as_words
from imseg.ops.memory_format import layout_of
from imseg.ops.noise import draw_keys, make_noise

BlockColor = Literal["black", "mean", "noise"]
COLORS: tuple[BlockColor, ...] = get_args(BlockColor)
"""The place of a color is the number that stands for it."""

# What the bits of an image's row are for; geometry and photometry have 0 to 31.
BLOCKED = 32
HALF = 128
"""Half the gray levels that a byte can have."""


def draw_color_keys(rows: Sequence[int] | np.ndarray) -> Int32[Tensor, "b 2"]:
    """Return what the noise of each image is made from, by its row among the stored images."""
    return draw_keys(as_words([int(row) for row in rows]), BLOCKED)


def make_fill(
    images: UInt8[Tensor, "b c h w"],
    colors: Int64[Tensor, "b"],
    keys: Int32[Tensor, "b 2"],
    *,
    among: Collection[BlockColor],
) -> UInt8[Tensor, "b c _ _"]:
    """Return what blocked pixels become: bytes for every place, or one for all places of an image.

    Mean: of all pixels of a channel, rounded, halves up. Noise: whole numbers even over 0..255.

    Args:
        images: As they are stored, nothing blocked or disturbed.
        colors: The number of each image's color in ``COLORS``, on the device of the images.
        keys: From ``draw_color_keys``, there too.
        among: All colors that there may be, so that no device need be asked.
    """
    size, channels, height, width = images.shape
    fill = torch.zeros((size, channels, 1, 1), dtype=torch.uint8, device=images.device)
    if "mean" in among:
        total, count = images.sum(dim=(2, 3), dtype=torch.int64), height * width
        mean = ((2 * total + count) // (2 * count)).to(torch.uint8)
        fill = torch.where(_chosen(colors, "mean"), mean.reshape(fill.shape), fill)
    if "noise" in among:
        layout = layout_of(images)
        reach = torch.full((size,), HALF, dtype=torch.int32, device=images.device)
        noise = make_noise(
            keys, reach, channels=channels, height=height, width=width, layout=layout
        )
        bytes_ = layout.unpack(noise.add_(HALF).to(torch.uint8))
        fill = torch.where(_chosen(colors, "noise"), bytes_, fill)
    return fill


def paint(
    images: UInt8[Tensor, "b c h w"],
    mask: Bool[Tensor, "b 1 h w"],
    fill: UInt8[Tensor, "b c _ _"],
) -> UInt8[Tensor, "b c h w"]:
    """Return images with the fill wherever the mask is true, in the memory format of the images."""
    layout = layout_of(images)
    painted = torch.where(layout.pack(mask), layout.pack(fill), layout.pack(images))
    return layout.unpack(painted)


def _chosen(colors: Int64[Tensor, "b"], color: BlockColor) -> Bool[Tensor, "b 1 1 1"]:
    return (colors == COLORS.index(color)).reshape(-1, 1, 1, 1)
