"""The optimizers: torch's AdamW with a schedule, and the reference's."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from imseg.engine.training.job import TrainJob

Groups = Sequence[tuple[float, Sequence[nn.Parameter]]]
"""Shares of the step size, and the weights they are for; together all weights in their order."""

BETAS = (0.9, 0.999)
EPSILON = 1e-7


class ScheduledAdamW(torch.optim.AdamW):
    """torch's AdamW with a step size that changes from step to step.

    Args:
        groups: Shares of the step size and the weights they are for.
        learning_rate: The largest step size.
        decay: Every trainable number loses this share of itself per step, at the largest step size.
        rate: From the number of steps made before to the step size as a share of the largest;
            None: always the largest.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        learning_rate: float,
        decay: float,
        rate: Callable[[int], float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            [{"params": list(weights), "lr": learning_rate * share} for share, weights in groups],
            lr=learning_rate,
            betas=BETAS,
            weight_decay=decay / learning_rate,
            fused=True,
            **options,
        )
        self._largest = [learning_rate * share for share, _ in groups]
        self._rate = rate
        self.steps_made = 0
        """Steps so far."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what the optimizer remembers of its steps, by number of the weight and name."""
        state = self.state_dict()["state"]
        return {f"{n}/{name}": value for n, kept in state.items() for name, value in kept.items()}

    def restore(self, tensors: Mapping[str, Tensor], *, steps: int) -> None:
        """Go on after so many steps with what ``tensors`` returned then."""
        weights = [weight for group in self.param_groups for weight in group["params"]]
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
        if self._rate is not None:
            for group, largest in zip(self.param_groups, self._largest, strict=True):
                group["lr"] = largest * self._rate(made)
        super().step(closure)


class KerasAdamW(ScheduledAdamW):
    """AdamW as in the reference: epsilon stands beside the uncorrected root.

    Args:
        network: What is optimized.
        learning_rate: As in ``ScheduledAdamW``.
        decay: As in ``ScheduledAdamW``.
        rate: As in ``ScheduledAdamW``.
        groups: As in ``ScheduledAdamW``; None: all weights alike.

    Source: METHOD, "Training"; tested against six steps of the reference.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        decay: float,
        rate: Callable[[int], float] | None = None,
        groups: Groups | None = None,
    ) -> None:
        groups = groups or [(1.0, list(network.parameters()))]
        super().__init__(groups, learning_rate=learning_rate, decay=decay, rate=rate, eps=EPSILON)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step."""
        # torch divides the second moment by this before it takes the root, Keras after.
        correction = math.sqrt(1 - BETAS[1] ** (self.steps_made + 1))
        for group in self.param_groups:
            group["eps"] = EPSILON / correction
        super().step(closure)


def optimizer_for(network: nn.Module, job: TrainJob) -> ScheduledAdamW:
    """Return the optimizer of a job's recipe."""
    recipe, steps = job.recipe, job.steps
    constant = recipe.schedule == "constant" and not recipe.warm_up
    rate = None if constant else lambda step: recipe.rate(step, steps)
    how: dict[str, Any] = {
        "learning_rate": recipe.learning_rate,
        "decay": recipe.weight_decay,
        "rate": rate,
    }
    groups = job.network.parameter_groups(network)
    if recipe.optimizer == "keras-adamw":
        return KerasAdamW(network, **how, groups=groups)
    return ScheduledAdamW(groups, **how)
