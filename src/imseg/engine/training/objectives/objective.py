"""What validation says about a trained network: its scores, and whether it looks at all."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.training.job import Recipe

DEAD = 1e-4
"""Range of an output, as a probability, over all that is validated, below which it is the same
whatever the network sees. Dead networks, mostly thin ones, gave exactly 0, after 1 step and after
100; those that live gave 0.005 at least after a single step (5 widths, 12 seeds each)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationResult:
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


Forward = Callable[..., Tensor]
"""A network, compiled or not, as it is called in a training step."""


class Seen(Protocol):
    """What a step looks at; it lies on the device."""

    def __len__(self) -> int:
        """Return how many samples there are."""

    def split(self, sizes: Sequence[int]) -> Sequence[Self]:
        """Return the same samples in their order, in pieces of these sizes."""


What = TypeVar("What", bound=Seen)


@dataclass(frozen=True, slots=True)
class Step(Generic[What]):
    """A batch that lies on the device, and what is learned from it."""

    batch: What
    """What the network looks at."""
    loss: Callable[[Forward, What], Float[Tensor, ""]]
    """The mean loss of a network over a batch."""
    weigh: Callable[[What], Float[Tensor, ""]]
    """How much that mean is of: see ``mass``."""

    @property
    def samples(self) -> int:
        """Samples in the batch."""
        return len(self.batch)

    def __call__(self, network: Forward) -> Float[Tensor, ""]:
        """Return the loss."""
        return self.loss(network, self.batch)

    def mass(self) -> Float[Tensor, ""]:
        """Return by what the losses of pieces are weighted so that they add up to the whole's."""
        return self.weigh(self.batch)

    def split(self, most: int) -> list[Step[What]]:
        """Return the same in as few pieces as possible, even ones, of at most so many samples."""
        count = -(-self.samples // most)
        least, larger = divmod(self.samples, count)
        sizes = [least + 1] * larger + [least] * (count - larger)
        return [Step(piece, self.loss, self.weigh) for piece in self.batch.split(sizes)]


AnyStep = Step[Any]


def by_number(batch: Seen) -> Float[Tensor, ""]:
    """Return the mass of a batch whose loss is the mean over its samples."""
    return torch.tensor(float(len(batch)))


class Objective(Protocol):
    """What one network learns from, and what its epochs are chosen by."""

    def passes(self, skipped: int = 0, within: int = 0) -> Iterator[Iterator[AnyStep]]:
        """Yield the steps of each pass; after each pass the network is validated.

        Args:
            skipped: Passes that were made before; those that follow are the same as ever.
            within: Steps of the next one that were made before, too.
        """

    def score(self, network: nn.Module) -> float:
        """Return the score by which the best pass is kept, higher is better; may be no number."""

    def examine(self, network: nn.Module) -> ValidationResult:
        """Return what is known about a trained network from validation."""

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of all passes so far, forward and backward."""


def flops_of(
    step: Callable[[nn.Module], Float[Tensor, ""]], network: nn.Module, compute: ComputeConfig
) -> int:
    """Return floating point operations of one step, forward and backward; nothing is changed."""
    spare = copy.deepcopy(network).train()
    counter = FlopCounterMode(display=False)
    with counter, compute.applied():
        step(spare).backward()
    return counter.get_total_flops()


def made_before(number: int, steps: int, *, skipped: int, within: int) -> int:
    """Return how many steps of a pass were made before.

    Args:
        number: The pass, counted from 0.
        steps: All its steps.
        skipped: Passes that were made before.
        within: Steps of the one after them that were made before.
    """
    return steps if number < skipped else within if number == skipped else 0


def mean_batch(recipe: Recipe, samples: int) -> float:
    """Return how many samples a step sees on average."""
    return min(recipe.batch_size, samples / recipe.steps_per_epoch(samples))
