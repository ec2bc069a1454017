"""What a network is to make small about a batch, for every kind of target.

A loss has one term or two: the mean over the pixels that count, and the mean of soft Dice, over the
masks that images show or, for classes, over the classes that the batch shows. Where a batch is
split for memory, the terms of its pieces add up to the whole's; but Dice over the batch is that of
each piece, as normalization is.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from imseg.errors import ImsegError
from imseg.tasks.base import Outputs, Planes, Task, Weight, mean_by
from imseg.types import TargetSpec

LossName = Literal["paper", "cross-entropy", "cross-entropy+dice", "smooth-l1"]
"""``paper``: the squared error between probability and target; of classes, the cross-entropy."""

FITTING: dict[str, tuple[LossName, ...]] = {
    "binary": ("paper", "cross-entropy", "cross-entropy+dice"),
    "multiclass": ("paper", "cross-entropy", "cross-entropy+dice"),
    "multilabel": ("paper", "cross-entropy", "cross-entropy+dice"),
    "regression": ("paper", "smooth-l1"),
}
"""The losses that go with each kind of target; of several the last is the modern one."""

SMOOTHING = 1.0
"""Pixels added to both sides of the Dice ratio, so that tiny masks do not rule."""
MOST_WEIGHT = 20.0
"""The weight of the rarest class at most, as a multiple of that of the most frequent one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskLoss:
    """The loss of a task's outputs."""

    task: Task
    """What a pixel is."""
    name: LossName = "paper"
    """Which loss."""
    class_weights: tuple[float, ...] | None = None
    """How much a pixel counts in the cross-entropy by its value in the target; None: all alike."""

    def terms(self, logits: Outputs, target: Planes, weight: Weight) -> Float[Tensor, "*t"]:
        """Return the terms of the loss; they are added.

        Args:
            logits: What a network puts out.
            target: In inside numbering; void pixels are left out.
            weight: How much each pixel counts; None: all alike.

        Returns:
            The mean over pixels and, with Dice, 1 less the mean of soft Dice: of each mask of each
            image, because images are scored one by one. Of classes, of each class in all images
            together: in an image by itself a few pixels of a rare class would count as much as a
            whole road. What is not shown has no Dice.

        Source: Milletari et al., V-Net, 3DV 2016; over the batch as in nnU-Net.
        """
        if self.name == "paper":
            return self.task.loss(logits, target, weight)
        if self.name == "smooth-l1":
            return mean_by(self.task.robust_errors(logits, target), self._counted(target, weight))
        known = self.task.counted(target, weight)
        errors, areas = self.task.cross_entropy(logits, target, known)
        pixels = mean_by(errors, self._counted(target, weight))
        if self.name == "cross-entropy":
            return pixels
        if self.task.dice_over_batch:
            areas = [area.sum(dim=0) for area in areas]
        shared, predicted, true = areas
        dice = (2 * shared + SMOOTHING) / (predicted + true + SMOOTHING)
        shown = (true > 0).float()
        masks = ((1 - dice) * shown).sum() / shown.sum().clamp(min=1.0)
        return torch.stack([pixels, masks])

    def masses(self, target: Planes, weight: Weight) -> Float[Tensor, "*t"]:
        """Return by how much each term of a piece counts: by pixels, and by masks or images."""
        counted = self._counted(target, weight)
        if counted is None:
            pixels = torch.full((), float(target.numel()), device=target.device)
        else:
            pixels = counted.expand_as(target).sum()
        if self.name != "cross-entropy+dice":
            return pixels
        if self.task.dice_over_batch:
            return torch.stack([pixels, pixels.new_tensor(float(len(target)))])
        known = self.task.counted(target, weight)
        shown = (self.task.true_areas(target, known) > 0).sum()
        return torch.stack([pixels, shown.float()])

    def _counted(self, target: Planes, weight: Weight) -> Float[Tensor, "#b #t #h #w"] | None:
        """Return how much each pixel of each plane counts, by its class too."""
        counted = self.task.counted(target, weight)
        if self.class_weights is None:
            return counted
        weights = torch.tensor([*self.class_weights, 0.0], device=target.device)
        of_class = weights[target.long().clamp(max=len(self.class_weights))]
        return of_class if counted is None else of_class * counted


def class_weights(pixels: Float[Tensor, "n"], balance: float) -> tuple[float, ...]:
    """Return how much a pixel of each class counts: its frequency to the power of ``-balance``.

    Their mean over all pixels is 1. A class that does not occur counts as the most frequent one.

    Args:
        pixels: How many there are of each class.
        balance: 0: all pixels count alike; 0.5: by the inverse root of the frequency; 1: all
            classes count alike.
    """
    shares = pixels.double() / pixels.sum().clamp(min=1)
    there = shares > 0
    most = shares.max()
    relative = torch.where(there, shares / most, 1.0).pow(-balance).clamp(max=MOST_WEIGHT)
    return tuple((relative / (relative * shares).sum().clamp(min=1e-12)).tolist())


def check_loss(spec: TargetSpec, name: LossName, *, balanced: bool = False) -> None:
    """Refuse a loss that does not go with the kind of target.

    Args:
        spec: What mask values mean.
        name: Of the loss.
        balanced: Whether classes are to count by their frequency.

    Raises:
        ImsegError: If it is none of ``FITTING``, or there are no classes to be balanced.
    """
    fitting = FITTING[spec.kind]
    if name not in fitting:
        raise ImsegError(
            f"--loss {name} does not fit {spec.in_words}.",
            expected=f"{', '.join(fitting[:-1])} or {fitting[-1]}.",
            got=name,
            hint=f"--loss {fitting[-1]}, or leave it out.",
        )
    if balanced and spec.kind != "multiclass":
        raise ImsegError(
            f"--class-balance does not fit {spec.in_words}.",
            expected="it with masks of several classes, one per pixel.",
            got=f"{spec.in_words}.",
            hint="leave it out.",
        )
    if balanced and name == "paper":
        raise ImsegError(
            "--class-balance does not go with the loss of the paper.",
            expected="--loss cross-entropy or cross-entropy+dice.",
            got="--loss paper, the loss of --recipe paper.",
            hint="--loss cross-entropy+dice, or leave --class-balance out.",
        )
