"""The eight moves of a square, their inverses, and boxes pasted from one image into another.

The reference lists thirteen flips and rotations of which these eight are distinct.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from torch import Tensor

from imseg.ops import photometric
from imseg.ops.memory_layout import Fill, Images, PixelMask, change_in_groups, layout_of
from imseg.ops.photometric import Order, Strength, as_words, draw_below

Targets = UInt8[Tensor, "b t h w"] | Float[Tensor, "b t h w"]
"""What belongs to images and moves with them."""


@dataclass(frozen=True, slots=True)
class Move:
    """A horizontal flip (or none) followed by quarter turns."""

    flip: bool = False
    """Whether left and right are exchanged first."""
    turns: int = 0
    """Quarter turns against the clock afterwards: 0, 1, 2 or 3."""

    @property
    def swaps_sides(self) -> bool:
        """Whether height and width are exchanged."""
        return self.turns % 2 == 1


MOVES: tuple[Move, ...] = tuple(Move(flip, turns) for flip in (False, True) for turns in range(4))
"""All eight, the one that changes nothing first."""
UNMOVED: tuple[Move, ...] = MOVES[:1]
"""The one that changes nothing, alone."""


def moves_for(*, rotate: bool, square: bool) -> tuple[Move, ...]:
    """Return the moves in which an image may be looked at, the one that changes nothing first.

    Args:
        rotate: Whether up and down are as good as left and right: all moves that keep the shape;
            else none, and left and right exchanged.
        square: Whether images are as high as wide; if not, quarter turns are left out.
    """
    return tuple(
        each for each in MOVES if (rotate or not each.turns) and (square or not each.swaps_sides)
    )


def move(planes: Tensor, by: Move) -> Tensor:
    """Return planes (any leading axes, then ``h w``) after a move."""
    flipped = planes.flip(-1) if by.flip else planes
    return torch.rot90(flipped, by.turns, dims=(-2, -1)) if by.turns else flipped


def move_back(planes: Tensor, by: Move) -> Tensor:
    """Return planes as they were before ``move(planes, by)``."""
    turned = torch.rot90(planes, -by.turns, dims=(-2, -1)) if by.turns else planes
    return turned.flip(-1) if by.flip else turned


def move_each(planes: Shaped[Tensor, "b c h w"], moves: Sequence[Move]) -> Tensor:
    """Return planes after a move each, in the same memory format (plain or channels-last).

    Args:
        planes: Of any type.
        moves: One a row; none may change the shape.

    Raises:
        ValueError: If there is not one move a row, or a move would exchange unequal sides.
    """
    return _each(planes, moves, apply=move)


def move_back_each(planes: Shaped[Tensor, "b c h w"], moves: Sequence[Move]) -> Tensor:
    """Return planes as they were before ``move_each(planes, moves)``.

    Raises:
        ValueError: If there is not one move a row, or a move would exchange unequal sides.
    """
    return _each(planes, moves, apply=move_back)


def _each(
    planes: Tensor, moves: Sequence[Move], *, apply: Callable[[Tensor, Move], Tensor]
) -> Tensor:
    if len(moves) != len(planes):
        raise ValueError(f"{len(moves)} moves do not fit {len(planes)} images")
    height, width = planes.shape[-2:]
    if height != width and any(by.swaps_sides for by in moves):
        raise ValueError(f"a quarter turn would change the shape of {height}x{width} images")
    layout = layout_of(planes)

    def change(some: Tensor, rows: list[int]) -> Tensor:
        return layout.pack(apply(layout.unpack(some), moves[rows[0]]))

    return layout.unpack(change_in_groups(layout.pack(planes), moves, change))


# What the bits of an image's seed are for; photometry has 16 and above. Numbers are never reused.
FLIP, TURNS = range(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """What happens to each image: one row an image, on the CPU."""

    flip: Bool[Tensor, "b"]
    """Whether left and right are exchanged."""
    turns: Int64[Tensor, "b"]
    """Quarter turns against the clock after the flip, 0..3."""
    values: photometric.ValueDraws
    """What happens to the values."""

    def __len__(self) -> int:
        return int(self.flip.shape[0])

    def take(self, rows: Sequence[int]) -> "Draws":
        """Return the draws of some of the images."""
        index = torch.tensor(rows, dtype=torch.long)
        return Draws(flip=self.flip[index], turns=self.turns[index], values=self.values.take(rows))

    @property
    def moves(self) -> list[Move]:
        """The move of each image; ``move_back_each`` takes them back."""
        pairs = zip(self.flip.tolist(), self.turns.tolist(), strict=True)
        return [Move(flip, turns) for flip, turns in pairs]


class Augmented(NamedTuple):
    """What came of a batch."""

    images: Images
    """Moved, values augmented."""
    targets: Targets | None
    """Moved; None if there were none."""
    mask: PixelMask | None
    """Moved; None if there was none."""


def draw(
    seeds: Sequence[int] | Int64[Tensor, "b"], strength: Strength, *, rotate: bool, square: bool
) -> Draws:
    """Return what happens to each image.

    Args:
        seeds: One an image, whole numbers of up to 63 bits; the same number, the same draws.
        strength: How far values may be pushed; the geometry does not depend on it.
        rotate: Whether up and down are as good as left and right, so that all eight moves are
            equally likely; else only left and right are exchanged, every other time.
        square: Whether images are as high as wide; if not, no move exchanges height and width.
    """
    words = as_words(seeds)
    turns = draw_below(words, TURNS, count=4)
    if not square:
        turns = turns // 2 * 2
    return Draws(
        flip=draw_below(words, FLIP, count=2).bool(),
        turns=turns if rotate else turns * 0,
        values=photometric.draw(seeds, strength),
    )


def apply(
    images: Images,
    draws: Draws,
    *,
    targets: Targets | None = None,
    mask: PixelMask | None = None,
    black: bool = False,
    fill: Fill | None = None,
    order: Order = "copy",
    paper: bool = False,
) -> Augmented:
    """Return augmented images, and what belongs to them moved the same way.

    Args:
        images: On any device and in any memory format; the result is on the same and in the same
            (plain or channels-last).
        draws: From ``draw``, one row an image.
        targets: Belonging to the images; only moved.
        mask: Of inconsistent pixels, for example, as it lies over the images before the move; only
            moved.
        black: Image pixels under the mask are 0 in the end. For images whose inconsistent
            pixels were blocked; the reference lets offset, blur and noise brighten them.
        fill: What these pixels are instead of 0, see ``make_fill``; it is not moved.
        order: Of gain and offset, blur and noise; the geometry is always first.
        paper: Gain and offset take the absolute value, as in the reference.

    Raises:
        ValueError: If there is not one row of draws an image, a move would change the shape of the
            images, or black is to be kept without a mask.
    """
    if black and mask is None:
        raise ValueError("to keep pixels black, say which: there is no mask")
    moves = draws.moves
    moved_mask = None if mask is None else move_each(mask, moves)
    augmented = photometric.apply(
        move_each(images, moves),
        draws.values,
        order=order,
        paper=paper,
        blocked=moved_mask if black else None,
        fill=fill,
    )
    moved_targets = None if targets is None else move_each(targets, moves)
    return Augmented(images=augmented, targets=moved_targets, mask=moved_mask)


def augment(
    images: Images,
    targets: Targets,
    mask: PixelMask | None,
    *,
    seeds: Sequence[int] | Int64[Tensor, "b"],
    strength: Strength,
    rotate: bool,
    order: Order = "copy",
    paper: bool = False,
    black: bool = False,
    fill: Fill | None = None,
) -> tuple[Images, Targets, PixelMask | None]:
    """Return noisy copies of images with their targets and mask: ``draw`` and ``apply`` in one.

    Args:
        images: See ``apply``.
        targets: Belonging to the images.
        mask: Of inconsistent pixels, if there is one.
        seeds: One an image, see ``draw``.
        strength: How far values may be pushed.
        rotate: Whether all eight moves are allowed, see ``draw``.
        order: Of the steps, see ``apply``.
        paper: As the reference does it, see ``apply``.
        black: Image pixels under the mask are 0 in the end; without a mask nothing happens.
        fill: What they are instead of 0, see ``apply``.
    """
    height, width = images.shape[-2:]
    draws = draw(seeds, strength, rotate=rotate, square=height == width)
    augmented = apply(
        images,
        draws,
        mask=mask,
        black=black and mask is not None,
        fill=fill,
        order=order,
        paper=paper,
    )
    return augmented.images, move_each(targets, draws.moves), augmented.mask


LEAST_BOX, MOST_BOX = 0.02, 0.4
"""The area of a pasted box, as a share of the image. Source: UniMatch, arXiv 2208.09910."""
NARROWEST = 0.3
"""Height of such a box by its width at least; at most its inverse."""


def cut_and_paste(
    images: Float[Tensor, "b c h w"],
    labels: Shaped[Tensor, "b n t h w"],
    weight: Float[Tensor, "b n t h w"],
    *,
    share: float,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images some of which have a box of the next one, with labels and weights.

    Args:
        images: 0..1.
        labels: Belonging to them.
        weight: Belonging to them.
        share: The probability with which an image gets a box.
        seed: Of the boxes.

    Source: Yun et al. 2019, arXiv 1905.04899; sizes as in UniMatch.
    """
    if not share or len(images) < 2:
        return images, labels, weight
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    drawn = torch.rand(5, len(images), generator=generator)
    area = (LEAST_BOX + (MOST_BOX - LEAST_BOX) * drawn[1]) * height * width
    ratio = torch.exp((2 * drawn[2] - 1) * -math.log(NARROWEST))
    high = (area * ratio).sqrt().clamp(max=height)
    wide = (area / ratio).sqrt().clamp(max=width)
    top, left = drawn[3] * (height - high), drawn[4] * (width - wide)
    rows, columns = torch.arange(height), torch.arange(width)
    down = (rows >= top[:, None]) & (rows < (top + high)[:, None])
    across = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    box = (down[:, :, None] & across[:, None, :]) & (drawn[0] < share)[:, None, None]
    box = box[:, None].to(images.device)
    pasted = torch.where(box, images.roll(1, 0), images)
    here = box[:, None]
    return (
        pasted,
        torch.where(here, labels.roll(1, 0), labels),
        torch.where(here, weight.roll(1, 0), weight),
    )
