"""The eight moves of a square, and their inverses.

The reference lists thirteen flips and rotations of which these eight are distinct.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
