"""One of several classes: softmax over the classes and output 0, "inconsistent"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from imseg.ops import inconsistency, overlap
from imseg.tasks.base import Metric, Origin, Pool
from imseg.tasks.scores import (
    by_name,
    check_pool,
    from_confusion,
    mass_of,
    pool_classes,
    weighted_mean,
)
from imseg.types import INCONSISTENT, VOID, TargetSpec


@dataclass(slots=True)
class RunningSoftMeanIoU:
    """The reference's soft mIoU: mean over all outputs in a batch, then mean over batches.

    A class that is absent from a batch and predicted nowhere would give 0/0; the reference then has
    no score at all, and so have we: such a batch makes the value not a number.
    """

    # Sums stay where the batches are until they are asked for: reading them makes a GPU wait.
    total: Float[Tensor, ""] | float = 0.0
    batches: int = 0

    def update(
        self, probabilities: Float[Tensor, "b k h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> None:
        """Add a batch."""
        truth = one_hot(target, probabilities.shape[1])
        shared, union = overlap.soft_overlap(probabilities * (target != VOID), truth)
        self.total = self.total + (shared / union).mean()
        self.batches += 1

    def value(self) -> float:
        """Return the score so far, 0..1."""
        return float(self.total) / max(self.batches, 1)


@dataclass(slots=True)
class PooledSoftMeanIoU:
    """Soft mIoU over all validation pixels together, of the classes that occur in the truth."""

    # Sums stay where the batches are until they are asked for: reading them makes a GPU wait.
    shared: Float[Tensor, "k"] | float = 0.0
    union: Float[Tensor, "k"] | float = field(default=0.0)
    true: Float[Tensor, "k"] | float = field(default=0.0)

    def update(
        self, probabilities: Float[Tensor, "b k h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> None:
        """Add a batch."""
        valid = (target != VOID).float()
        truth = one_hot(target, probabilities.shape[1])
        shared, union = overlap.soft_overlap(without_reserved(probabilities) * valid, truth * valid)
        self.shared, self.union = self.shared + shared, self.union + union
        self.true = self.true + truth.sum(dim=(0, 2, 3))

    def value(self) -> float:
        """Return the score so far, 0..1."""
        shared, union, true = (
            torch.as_tensor(each).cpu() for each in (self.shared, self.union, self.true)
        )
        chosen = true.reshape(-1) > 0
        chosen[INCONSISTENT] = False
        if not chosen.any():
            return 0.0
        return (shared[chosen] / union[chosen]).mean().item()


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiclass:
    """The task with one class a pixel; ``spec.values[i]`` is class ``i + 1`` inside."""

    spec: TargetSpec
    """What mask values mean."""
    paper: bool = False
    """Let output 0 compete wherever a prediction is made discrete, as the reference does."""

    @property
    def metric(self) -> Metric:
        """IoU: mean over the classes in the truth, then over images."""
        return Metric(key="iou", label="IoU", pooled_key="miou")

    @property
    def zero_is_nothing(self) -> bool:
        """0 is reserved for "inconsistent"."""
        return True

    @property
    def grows_labels(self) -> bool:
        """Each class in its turn."""
        return True

    @property
    def moves_views(self) -> bool:
        """Views differ in their values alone."""
        return False

    def probabilities(self, logits: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
        """Return the probability of each output."""
        return torch.softmax(logits.float(), dim=1)

    def discretize(self, probabilities: Float[Tensor, "b k h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return the likeliest class; output 0 is left out unless ``paper``."""
        if self.paper:
            return probabilities.argmax(dim=1, keepdim=True).to(torch.uint8)
        return (probabilities[:, 1:].argmax(dim=1, keepdim=True) + 1).to(torch.uint8)

    def hard_prediction(self, probabilities: Float[Tensor, "b k h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return the discrete prediction."""
        return self.discretize(probabilities)

    def loss(
        self,
        logits: Float[Tensor, "b k h w"],
        target: UInt8[Tensor, "b 1 h w"],
        weight: Float[Tensor, "b 1 h w"] | None,
    ) -> Float[Tensor, ""]:
        """Return the mean cross-entropy over all outputs, output 0 included."""
        classes = target[:, 0].long()
        if self.spec.void is not None:
            classes = torch.where(classes == VOID, 0, classes)
        error = functional.cross_entropy(logits.float(), classes, reduction="none").unsqueeze(1)
        return weighted_mean(error, target, weight, has_void=self.spec.void is not None)

    def mass(
        self, target: UInt8[Tensor, "b 1 h w"], weight: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, ""]:
        """Return the pixels that count in the loss."""
        return mass_of(target, weight, has_void=self.spec.void is not None)

    def vote(
        self, votes: UInt8[Tensor, "v b 1 h w"]
    ) -> tuple[UInt8[Tensor, "b 1 h w"], Bool[Tensor, "b 1 h w"]]:
        """Return the class all teachers agree on, and where they do not."""
        return inconsistency.agree_on_class(votes)

    def pool(
        self, probabilities: Float[Tensor, "v b k h w"], *, how: Pool, of: Origin
    ) -> UInt8[Tensor, "b 1 h w"]:
        """Return the class of the greatest mean probability, or the one that most say.

        Raises:
            ImsegError: If the vote is to be unanimous.
        """
        check_pool(self.spec, how)
        rule: Pool = "mean" if how == "paper" else how
        return pool_classes(probabilities, how=rule, reserved_too=self.paper)

    def grow_labels(self, labels: UInt8[Tensor, "b 1 h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return labels dilated by 3x3, class after class."""
        return inconsistency.dilate_classes(labels, classes=self.spec.outputs)

    def redraw(self, labels: UInt8[Tensor, "b 1 h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return the labels as they are."""
        return labels

    def exceeds_inconsistency(
        self, labels: UInt8[Tensor, "b 1 h w"], inconsistent: Bool[Tensor, "b 1 h w"]
    ) -> Bool[Tensor, "b"]:
        """Return true for every image: the paper admits all of them."""
        return torch.ones(labels.shape[0], dtype=torch.bool, device=labels.device)

    def survives(self, labels: UInt8[Tensor, "b 1 h w"], kernel: int) -> Bool[Tensor, "b"]:
        """Return true for every image: the paper drops none of them."""
        return torch.ones(labels.shape[0], dtype=torch.bool, device=labels.device)

    def meter(self) -> RunningSoftMeanIoU | PooledSoftMeanIoU:
        """Return an empty meter of soft mIoU."""
        return RunningSoftMeanIoU() if self.paper else PooledSoftMeanIoU()

    def image_scores(
        self, predicted: UInt8[Tensor, "b 1 h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> dict[str, Float[Tensor, "b"]]:
        """Return IoU, Dice, boundary IoU (means over the classes in the truth) and accuracy."""
        valid = (target != VOID)[:, 0]
        guess, truth = predicted[:, 0], target[:, 0]
        matrices = overlap.confusion_matrices(guess, truth, classes=self.spec.outputs, valid=valid)
        rims = torch.stack(
            [
                overlap.boundary_iou(guess == index, truth == index, valid=valid)
                for index in range(self.spec.outputs)
            ],
            dim=1,
        )
        return {
            "iou": overlap.mean_over_present(overlap.iou_by_class(matrices), matrices),
            "dice": overlap.mean_over_present(overlap.dice_by_class(matrices), matrices),
            "boundary_iou": overlap.mean_over_present(rims, matrices),
            "accuracy": overlap.accuracy(guess, truth, valid=valid),
        }

    def tally(
        self, predicted: UInt8[Tensor, "b 1 h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> Int[Tensor, "n n"]:
        """Return pixel counts; output 0 has a row and a column of its own under ``paper``."""
        matrix = overlap.confusion_matrix(
            predicted, target, classes=self.spec.outputs, valid=target != VOID
        )
        return matrix if self.paper else matrix[1:, 1:]

    def dataset_scores(self, tally: Int[Tensor, "n n"]) -> dict[str, Any]:
        """Return scores over all pixels by the user's class names."""
        matrix = tally
        if not self.paper:
            return from_confusion(self.spec, matrix)
        ious, dices = overlap.iou_by_class(matrix)[1:], overlap.dice_by_class(matrix)[1:]
        return {
            "miou": ious.nanmean().item(),
            "dice": dices.nanmean().item(),
            "accuracy": (matrix.diagonal().sum() / matrix.sum().clamp(min=1)).item(),
            "iou_per_class": by_name(self.spec, ious),
            "dice_per_class": by_name(self.spec, dices),
        }

    def precision(self, tally: Int[Tensor, "n n"]) -> float | None:
        """Return the share of pixels whose class is right, of those that are given one."""
        first = INCONSISTENT + 1 if self.paper else 0
        given = tally[:, first:].sum().item()
        return tally.diagonal()[first:].sum().item() / given if given else None

    def known(self, truth: UInt8[Tensor, "b 1 h w"]) -> Bool[Tensor, "b 1 h w"]:
        """Return where the truth is not void."""
        return (truth != VOID).any(dim=1, keepdim=True)

    def blank(
        self, truth: UInt8[Tensor, "b 1 h w"], where: Bool[Tensor, "b 1 h w"]
    ) -> UInt8[Tensor, "b 1 h w"]:
        """Return the truth, void in some places too."""
        return truth.masked_fill(where, VOID)

    def strata(self, targets: UInt8[Tensor, "b 1 h w"]) -> list[frozenset[int]]:
        """Return the classes on each image."""
        present = (target.unique().tolist() for target in targets)
        return [frozenset(values) - {INCONSISTENT, VOID} for values in present]


def one_hot(target: UInt8[Tensor, "b 1 h w"], outputs: int) -> Float[Tensor, "b k h w"]:
    """Return one plane an output, 1 where the target has its number; void is in none."""
    numbers = torch.arange(outputs, device=target.device).reshape(1, -1, 1, 1)
    return (target == numbers).float()


def without_reserved(probabilities: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Return probabilities among the user's classes alone; output 0 is 0."""
    kept = probabilities.clone()
    kept[:, INCONSISTENT] = 0
    return kept / kept.sum(dim=1, keepdim=True).clamp(min=1e-12)
