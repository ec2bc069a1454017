"""What every task can do, so that nobody else has to ask for the kind of target."""

from __future__ import annotations

from typing import Any, Protocol

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from imseg.types import TargetSpec


class EpochMeter(Protocol):
    """Collects a validation pass and gives the score by which the best epoch is kept."""

    def update(
        self, probabilities: Float[Tensor, "b k h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> None:
        """Add a batch."""

    def value(self) -> float:
        """Return the score so far, higher is better."""


class Task(Protocol):
    """A kind of target: how outputs become predictions, votes, losses and scores."""

    @property
    def spec(self) -> TargetSpec:
        """What mask values mean."""

    @property
    def paper(self) -> bool:
        """Whether the reference is followed where it differs from us."""

    def probabilities(self, logits: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
        """Return outputs as probabilities, 0..1."""

    def discretize(self, probabilities: Float[Tensor, "b k h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return the predicted value of each pixel, in inside numbering."""

    def loss(
        self,
        logits: Float[Tensor, "b k h w"],
        target: UInt8[Tensor, "b 1 h w"],
        weight: Float[Tensor, "b 1 h w"] | None,
    ) -> Float[Tensor, ""]:
        """Return the mean loss over pixels; those of weight 0 and void are left out."""

    def vote(
        self, votes: UInt8[Tensor, "v b 1 h w"]
    ) -> tuple[UInt8[Tensor, "b 1 h w"], Bool[Tensor, "b 1 h w"]]:
        """Return consensus and inconsistency of the teachers' discrete predictions."""

    def grow_labels(self, labels: UInt8[Tensor, "b 1 h w"]) -> UInt8[Tensor, "b 1 h w"]:
        """Return labels dilated class by class, as the reference does when it erodes the mask."""

    def exceeds_inconsistency(
        self, labels: UInt8[Tensor, "b 1 h w"], inconsistent: Bool[Tensor, "b 1 h w"]
    ) -> Bool[Tensor, "b"]:
        """Return which pseudo-labels are admitted by the paper's rule for this kind of target."""

    def meter(self) -> EpochMeter:
        """Return an empty meter for choosing the best epoch."""

    def image_scores(
        self, predicted: UInt8[Tensor, "b 1 h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> dict[str, Float[Tensor, "b"]]:
        """Return scores an image; the entry ``iou`` ranks networks."""

    def confusion(
        self, predicted: UInt8[Tensor, "b 1 h w"], target: UInt8[Tensor, "b 1 h w"]
    ) -> Int[Tensor, "n n"]:
        """Return pixel counts by true (row) and predicted (column) value of ``spec.values``."""

    def dataset_scores(self, matrix: Int[Tensor, "n n"]) -> dict[str, Any]:
        """Return data-set scores from one confusion matrix, with the user's class names."""
