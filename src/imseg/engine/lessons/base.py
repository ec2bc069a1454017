"""What every lesson gives the one training loop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Protocol

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from imseg.engine.device import Numerics
from imseg.engine.job import Recipe

Step = Callable[[nn.Module], Float[Tensor, ""]]
"""A batch that lies on the device: called with a network it returns the loss."""


class Lesson(Protocol):
    """What one network learns from, and what its epochs are chosen by."""

    def passes(self) -> Iterator[Iterator[Step]]:
        """Yield the steps of each pass; after each pass the network is validated."""

    def score(self, network: nn.Module) -> float:
        """Return the score by which the best pass is kept, higher is better; may be no number."""

    def scores(self, network: nn.Module) -> dict[str, float]:
        """Return what is known about a trained network from validation."""

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of all passes so far, forward and backward."""


def flops_of(step: Step, network: nn.Module, numerics: Numerics) -> int:
    """Return floating point operations of one step, forward and backward; nothing is changed."""
    spare = copy.deepcopy(network).train()
    counter = FlopCounterMode(display=False)
    with counter, numerics.applied():
        step(spare).backward()
    return counter.get_total_flops()


def mean_batch(recipe: Recipe, samples: int) -> float:
    """Return how many samples a step sees on average."""
    return min(recipe.batch_size, samples / recipe.steps_per_epoch(samples))
