"""The eight moves of a square, and their inverses.

The reference lists thirteen flips and rotations of which these eight are distinct.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from imseg.ops.memory_layout import change_in_groups, layout_of


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
