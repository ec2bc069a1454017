"""The optimizer of every training."""

from __future__ import annotations

import math

import torch
from torch import nn

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
        self._steps_made = 0

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step."""
        self._steps_made += 1
        # torch divides the second moment by this before it takes the root, Keras after.
        correction = math.sqrt(1 - BETAS[1] ** self._steps_made)
        for group in self.param_groups:
            group["eps"] = EPSILON / correction
        super().step(closure)
