"""A number for each pixel: depth, distance, concentration. One sigmoid output, 0..1 inside.

Inside, 0 and 1 are the least and the greatest number in the training targets; scores are in the
user's unit. Void is not a number.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from imseg.ops import inconsistency, overlap
from imseg.ops.memory_layout import PixelMask
from imseg.tasks import base

Numbers = Float[Tensor, "b 1 h w"]
"""Scaled to 0..1, or not a number."""


ROBUST_FROM = 0.1
"""The error, as a share of the range of the training targets, from which on it counts linearly."""


class PooledError(base.EpochMeter):
    """Root of the mean squared error over all validation pixels together, negated."""

    def count(self, probabilities: Numbers, target: Numbers) -> Float[Tensor, "2"]:
        """Return the summed squared error, and how many pixels count."""
        total, pixels = overlap.squared_error(probabilities[:, 0], target[:, 0])
        return torch.stack([total.sum(), pixels.sum()])

    def score(self, sums: Float[Tensor, "2"]) -> float:
        """Return minus the error."""
        total, pixels = sums.tolist()
        return -math.sqrt(total / max(pixels, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression(base.Task):
    """The task with a number for each pixel.

    ``paper``: nothing differs, because the authors only sketched this task.
    """

    zero_is_nothing = False
    has_certainty = False

    @property
    def metric(self) -> base.Metric:
        """Root mean squared error of an image, the mean over images, in the user's unit."""
        return base.Metric(key="rmse", label="RMSE", higher_is_better=False, unit=self.spec.unit)

    def discretize(self, probabilities: Numbers) -> Numbers:
        """Return the numbers as they are."""
        return probabilities

    def certainty(self, probabilities: Numbers) -> Numbers:
        """Refuse: numbers are not probable.

        Raises:
            TypeError: In any case.
        """
        raise TypeError("numbers have no probability")

    def errors(self, logits: Numbers, target: Numbers) -> Numbers:
        """Return the squared error of each number."""
        known = target.isfinite()
        return (self.probabilities(logits) - torch.where(known, target, 0.0)).square()

    def shown(self, target: Numbers) -> Bool[Tensor, "b k"]:
        """Return that nothing is shown: there are numbers everywhere."""
        return torch.zeros(len(target), self.spec.outputs, dtype=torch.bool)

    def robust_errors(self, logits: Numbers, target: Numbers) -> Numbers:
        """Return half the square of small errors, and of large ones what grows with the error.

        Source: Girshick, Fast R-CNN, ICCV 2015.
        """
        known = torch.where(target.isfinite(), target, 0.0)
        return functional.smooth_l1_loss(
            self.probabilities(logits), known, reduction="none", beta=ROBUST_FROM
        )

    def counted(self, target: Numbers, weight: base.Weight) -> Numbers:
        """Return how much each pixel counts in the loss: nothing where the truth is not known."""
        known = target.isfinite().float()
        return known if weight is None else weight * known

    def vote(self, votes: Float[Tensor, "v b 1 h w"]) -> tuple[Numbers, PixelMask]:
        """Return the teachers' mean, and where they scatter more than twice as much as usual."""
        return votes.mean(dim=0), inconsistency.spread_out(votes)

    def pool(
        self, probabilities: Float[Tensor, "v b 1 h w"], *, how: base.Pool, of: base.Origin
    ) -> Numbers:
        """Return the mean.

        Raises:
            ImsegError: If anything else is asked for.
        """
        base.check_pool(self.spec, how)
        return probabilities.mean(dim=0)

    def meter(self) -> PooledError:
        """Return an empty meter of the error."""
        return PooledError()

    def reach(self, size: tuple[int, int]) -> int:
        """Return 0: each number is right or wrong by itself."""
        return 0

    def sums(
        self,
        predicted: Numbers,
        target: Numbers,
        *,
        rows: slice = overlap.WHOLE,
        size: tuple[int, int] | None = None,
    ) -> base.Sums:
        """Return the sums of errors."""
        return (self.counts(predicted[:, :, rows], target[:, :, rows]),)

    def scores_of(self, sums: base.Sums) -> dict[str, base.PerImage]:
        """Return RMSE and mean absolute error in the user's unit, and the share within delta.

        They are not numbers for an image without a pixel that counts, and left out of means.
        """
        squares, errors, known, close, positive = sums[0].unbind(1)
        return {
            "rmse": (squares / known).sqrt(),
            "mae": errors / known,
            "delta_1.25": close / positive,
        }

    def counts(self, predicted: Numbers, target: Numbers) -> Float[Tensor, "b 5"]:
        """Return summed squared and absolute errors, known pixels, pixels within delta and above 0.

        Errors are in the user's unit.
        """
        guess, truth = (
            numbers[:, 0] * (self.spec.high - self.spec.low) + self.spec.low
            for numbers in (predicted, target)
        )
        squares, known = overlap.squared_error(guess, truth)
        errors, _ = overlap.absolute_error(guess, truth)
        close, positive = overlap.within_delta(guess, truth)
        return torch.stack([squares, errors, known, close, positive], dim=1)

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

    def strata(self, targets: Numbers) -> list[frozenset[int]]:
        """Return the quarter of the images each belongs to by its mean number."""
        return base.quarters([float(target.nanmean()) for target in targets])
