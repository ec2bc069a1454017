"""What every task can do, so that no other code asks for the kind of target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from imseg.types import TargetSpec

Planes = UInt8[Tensor, "b t h w"] | Float[Tensor, "b t h w"]
"""Targets, labels or discrete predictions in the numbering inside."""

Votes = UInt8[Tensor, "v b t h w"] | Float[Tensor, "v b t h w"]
"""Discrete predictions of several teachers."""

Pool = Literal["paper", "mean", "majority", "unanimous"]
"""How opinions become one label. ``paper``: as the paper does for this kind of target; the others:
the mean probability, what more than half (of classes: the most) say, what all say."""

Origin = Literal["teachers", "views", "one"]
"""Whose opinions are pooled: several teachers', one teacher's about several views, or a single one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The score by which networks are ranked and generations are chosen."""

    key: str
    """Its name among the scores of an image."""
    label: str
    """How it is called in text."""
    higher_is_better: bool = True
    """Whether more of it is better."""
    unit: str = ""
    """What it is measured in."""
    pooled_key: str = ""
    """Its name among the scores over all pixels together; the same when empty."""

    def merit(self, scores: Mapping[str, float]) -> float:
        """Return a number that is higher for better scores."""
        return scores[self.key] if self.higher_is_better else -scores[self.key]

    def pooled(self, scores: Mapping[str, Any]) -> float | None:
        """Return the score over all pixels together; None where no pixel counts."""
        value = scores[self.pooled_key or self.key]
        return None if value is None or math.isnan(value) else float(value)

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

    @property
    def grows_labels(self) -> bool:
        """Whether ``grow_labels`` changes anything."""

    @property
    def moves_views(self) -> bool:
        """Whether views of an image that vote on its label are also flipped and turned."""

    def probabilities(self, logits: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
        """Return outputs as probabilities (or scaled numbers), 0..1."""

    def discretize(self, probabilities: Float[Tensor, "b k h w"]) -> Planes:
        """Return the predicted value of each pixel, in inside numbering, ready to be scored."""

    def hard_prediction(self, probabilities: Float[Tensor, "b k h w"]) -> Planes:
        """Return what a teacher says about each pixel when several vote."""

    def loss(
        self,
        logits: Float[Tensor, "b k h w"],
        target: Planes,
        weight: Float[Tensor, "b 1 h w"] | None,
    ) -> Float[Tensor, ""]:
        """Return the mean loss over pixels; those of weight 0 and void are left out."""

    def mass(self, target: Planes, weight: Float[Tensor, "b 1 h w"] | None) -> Float[Tensor, ""]:
        """Return how much that mean is of.

        Losses of the pieces of a batch, weighted by their shares of its mass, add up to its loss.
        """

    def vote(self, votes: Votes) -> tuple[Planes, Bool[Tensor, "b t h w"]]:
        """Return consensus and inconsistency, plane by plane, of the teachers' ballots."""

    def pool(self, probabilities: Float[Tensor, "v b k h w"], *, how: Pool, of: Origin) -> Planes:
        """Return labels that several opinions give together, not redrawn.

        Args:
            probabilities: Of the same pixels; the best teacher or the plain image first.
            how: By which rule.
            of: Whose opinions; with ``how`` it decides what a probability of one half says.

        Raises:
            ImsegError: If the rule does not go with this kind of target.
        """

    def grow_labels(self, labels: Planes) -> Planes:
        """Return labels dilated class by class, as the reference does when it erodes the mask."""

    def redraw(self, labels: Planes) -> Planes:
        """Return labels whose marks have their proper shape: position discs, spaced."""

    def exceeds_inconsistency(
        self, labels: Planes, inconsistent: Bool[Tensor, "b t h w"]
    ) -> Bool[Tensor, "b"]:
        """Return which pseudo-labels are admitted by the paper's rule for this kind of target."""

    def survives(self, labels: Planes, kernel: int) -> Bool[Tensor, "b"]:
        """Return which labels still show something after an erosion; other kinds than binary: all.

        Args:
            labels: Pooled labels.
            kernel: Side of the eroding square in pixels, odd; image borders do not erode.
        """

    def meter(self) -> EpochMeter:
        """Return an empty meter for choosing the best epoch."""

    def image_scores(self, predicted: Planes, target: Planes) -> dict[str, Float[Tensor, "b"]]:
        """Return scores an image; the metric's key is among them."""

    def tally(self, predicted: Planes, target: Planes) -> Tensor:
        """Return what adds up over images and is all that ``dataset_scores`` needs."""

    def dataset_scores(self, tally: Tensor) -> dict[str, Any]:
        """Return scores over all pixels together, with the user's class names."""

    def precision(self, tally: Tensor) -> float | None:
        """Return how much of what predictions say is true, 0..1; None where they say nothing."""

    def known(self, truth: Planes) -> Bool[Tensor, "b 1 h w"]:
        """Return where the truth says something about any plane."""

    def blank(self, truth: Planes, where: Bool[Tensor, "b 1 h w"]) -> Planes:
        """Return the truth, void in some places too: nothing counts there."""

    def strata(self, targets: Planes) -> list[frozenset[int]]:
        """Return labels of images by which to split them evenly."""
