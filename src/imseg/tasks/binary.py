"""Foreground or background: one sigmoid output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int64, UInt8
from torch import Tensor

from imseg.ops import inconsistency, overlap
from imseg.tasks.base import Metric, Origin, Pool
from imseg.tasks.scores import (
    THRESHOLD,
    from_confusion,
    mass_of,
    pool_foreground,
    quarters,
    weighted_mean,
)
from imseg.types import VOID, TargetSpec


@dataclass(slots=True)
class PooledIoU:
    """Foreground IoU over all pixels of the validation set together."""

    # Counts stay where the batches are until they are asked for: reading them makes a GPU wait.
    shared: Int64[Tensor, ""] | int = 0
    union: Int64[Tensor, ""] | int = field(default=0)

    def update(
        self, probabilities: Float[Tensor, "b 1 h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> None:
        """Add a batch."""
        valid = target != VOID
        predicted = (probabilities > THRESHOLD) & valid
        truth = (target == 1) & valid
        self.shared = self.shared + (predicted & truth).sum()
        self.union = self.union + (predicted | truth).sum()

    def value(self) -> float:
        """Return the IoU so far, 0..1."""
        return int(self.shared) / (int(self.union) + overlap.EPSILON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """The task with two kinds of pixels; 0 is background, 1 foreground inside."""

    spec: TargetSpec
    """What mask values mean."""
    paper: bool = False
    """Score two empty masks 0, as the reference does, instead of 1."""

    @property
    def metric(self) -> Metric:
        """Foreground IoU, the mean over images."""
        return Metric(key="iou", label="IoU")

    @property
    def zero_is_nothing(self) -> bool:
        """0 is background."""
        return True

    @property
    def grows_labels(self) -> bool:
        """The reference dilates only class labels."""
        return False

    @property
    def moves_views(self) -> bool:
        """Views are flipped and turned."""
        return True

    def probabilities(self, logits: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return the probability of foreground."""
        return torch.sigmoid(logits.float())

    def discretize(self, probabilities: Float[Tensor, "b 1 h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return 1 where the probability is above one half."""
        return (probabilities > THRESHOLD).to(torch.uint8)

    def hard_prediction(self, probabilities: Float[Tensor, "b 1 h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return the discrete prediction."""
        return self.discretize(probabilities)

    def loss(
        self,
        logits: Float[Tensor, "b 1 h w"],
        target: UInt8[Tensor, "b 1 h w"],
        weight: Float[Tensor, "b 1 h w"] | None,
    ) -> Float[Tensor, ""]:
        """Return the mean squared error between probability and target."""
        error = (self.probabilities(logits) - (target == 1).float()).square()
        return weighted_mean(error, target, weight, has_void=self.spec.void is not None)

    def mass(
        self, target: UInt8[Tensor, "b 1 h w"], weight: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, ""]:
        """Return the pixels that count in the loss."""
        return mass_of(target, weight, has_void=self.spec.void is not None)

    def vote(
        self, votes: UInt8[Tensor, "v b 1 h w"]
    ) -> tuple[UInt8[Tensor, "b 1 h w"], Bool[Tensor, "b 1 h w"]]:
        """Return unanimous foreground, and where some but not all teachers say foreground."""
        return inconsistency.agree_on_foreground(votes)

    def pool(
        self, probabilities: Float[Tensor, "v b 1 h w"], *, how: Pool, of: Origin
    ) -> UInt8[Tensor, "b 1 h w"]:
        """Return foreground; under ``paper`` where all say so. One half is enough for a view."""
        rule: Pool = "unanimous" if how == "paper" else how
        return pool_foreground(probabilities, how=rule, at_threshold=of == "views")

    def grow_labels(self, labels: UInt8[Tensor, "b 1 h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return the labels as they are: the reference dilates only class labels."""
        return labels

    def redraw(self, labels: UInt8[Tensor, "b 1 h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return the labels as they are."""
        return labels

    def exceeds_inconsistency(
        self, labels: UInt8[Tensor, "b 1 h w"], inconsistent: Bool[Tensor, "b 1 h w"]
    ) -> Bool[Tensor, "b"]:
        """Return where there is foreground, and more of it than inconsistent pixels."""
        foreground = labels.sum(dim=(1, 2, 3), dtype=torch.long)
        return (foreground > 0) & (foreground > inconsistent.sum(dim=(1, 2, 3)))

    def survives(self, labels: UInt8[Tensor, "b 1 h w"], kernel: int) -> Bool[Tensor, "b"]:
        """Return where foreground is left after an erosion."""
        return inconsistency.erode(labels == 1, kernel).any(dim=3).any(dim=2)[:, 0]

    def meter(self) -> PooledIoU:
        """Return an empty meter of the pooled foreground IoU."""
        return PooledIoU()

    def image_scores(
        self, predicted: UInt8[Tensor, "b 1 h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> dict[str, Float[Tensor, "b"]]:
        """Return foreground IoU, Dice, boundary IoU and pixel accuracy of each image."""
        valid = (target != VOID)[:, 0]
        guess, truth = (predicted == 1)[:, 0], (target == 1)[:, 0]
        return {
            "iou": overlap.iou(guess, truth, valid=valid, empty=0.0 if self.paper else 1.0),
            "dice": overlap.dice(guess, truth, valid=valid),
            "boundary_iou": overlap.boundary_iou(guess, truth, valid=valid),
            "accuracy": overlap.accuracy(predicted[:, 0], target[:, 0], valid=valid),
        }

    def tally(
        self, predicted: UInt8[Tensor, "b 1 h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> Int[Tensor, "n n"]:
        """Return pixel counts of background and foreground."""
        return overlap.confusion_matrix(predicted, target, classes=2, valid=target != VOID)

    def dataset_scores(self, tally: Int[Tensor, "n n"]) -> dict[str, Any]:
        """Return scores over all pixels; ``iou`` and ``dice`` are those of the foreground."""
        scores = from_confusion(self.spec, tally)
        name = self.spec.names[1]
        scores["dice"] = scores["dice_per_class"][name]
        return {"iou": scores["iou_per_class"][name], **scores}

    def precision(self, tally: Int[Tensor, "n n"]) -> float | None:
        """Return the share of predicted foreground that is foreground."""
        predicted = tally[:, 1].sum().item()
        return tally[1, 1].item() / predicted if predicted else None

    def known(self, truth: UInt8[Tensor, "b 1 h w"]) -> Bool[Tensor, "b 1 h w"]:
        """Return where the truth is not void."""
        return (truth != VOID).any(dim=1, keepdim=True)

    def blank(
        self, truth: UInt8[Tensor, "b 1 h w"], where: Bool[Tensor, "b 1 h w"]
    ) -> UInt8[Tensor, "b 1 h w"]:
        """Return the truth, void in some places too."""
        return truth.masked_fill(where, VOID)

    def strata(self, targets: UInt8[Tensor, "b 1 h w"]) -> list[frozenset[int]]:
        """Return the quarter of the images each belongs to by its share of foreground."""
        return quarters((targets == 1).sum(dim=(1, 2, 3)).tolist())
