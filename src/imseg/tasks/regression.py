"""A number for each pixel: depth, distance, concentration. One sigmoid output, 0..1 inside.

Inside, 0 and 1 are the least and the greatest number in the training targets; scores are in the
user's unit. Void is not a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from imseg.ops import inconsistency, overlap
from imseg.tasks.base import Metric, Origin, Pool
from imseg.tasks.scores import check_pool, mean_by, quarters
from imseg.types import TargetSpec


@dataclass(slots=True)
class PooledError:
    """Root of the mean squared error over all validation pixels together, negated."""

    # Sums stay where the batches are until they are asked for: reading them makes a GPU wait.
    total: Float[Tensor, ""] | float = 0.0
    pixels: Float[Tensor, ""] | float = 0.0

    def update(
        self, probabilities: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b 1 h w"]
    ) -> None:
        """Add a batch."""
        total, pixels = overlap.squared_error(probabilities[:, 0], target[:, 0])
        self.total = self.total + total.sum()
        self.pixels = self.pixels + pixels.sum()

    def value(self) -> float:
        """Return minus the error so far."""
        return -math.sqrt(float(self.total) / max(float(self.pixels), 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """The task with a number for each pixel."""

    spec: TargetSpec
    """The range and unit of the numbers."""
    paper: bool = False
    """Nothing differs: the authors only sketched this task."""

    @property
    def metric(self) -> Metric:
        """Root mean squared error of an image, the mean over images, in the user's unit."""
        return Metric(key="rmse", label="RMSE", higher_is_better=False, unit=self.spec.unit)

    @property
    def zero_is_nothing(self) -> bool:
        """0 is the least number: a value like any other."""
        return False

    @property
    def grows_labels(self) -> bool:
        """Numbers do not grow."""
        return False

    @property
    def moves_views(self) -> bool:
        """Views differ in their values alone."""
        return False

    def probabilities(self, logits: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return numbers scaled to 0..1."""
        return torch.sigmoid(logits.float())

    def discretize(self, probabilities: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return the numbers as they are."""
        return probabilities

    def hard_prediction(self, probabilities: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return the numbers as they are."""
        return probabilities

    def loss(
        self,
        logits: Float[Tensor, "b 1 h w"],
        target: Float[Tensor, "b 1 h w"],
        weight: Float[Tensor, "b 1 h w"] | None,
    ) -> Float[Tensor, ""]:
        """Return the mean squared error over the pixels whose truth is known."""
        known = target.isfinite()
        error = (self.probabilities(logits) - torch.where(known, target, 0.0)).square()
        return mean_by(error, known.float() if weight is None else weight * known.float())

    def mass(
        self, target: Float[Tensor, "b 1 h w"], weight: Float[Tensor, "b 1 h w"] | None
    ) -> Float[Tensor, ""]:
        """Return the pixels that count in the loss."""
        known = target.isfinite().float()
        return (known if weight is None else weight * known).sum()

    def vote(
        self, votes: Float[Tensor, "v b 1 h w"]
    ) -> tuple[Float[Tensor, "b 1 h w"], Bool[Tensor, "b 1 h w"]]:
        """Return the teachers' mean, and where they scatter more than twice as much as usual."""
        return votes.mean(dim=0), inconsistency.spread_out(votes)

    def pool(
        self, probabilities: Float[Tensor, "v b 1 h w"], *, how: Pool, of: Origin
    ) -> Float[Tensor, "b 1 h w"]:
        """Return the mean.

        Raises:
            ImsegError: If anything else is asked for.
        """
        check_pool(self.spec, how)
        return probabilities.mean(dim=0)

    def grow_labels(self, labels: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return the numbers as they are."""
        return labels

    def redraw(self, labels: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Return the numbers as they are."""
        return labels

    def exceeds_inconsistency(
        self, labels: Float[Tensor, "b 1 h w"], inconsistent: Bool[Tensor, "b 1 h w"]
    ) -> Bool[Tensor, "b"]:
        """Return true for every image."""
        return torch.ones(labels.shape[0], dtype=torch.bool, device=labels.device)

    def survives(self, labels: Float[Tensor, "b 1 h w"], kernel: int) -> Bool[Tensor, "b"]:
        """Return true for every image: the paper drops none of them."""
        return torch.ones(labels.shape[0], dtype=torch.bool, device=labels.device)

    def meter(self) -> PooledError:
        """Return an empty meter of the error."""
        return PooledError()

    def image_scores(
        self, predicted: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b 1 h w"]
    ) -> dict[str, Float[Tensor, "b"]]:
        """Return RMSE and mean absolute error in the user's unit, and the share within delta.

        They are not numbers for an image without a pixel that counts, and left out of means.
        """
        guess, truth = self._in_units(predicted), self._in_units(target)
        squares, known = overlap.squared_error(guess, truth)
        errors, _ = overlap.absolute_error(guess, truth)
        close, positive = overlap.within_delta(guess, truth)
        return {
            "rmse": (squares / known).sqrt(),
            "mae": errors / known,
            "delta_1.25": close / positive,
        }

    def tally(
        self, predicted: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "5"]:
        """Return summed squared and absolute errors, known pixels, and pixels within delta."""
        guess, truth = self._in_units(predicted), self._in_units(target)
        squares, known = overlap.squared_error(guess, truth)
        errors, _ = overlap.absolute_error(guess, truth)
        close, positive = overlap.within_delta(guess, truth)
        return torch.stack([each.sum() for each in (squares, errors, known, close, positive)])

    def dataset_scores(self, tally: Float[Tensor, "5"]) -> dict[str, Any]:
        """Return the scores over all pixels together; None where no pixel counts."""
        squares, errors, known, close, positive = (float(value) for value in tally)
        return {
            "rmse": math.sqrt(squares / known) if known else None,
            "mae": errors / known if known else None,
            "delta_1.25": close / positive if positive else None,
        }

    def precision(self, tally: Float[Tensor, "5"]) -> float | None:
        """Return None: a number is neither right nor wrong."""
        return None

    def known(self, truth: Float[Tensor, "b 1 h w"]) -> Bool[Tensor, "b 1 h w"]:
        """Return where the truth is a number."""
        return truth.isfinite()

    def blank(
        self, truth: Float[Tensor, "b 1 h w"], where: Bool[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b 1 h w"]:
        """Return the truth, not a number in some places too."""
        return truth.masked_fill(where, math.nan)

    def strata(self, targets: Float[Tensor, "b 1 h w"]) -> list[frozenset[int]]:
        """Return the quarter of the images each belongs to by its mean number."""
        return quarters([float(target.nanmean()) for target in targets])

    def _in_units(self, numbers: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b h w"]:
        return numbers[:, 0] * (self.spec.high - self.spec.low) + self.spec.low
