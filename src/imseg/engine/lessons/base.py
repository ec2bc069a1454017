"""What every lesson gives the one training loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from imseg.engine.device import Numerics
from imseg.engine.job import Recipe
from imseg.engine.lessons.examination import Examination

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


class Lesson(Protocol):
    """What one network learns from, and what its epochs are chosen by."""

    def passes(self, skipped: int = 0, within: int = 0) -> Iterator[Iterator[AnyStep]]:
        """Yield the steps of each pass; after each pass the network is validated.

        Args:
            skipped: Passes that were made before; those that follow are the same as ever.
            within: Steps of the next one that were made before, too.
        """

    def score(self, network: nn.Module) -> float:
        """Return the score by which the best pass is kept, higher is better; may be no number."""

    def examine(self, network: nn.Module) -> Examination:
        """Return what is known about a trained network from validation."""

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of all passes so far, forward and backward."""


def flops_of(
    step: Callable[[nn.Module], Float[Tensor, ""]], network: nn.Module, numerics: Numerics
) -> int:
    """Return floating point operations of one step, forward and backward; nothing is changed."""
    spare = copy.deepcopy(network).train()
    counter = FlopCounterMode(display=False)
    with counter, numerics.applied():
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
