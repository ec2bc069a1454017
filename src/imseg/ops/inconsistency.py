"""Where teachers agree, where they do not, and what is done about it.

Source: arXiv 2401.14387, section "Inconsistency Masks".
"""

from collections.abc import Collection, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64, UInt8
from torch import Tensor

from imseg.ops.memory_layout import Fill, Images, PixelMask, PlaneMask, layout_of
from imseg.ops.photometric import as_words, draw_keys, make_noise
from imseg.types import INCONSISTENT

Labels = UInt8[Tensor, "b t h w"]
"""Classes, or planes of 0 and 1."""

FEW_SHIFTS = 8
"""Pixels of reach up to which it is faster to shift masks than to sum them up."""


def agree_on_foreground(votes: UInt8[Tensor, "v b t h w"]) -> tuple[Labels, PlaneMask]:
    """Return consensus and inconsistency of binary votes.

    Args:
        votes: 0 or 1 from at least one teacher.

    Returns:
        The consensus (1 where every teacher says 1, else 0) and the inconsistency mask (true where
        some but not all say 1).

    Raises:
        ValueError: If there is no teacher.
    """
    if votes.shape[0] < 1:
        raise ValueError("a consensus needs at least one teacher")
    positive = votes.bool()
    unanimous = positive.all(dim=0)
    return unanimous.to(torch.uint8), positive.any(dim=0) & ~unanimous


def agree_on_class(votes: UInt8[Tensor, "v b t h w"]) -> tuple[Labels, PlaneMask]:
    """Return consensus and inconsistency of class votes.

    Args:
        votes: Class numbers from at least one teacher.

    Returns:
        The consensus (the class on which every teacher agrees, else ``INCONSISTENT``) and the
        inconsistency mask (true where not all votes are equal).

    Raises:
        ValueError: If there is no teacher.
    """
    if votes.shape[0] < 1:
        raise ValueError("a consensus needs at least one teacher")
    equal = (votes == votes[:1]).all(dim=0)
    return torch.where(equal, votes[0], torch.full_like(votes[0], INCONSISTENT)), ~equal


def spread_out(votes: Float[Tensor, "v b t h w"], factor: float = 2.0) -> PlaneMask:
    """Return where continuous predictions scatter more than ``factor`` times the image's mean.

    Scatter is the population standard deviation over teachers, in the unit of the predictions. An
    image on which all teachers agree exactly has no inconsistent pixel.

    Args:
        votes: Predictions of at least two teachers, any unit.
        factor: How many mean scatters count as inconsistent; the authors use 2.

    Raises:
        ValueError: If there are fewer than two teachers.

    Source: arXiv 2401.14387, the depth variant.
    """
    if votes.shape[0] < 2:
        raise ValueError("scatter needs at least two teachers")
    scatter = votes.std(dim=0, correction=0)
    return scatter > factor * scatter.mean(dim=(1, 2, 3), keepdim=True)


def dilate(mask: PlaneMask, kernel: int) -> PlaneMask:
    """Return the mask grown by a square of ``kernel`` pixels (odd; 0 leaves it as it is)."""
    if kernel == 0:
        return mask
    if kernel < 0 or kernel % 2 == 0:
        raise ValueError(f"a kernel is 0 or an odd number of pixels, not {kernel}")
    return _spread(_spread(mask, kernel // 2, dim=-1), kernel // 2, dim=-2)


def erode(mask: PlaneMask, kernel: int) -> PlaneMask:
    """Return the mask shrunk by a square of ``kernel`` pixels; image borders do not erode."""
    return mask if kernel == 0 else ~dilate(~mask, kernel)


def clean_up(inconsistent: PlaneMask, *, erode_by: int = 0, dilate_by: int = 0) -> PlaneMask:
    """Return the inconsistency mask after an erosion and then a dilation.

    Args:
        inconsistent: The mask.
        erode_by: Side of the eroding square in pixels, odd; 0 is off.
        dilate_by: Side of the dilating square in pixels, odd; 0 is off.
    """
    return dilate(erode(inconsistent, erode_by), dilate_by)


def dilate_classes(
    labels: UInt8[Tensor, "b 1 h w"], *, classes: int, kernel: int = 3
) -> UInt8[Tensor, "b 1 h w"]:
    """Return labels whose classes have grown by a square, class after class, later ones on top.

    The reference does this to the consensus whenever the inconsistency mask is eroded. Class 0 does
    not grow, so thin gaps between objects close.

    Args:
        labels: Class numbers.
        classes: How many classes there are, class 0 included.
        kernel: Side of the square in pixels, odd.
    """
    grown = torch.zeros_like(labels)
    for index in range(1, classes):
        grown = torch.where(dilate(labels == index, kernel), index, grown).to(torch.uint8)
    return grown


def block_input(
    images: Float[Tensor, "b c h w"] | Images, inconsistent: PlaneMask, fill: Fill | None = None
) -> Float[Tensor, "b c h w"] | Images:
    """Return images that are black, or the fill, wherever any plane is inconsistent.

    Args:
        images: To be blocked.
        inconsistent: Where.
        fill: From ``make_fill``; None: black.
    """
    hidden = inconsistent.any(dim=1, keepdim=True)
    return images.masked_fill(hidden, 0) if fill is None else paint(images, hidden, fill)


def block_output(targets: Labels, inconsistent: PlaneMask) -> Labels:
    """Return targets that are 0 wherever any plane is inconsistent."""
    return targets.masked_fill(inconsistent.any(dim=1, keepdim=True), 0)


def _spread(mask: PlaneMask, reach: int, *, dim: int) -> PlaneMask:
    """Return where a pixel lies within reach along one axis."""
    size = mask.shape[dim]
    if reach <= FEW_SHIFTS:
        grown = mask.clone()
        for shift in range(1, min(reach, size - 1) + 1):
            here, there = mask.narrow(dim, 0, size - shift), mask.narrow(dim, shift, size - shift)
            grown.narrow(dim, shift, size - shift).logical_or_(here)
            grown.narrow(dim, 0, size - shift).logical_or_(there)
        return grown
    # Differences of running sums: the cost does not grow with reach.
    total = mask.int().cumsum(dim=dim)
    places = torch.arange(size, device=mask.device)
    last = total.index_select(dim, (places + reach).clamp(max=size - 1))
    before = total.index_select(dim, (places - reach - 1).clamp(min=0))
    # To the left of the image there is nothing to take away.
    shape = [1] * mask.ndim
    shape[dim] = size
    inside = (places - reach - 1 >= 0).reshape(shape)
    return last > torch.where(inside, before, torch.zeros_like(before))


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
    images: Images,
    colors: Int64[Tensor, "b"],
    keys: Int32[Tensor, "b 2"],
    *,
    among: Collection[BlockColor],
) -> Fill:
    """Return what blocked pixels become: bytes for every place, or one for all places of an image.

    Mean: of all pixels of a channel, rounded, halves up. Noise: whole numbers even over 0..255.

    Args:
        images: As they are stored, nothing blocked or augmented.
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


def paint(images: Images, mask: PixelMask, fill: Fill | None) -> Images:
    """Return images with the fill (None: black) wherever the mask is, in their memory format."""
    layout = layout_of(images)
    hidden, packed = layout.pack(mask), layout.pack(images)
    if fill is None:
        return layout.unpack(packed.masked_fill(hidden, 0))
    return layout.unpack(torch.where(hidden, layout.pack(fill), packed))


def _chosen(colors: Int64[Tensor, "b"], color: BlockColor) -> Bool[Tensor, "b 1 1 1"]:
    return (colors == COLORS.index(color)).reshape(-1, 1, 1, 1)
