"""What validation says about a trained network: its scores, and whether it looks at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

DEAD = 1e-4
"""Range of an output, as a probability, over all that is validated, below which it is the same
whatever the network sees. Dead networks, mostly thin ones, gave exactly 0, after 1 step and after
100; those that live gave 0.005 at least after a single step (5 widths, 12 seeds each)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is known about a trained network from validation."""

    scores: dict[str, float]
    """Means over the validation images."""
    dead: str = ""
    """Why it is of no use: it says the same whatever it sees. Empty where it does not."""
    doubt: str = ""
    """What the user should know about it; empty where there is nothing."""


class Range:
    """Collects the least and the greatest value along the second axis, batch after batch."""

    def __init__(self) -> None:
        # They stay where the batches are until somebody asks: reading them makes a GPU wait.
        self._ends: tuple[Tensor, Tensor] | None = None

    def add(self, values: Tensor, known: Bool[Tensor, "..."] | None = None) -> None:
        """Add a batch.

        Args:
            values: Of any shape.
            known: Which of them count; None for all.
        """
        low = high = values.float()
        if known is not None:
            low, high = low.masked_fill(~known, torch.inf), high.masked_fill(~known, -torch.inf)
        others = [axis for axis in range(values.ndim) if axis != 1]
        low, high = low.amin(dim=others), high.amax(dim=others)
        if self._ends is not None:
            low, high = torch.minimum(self._ends[0], low), torch.maximum(self._ends[1], high)
        self._ends = low, high

    @property
    def ends(self) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
        """The least and the greatest, on the CPU.

        Raises:
            ValueError: If there was no batch.
        """
        if self._ends is None:
            raise ValueError("a range of nothing")
        return self._ends[0].cpu(), self._ends[1].cpu()

    @property
    def widest(self) -> float:
        """How far the ends are apart where they are farthest; not a number where one is not."""
        low, high = self.ends
        return (high - low).max().item()


def death(outputs: Range, wanted: Range) -> str:
    """Return in words that a network says the same, or no number, whatever it sees; else nothing.

    Args:
        outputs: What it says, as probabilities.
        wanted: What it should say. Where that is the same everywhere, nothing can be known.
    """
    if not wanted.widest > 0 or outputs.widest >= DEAD:
        return ""
    if math.isnan(outputs.widest):
        return "what the network says are no numbers"
    return (
        "the network says the same whatever it sees (its outputs differ by at most"
        f" {outputs.widest:.1g} over all that is validated)"
    )
