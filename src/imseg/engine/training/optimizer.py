"""The optimizers: torch's AdamW with a schedule, and the reference's."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from imseg.engine.training.job import TrainJob
from imseg.engine.training.objectives.objective import Learners

Groups = Sequence[tuple[float, Sequence[nn.Parameter]]]
"""Shares of the step size, and the weights they are for; together all weights in their order."""

BETAS = (0.9, 0.999)
EPSILON = 1e-7


class ScheduledAdamW:
    """torch's AdamW with a step size that changes from step to step.

    Its class ``AdamW`` makes the same steps, but loads torch's compiler even where nothing is
    compiled: more than a second in every process that trains.

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
    ) -> None:
        self._groups = [list(weights) for _, weights in groups]
        self.largest = [learning_rate * share for share, _ in groups]
        """The largest step size of each group."""
        self._decay = decay / learning_rate
        self._rate = rate
        self._memory: dict[nn.Parameter, dict[str, Tensor]] = {}
        self.steps_made = 0
        """Steps so far."""

    @property
    def _weights(self) -> list[nn.Parameter]:
        return [weight for group in self._groups for weight in group]

    def tensors(self) -> dict[str, Tensor]:
        """Return what the optimizer remembers of its steps, by number of the weight and name."""
        return {
            f"{n}/{name}": value
            for n, weight in enumerate(self._weights)
            for name, value in self._memory.get(weight, {}).items()
        }

    def restore(self, tensors: Mapping[str, Tensor], *, steps: int) -> None:
        """Go on after so many steps with what ``tensors`` returned then."""
        weights = self._weights
        self._memory.clear()
        for key, value in tensors.items():
            place, _, name = key.partition("/")
            weight = weights[int(place)]
            # The fused step goes through memory: the moments lie there as their weight does.
            like = self._unmoved(weight)[name]
            self._memory.setdefault(weight, {})[name] = like.copy_(value)
        self.steps_made = steps

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Make one step."""
        share = 1.0 if self._rate is None else self._rate(self.steps_made)
        self.steps_made += 1
        for group, largest in zip(self._groups, self.largest, strict=True):
            learning = [weight for weight in group if weight.grad is not None]
            for weight in learning:
                if weight not in self._memory:
                    self._memory[weight] = self._unmoved(weight)
            kept = [self._memory[weight] for weight in learning]
            adamw(
                cast(list[Tensor], learning),
                [weight.grad for weight in learning if weight.grad is not None],
                [each["exp_avg"] for each in kept],
                [each["exp_avg_sq"] for each in kept],
                [],
                [each["step"] for each in kept],
                fused=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=largest * share,
                weight_decay=self._decay,
                eps=self._epsilon(),
                maximize=False,
            )

    def _epsilon(self) -> float:
        """Return what is added to the root of the second moment in the step that is made."""
        return 1e-8

    @staticmethod
    def _unmoved(weight: nn.Parameter) -> dict[str, Tensor]:
        """Return what is remembered of a weight before its first step, by torch's names."""
        return {
            "step": torch.zeros((), device=weight.device),
            "exp_avg": torch.zeros_like(weight).detach(),
            "exp_avg_sq": torch.zeros_like(weight).detach(),
        }


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
        super().__init__(groups, learning_rate=learning_rate, decay=decay, rate=rate)

    def _epsilon(self) -> float:
        # torch divides the second moment by this before it takes the root, Keras after.
        correction = math.sqrt(1 - BETAS[1] ** self.steps_made)
        return EPSILON / correction


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
    several = network.networks if isinstance(network, Learners) else [network]
    groups = [group for each in several for group in job.network.parameter_groups(each)]
    if recipe.optimizer == "keras-adamw":
        return KerasAdamW(network, **how, groups=groups)
    return ScheduledAdamW(groups, **how)
