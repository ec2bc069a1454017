"""What every task can do, so that nobody else has to ask for the kind of target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from imseg.types import TargetSpec

Planes = UInt8[Tensor, "b t h w"] | Float[Tensor, "b t h w"]
"""Targets, labels or discrete predictions in the numbering inside."""

Votes = UInt8[Tensor, "v b t h w"] | Float[Tensor, "v b t h w"]
"""Discrete predictions of several teachers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The score by which networks are ranked and generations are chosen."""

    key: str
    """Its name among the scores."""
    label: str
    """How it is called in text."""
    higher_is_better: bool = True
    """Whether more of it is better."""
    unit: str = ""
    """What it is measured in."""

    def merit(self, scores: Mapping[str, float]) -> float:
        """Return a number that is higher for better scores."""
        return scores[self.key] if self.higher_is_better else -scores[self.key]

    def text(self, scores: Mapping[str, float]) -> str:
        """Return the score in words, such as ``IoU 0.712``."""
        return f"{self.label} {self.number(scores[self.key])}"

    def number(self, value: float) -> str:
        """Return a value in words, such as ``0.712`` or ``3.46 m``."""
        digits = f"{value:.3f}" if self.higher_is_better else f"{value:.4g}"
        return f"{digits} {self.unit}".rstrip()


class EpochMeter(Protocol):
    """Collects a validation pass and gives the score by which the best epoch is kept."""

    def update(self, probabilities: Float[Tensor, "b k h w"], target: Planes) -> None:
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

    @property
    def metric(self) -> Metric:
        """What networks are ranked by."""

    @property
    def zero_is_nothing(self) -> bool:
        """Whether 0 in a target says "nothing here", so that blocked pixels can be taught as 0.

        Otherwise blocked pixels get no weight in the loss.
        """

    def probabilities(self, logits: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
        """Return outputs as probabilities (or scaled numbers), 0..1."""

    def discretize(self, probabilities: Float[Tensor, "b k h w"]) -> Planes:
        """Return the predicted value of each pixel, in inside numbering, ready to be scored."""

    def ballot(self, probabilities: Float[Tensor, "b k h w"]) -> Planes:
        """Return what a teacher says about each pixel when several vote."""

    def loss(
        self,
        logits: Float[Tensor, "b k h w"],
        target: Planes,
        weight: Float[Tensor, "b 1 h w"] | None,
    ) -> Float[Tensor, ""]:
        """Return the mean loss over pixels; those of weight 0 and void are left out."""

    def vote(self, votes: Votes) -> tuple[Planes, Bool[Tensor, "b t h w"]]:
        """Return consensus and inconsistency, plane by plane, of the teachers' ballots."""

    def grow_labels(self, labels: Planes) -> Planes:
        """Return labels dilated class by class, as the reference does when it erodes the mask."""

    def redraw(self, labels: Planes) -> Planes:
        """Return labels whose marks have their proper shape: position discs, spaced."""

    def exceeds_inconsistency(
        self, labels: Planes, inconsistent: Bool[Tensor, "b t h w"]
    ) -> Bool[Tensor, "b"]:
        """Return which pseudo-labels are admitted by the paper's rule for this kind of target."""

    def meter(self) -> EpochMeter:
        """Return an empty meter for choosing the best epoch."""

    def image_scores(self, predicted: Planes, target: Planes) -> dict[str, Float[Tensor, "b"]]:
        """Return scores an image; the metric's key is among them."""

    def tally(self, predicted: Planes, target: Planes) -> Tensor:
        """Return what adds up over images and is all that ``dataset_scores`` needs."""

    def dataset_scores(self, tally: Tensor) -> dict[str, Any]:
        """Return scores over all pixels together, with the user's class names."""

    def strata(self, targets: Planes) -> list[frozenset[int]]:
        """Return labels of images by which to split them evenly."""
