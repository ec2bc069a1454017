"""The optimizer of every training, and averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPSILON = 1e-7


class KerasAdamW(torch.optim.AdamW):
    """AdamW as in the reference.

    Decay does not depend on the learning rate; epsilon stands beside the uncorrected root.

    Args:
        network: What is optimized.
        learning_rate: The largest step size.
        decay: Every trainable number loses this share of itself per step, at the largest step size.
        rate: From the number of steps made before to the step size as a share of the largest;
            None: always the largest.

    Source: METHOD, "Training"; tested against six steps of the reference.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        decay: float,
        rate: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__(
            network.parameters(),
            lr=learning_rate,
            betas=BETAS,
            eps=EPSILON,
            weight_decay=decay / learning_rate,
            fused=True,
        )
        self._largest = learning_rate
        self._rate = rate
        self.steps_made = 0
        """Steps so far."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what the optimizer remembers of its steps, by number of the weight and name."""
        state = self.state_dict()["state"]
        return {f"{n}/{name}": value for n, kept in state.items() for name, value in kept.items()}

    def restore(self, tensors: Mapping[str, Tensor], *, steps: int) -> None:
        """Go on after so many steps with what ``tensors`` returned then."""
        weights = self.param_groups[0]["params"]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            place, _, name = key.partition("/")
            weight = weights[int(place)]
            if value.shape == weight.shape:
                # The fused step goes through memory: the moments lie there as their weight does.
                value = torch.empty_like(weight).copy_(value).detach()
            state.setdefault(int(place), {})[name] = value
        groups = self.state_dict()["param_groups"]
        self.load_state_dict({"state": state, "param_groups": groups})
        self.steps_made = steps

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step."""
        made, self.steps_made = self.steps_made, self.steps_made + 1
        # torch divides the second moment by this before it takes the root, Keras after.
        correction = math.sqrt(1 - BETAS[1] ** self.steps_made)
        for group in self.param_groups:
            group["eps"] = EPSILON / correction
            if self._rate is not None:
                group["lr"] = self._largest * self._rate(made)
        super().step(closure)


class AveragedNetwork:
    """An exponential average of a network's weights and normalization statistics, step by step.

    Args:
        network: What is averaged; the average begins with its weights.
        decay: How much of the average stays at each step, 0..1. In the first steps it is less, so
            that the first weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        """The averaged network, in inference mode."""
        self._decay = decay

    def update(self, network: nn.Module, *, steps: int) -> None:
        """Take in the weights after an optimizer step.

        Args:
            network: What is averaged.
            steps: Steps made so far, this one included.
        """
        decay = min(self._decay, (1 + steps) / (10 + steps))
        with torch.no_grad():
            state = network.state_dict()
            for key, mean in self.network.state_dict().items():
                if mean.dtype.is_floating_point:
                    mean.lerp_(state[key], 1 - decay)
                else:
                    mean.copy_(state[key])
