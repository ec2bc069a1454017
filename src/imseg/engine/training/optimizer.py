"""The optimizer of every training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPSILON = 1e-7


class KerasAdamW(torch.optim.AdamW):
    """AdamW as in the reference.

    Decay does not depend on the learning rate; epsilon stands beside the uncorrected root.

    Args:
        network: What is optimized.
        learning_rate: Step size.
        decay: Every trainable number loses this share of itself at each step.

    Source: METHOD, "Training"; tested against six steps of the reference.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float, decay: float) -> None:
        super().__init__(
            network.parameters(),
            lr=learning_rate,
            betas=BETAS,
            eps=EPSILON,
            weight_decay=decay / learning_rate,
            fused=True,
        )
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
        self.steps_made += 1
        # torch divides the second moment by this before it takes the root, Keras after.
        correction = math.sqrt(1 - BETAS[1] ** self.steps_made)
        for group in self.param_groups:
            group["eps"] = EPSILON / correction
        super().step(closure)
